#include "controller/edge/job_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "proto/names.h"

namespace trainyard::controller {
namespace {

// What a directory may refer to: mounts of a job and of a cluster, and the variables that were given.
struct Owner {
  std::string name;  // for messages
  const std::vector<NamedValue>& environment;
  std::vector<std::pair<const char*, const std::vector<Volume>*>> mounts;  // by the variable of their root
};

// Takes "$NAME" or "${NAME}" off the front of `text`; empty when there is none.
std::string take_reference(std::string_view& text) {
  if (!text.starts_with("$")) return {};
  const bool braces = text.starts_with("${");
  std::size_t end = braces ? 2 : 1;
  const std::size_t begin = end;
  const auto word = [](char c) {
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  while (end < text.size() && word(text[end])) ++end;
  if (end == begin || (braces && (end == text.size() || text[end] != '}'))) return {};
  std::string name(text.substr(begin, end - begin));
  text.remove_prefix(braces ? end + 1 : end);
  return name;
}

// The owner's own plain variables are replaced; undefined references become nothing, as on the node. nullopt: a value
// that only a node knows.
std::optional<std::string> expand(const Owner& owner, std::string_view text) {
  std::string out;
  while (!text.empty()) {
    if (text.front() != '$') {
      out += text.front();
      text.remove_prefix(1);
      continue;
    }
    const std::string name = take_reference(text);
    if (name.empty() || name.starts_with("AZ_BATCHAI_")) return std::nullopt;
    for (const NamedValue& variable : owner.environment) {
      if (variable.name != name) continue;
      if (variable.value.find('$') != std::string::npos) return std::nullopt;
      out += variable.value;
    }
  }
  return out;
}

Error on_no_share(const Owner& owner, const std::string& prefix) {
  return {Code::failed_precondition,
          fmt::format("the directory \"{}\" of {} is not on one of its shares, so its files cannot be read from here: "
                      "use a path under ${}/<relativeMountPath>",
                      prefix, owner.name, owner.mounts.front().first)};
}

// The directory `below` the expanded prefix.
Result<FilePlace> resolve(const Owner& owner, const std::string& prefix, const std::string& below) {
  std::string_view rest = prefix;
  const std::string reference = take_reference(rest);
  const auto mounts = std::find_if(owner.mounts.begin(), owner.mounts.end(),
                                   [&](const auto& candidate) { return reference == candidate.first; });
  if (mounts == owner.mounts.end() || !rest.starts_with("/")) return on_no_share(owner, prefix);
  const auto expanded = expand(owner, rest);
  if (!expanded) return on_no_share(owner, prefix);
  const auto first = expanded->find_first_not_of('/');
  if (first == expanded->npos) return on_no_share(owner, prefix);
  const auto path = clean_path("path", std::string_view(*expanded).substr(first), false);
  if (!path) return on_no_share(owner, prefix);
  for (const Volume& volume : *mounts->second) {
    const std::string& mount = volume.relative_mount_path;
    if (*path != mount && !path->starts_with(mount + "/")) continue;
    FilePlace place{volume, path->substr(std::min(path->size(), mount.size() + 1))};
    if (!place.path.empty()) place.path += '/';
    place.path += below;
    return place;
  }
  return on_no_share(owner, prefix);
}

}  // namespace

Result<FilePlace> job_directory(const core::Job& job, const core::Cluster* cluster, const std::string& output_id) {
  Owner owner{"job " + job.name, job.spec->environment, {{"AZ_BATCHAI_JOB_MOUNT_ROOT", &job.volumes}}};
  if (cluster != nullptr) owner.mounts.push_back({"AZ_BATCHAI_MOUNT_ROOT", &cluster->volumes});
  if (output_id.empty() || output_id == "stdouterr") {
    return resolve(owner, job.spec->std_out_err_path_prefix, job.segment + "/stdouterr");
  }
  for (const OutputDirectory& directory : job.spec->output_directories) {
    if (directory.id != output_id) continue;
    return resolve(owner, directory.path_prefix,
                   job.segment + "/outputs" + (directory.path_suffix.empty() ? "" : "/" + directory.path_suffix));
  }
  return Error{Code::not_found,
               fmt::format("job {} has no output directory \"{}\": give stdouterr or an id of its outputDirectories",
                           job.name, output_id)};
}

Result<FilePlace> setup_directory(const core::Cluster& cluster) {
  const SetupTask& task = cluster.spec.node_setup.task;
  if (task.command_line.empty()) {
    return Error{Code::failed_precondition,
                 fmt::format("cluster {} has no set-up task, and so no files of one", cluster.name)};
  }
  const Owner owner{"cluster " + cluster.name, task.environment, {{"AZ_BATCHAI_MOUNT_ROOT", &cluster.volumes}}};
  return resolve(owner, task.std_out_err_path_prefix, cluster.setup_path_suffix);
}

}  // namespace trainyard::controller
