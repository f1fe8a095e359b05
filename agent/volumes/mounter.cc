#include "agent/volumes/mounter.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "agent/exec/files.h"
#include "agent/volumes/helper.h"
#include "agent/volumes/helper_main.h"
#include "common/model_json.h"

namespace trainyard::agent {
namespace {

Status status_of(const HelperResult& result, const std::string& what) {
  if (result.exit_code == 0) return {};
  std::string message = result.exit_code == -1 ? "no answer in time" : result.error;
  while (!message.empty() && message.back() == '\n') message.pop_back();
  return Error{code_of_helper_exit(result.exit_code), what + ": " + message};
}

nlohmann::json json_of(const MountPlaces& places) {
  return {{"work", places.work},
          {"spool", places.spool},
          {"run", places.run},
          {"cgroup", places.cgroup},
          {"shim", places.shim_program}};
}

// The helper ends itself before it is ended: then it can say what was wrong, and leaves nothing.
constexpr DurationMs kHelpersShare = 5'000;

class HelperMounter : public Mounter {
 public:
  HelperMounter(boost::asio::io_context& io, std::vector<std::string> helper_argv, MountPlaces places)
      : x_io(io), x_helper_argv(std::move(helper_argv)), x_places(std::move(places)) {}

  void mount(const Volume& volume, const std::string& target, const MountSettings& settings,
             const std::string& credential, DurationMs deadline_ms, Done done) override {
    const std::string what =
        volume.kind == Volume::Kind::command ? "could not mount" : "could not mount " + volume.source;
    if (volume.kind == Volume::Kind::local) {
      return run({"mount", volume.source, target}, {}, deadline_ms, what, std::move(done));
    }
    const nlohmann::json job = {{"volume", volume},
                                {"target", target},
                                {"fileMode", settings.file_mode},
                                {"directoryMode", settings.directory_mode},
                                {"credential", credential},
                                {"places", json_of(x_places)},
                                {"limitMs", std::max<DurationMs>(deadline_ms - kHelpersShare, 1'000)}};
    run({"mount-volume"}, job.dump(), deadline_ms, what, std::move(done));
  }

  void unmount(const Volume& volume, const std::string& target, DurationMs deadline_ms, Done done) override {
    const std::string what = "could not unmount " + target;
    if (volume.kind == Volume::Kind::local) return run({"unmount", target}, {}, deadline_ms, what, std::move(done));
    run({"unmount-volume", target}, json_of(x_places).dump(), deadline_ms, what, std::move(done));
  }

  void check(const std::string& target, DurationMs deadline_ms, Done done) override {
    run({"check-mount", "--limit", std::to_string(deadline_ms), target}, {}, deadline_ms + kHelpersShare,
        "it does not work any more", std::move(done));
  }

  void sweep(DurationMs deadline_ms, Done done) override {
    run({"sweep-volumes", "all"}, json_of(x_places).dump(), deadline_ms, "could not take unused mounts away",
        std::move(done));
  }

 private:
  void run(const std::vector<std::string>& words, std::string input, DurationMs deadline_ms, std::string what,
           Done done) {
    auto argv = x_helper_argv;
    argv.insert(argv.end(), words.begin(), words.end());
    run_helper(x_io, std::move(argv), std::move(input), deadline_ms,
               [what = std::move(what), done = std::move(done)](const HelperResult& result) {
                 done(status_of(result, what));
               });
  }

  boost::asio::io_context& x_io;
  const std::vector<std::string> x_helper_argv;
  const MountPlaces x_places;
};

}  // namespace

std::unique_ptr<Mounter> make_mounter(boost::asio::io_context& io, std::vector<std::string> helper_argv,
                                      MountPlaces places) {
  return std::make_unique<HelperMounter>(io, std::move(helper_argv), std::move(places));
}

std::vector<std::string> mounts_under(const std::string& prefix) {
  std::vector<std::string> found;
  const auto mounts = mount_table();
  if (!mounts) return found;
  for (const MountEntry& mount : *mounts) {
    if (mount.point == prefix || mount.point.starts_with(prefix + "/")) found.push_back(mount.point);
  }
  // Later mounts cover earlier ones, and a mount comes off before what it stands on.
  std::reverse(found.begin(), found.end());
  std::stable_sort(found.begin(), found.end(),
                   [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  return found;
}

}  // namespace trainyard::agent
