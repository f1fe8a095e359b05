// Verbs for volumes that are more than a directory of this node.
#include <unistd.h>

#include "agent/volumes/helper_verbs.h"
#include "agent/volumes/shared_mount.h"
#include "common/model_json.h"

namespace trainyard::agent::helper {
namespace {

std::string standard_input() {
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(0, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<std::size_t>(got));
  return text;
}

MountPlaces places_from(const nlohmann::json& json) {
  return {json.at("work"), json.at("spool"), json.at("run"), json.at("cgroup"), json.at("shim")};
}

// The agent wrote it: what cannot be read is a bug, said like any other complaint.
template <class Use>
Status with_input(Use use) {
  try {
    return use(nlohmann::json::parse(standard_input()));
  } catch (const nlohmann::json::exception&) {
    return Error{Code::internal, "the helper cannot read what it is to do"};
  }
}

}  // namespace

Status mount_volume(const Arguments&) {
  return with_input([](const nlohmann::json& input) {
    MountJob job;
    input.at("volume").get_to(job.volume);
    input.at("target").get_to(job.target);
    input.at("fileMode").get_to(job.settings.file_mode);
    input.at("directoryMode").get_to(job.settings.directory_mode);
    input.at("credential").get_to(job.credential);
    input.at("limitMs").get_to(job.limit_ms);
    job.places = places_from(input.at("places"));
    return job.volume.kind == Volume::Kind::command ? mount_by_command(job) : mount_shared(job);
  });
}

Status unmount_volume(const Arguments& arguments) {
  return with_input(
      [&](const nlohmann::json& input) { return agent::unmount_volume(places_from(input), arguments.words[0]); });
}

Status sweep_volumes(const Arguments&) {
  return with_input([](const nlohmann::json& input) { return sweep_shared(places_from(input)); });
}

Status check_mount(const Arguments& arguments) {
  return agent::check_mount(resolved(arguments.words[0]), arguments.limit_ms);
}

}  // namespace trainyard::agent::helper
