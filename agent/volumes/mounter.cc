#include "agent/volumes/mounter.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <utility>

#include "agent/exec/files.h"
#include "agent/volumes/helper.h"
#include "agent/volumes/helper_main.h"

namespace trainyard::agent {
namespace {

Status status_of(const HelperResult& result, const std::string& what) {
  if (result.exit_code == 0) return {};
  std::string message = result.error;
  while (!message.empty() && message.back() == '\n') message.pop_back();
  return Error{code_of_helper_exit(result.exit_code), what + ": " + message};
}

// A directory of the node, bound to the job's place.
class LocalMounter : public Mounter {
 public:
  LocalMounter(boost::asio::io_context& io, std::vector<std::string> helper_argv)
      : x_io(io), x_helper_argv(std::move(helper_argv)) {}

  void mount(const Volume& volume, const std::string& target, const MountModes&, DurationMs deadline_ms,
             Done done) override {
    run({"mount", volume.source, target}, deadline_ms, "could not mount " + volume.source, std::move(done));
  }

  void unmount(const Volume&, const std::string& target, DurationMs deadline_ms, Done done) override {
    run({"unmount", target}, deadline_ms, "could not unmount " + target, std::move(done));
  }

 private:
  void run(const std::vector<std::string>& words, DurationMs deadline_ms, std::string what, Done done) {
    auto argv = x_helper_argv;
    argv.insert(argv.end(), words.begin(), words.end());
    run_helper(x_io, std::move(argv), {}, deadline_ms,
               [what = std::move(what), done = std::move(done)](const HelperResult& result) {
                 done(status_of(result, what));
               });
  }

  boost::asio::io_context& x_io;
  std::vector<std::string> x_helper_argv;
};

// The one that callers hold: knows an implementation per kind.
class KindMounter : public Mounter {
 public:
  KindMounter(boost::asio::io_context& io, std::vector<std::string> helper_argv)
      : x_local(io, std::move(helper_argv)) {}

  void mount(const Volume& volume, const std::string& target, const MountModes& modes, DurationMs deadline_ms,
             Done done) override {
    of(volume).mount(volume, target, modes, deadline_ms, std::move(done));
  }

  void unmount(const Volume& volume, const std::string& target, DurationMs deadline_ms, Done done) override {
    of(volume).unmount(volume, target, deadline_ms, std::move(done));
  }

 private:
  Mounter& of(const Volume& volume) {
    switch (volume.kind) {
      case Volume::Kind::local:
        return x_local;
    }
    TY_CHECK(false);
  }

  LocalMounter x_local;
};

}  // namespace

std::unique_ptr<Mounter> make_mounter(boost::asio::io_context& io, std::vector<std::string> helper_argv) {
  return std::make_unique<KindMounter>(io, std::move(helper_argv));
}

std::vector<std::string> mounts_under(const std::string& prefix) {
  std::vector<std::string> found;
  const auto mounts = read_whole_file("/proc/self/mountinfo");
  if (!mounts) return found;
  std::istringstream lines(*mounts);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string id, parent, device, root, point;
    fields >> id >> parent >> device >> root >> point;
    point = unescape_mount_path(point);
    if (point == prefix || point.rfind(prefix + "/", 0) == 0) found.push_back(point);
  }
  // Later mounts cover earlier ones, and a mount comes off before what it stands on.
  std::reverse(found.begin(), found.end());
  std::stable_sort(found.begin(), found.end(),
                   [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  return found;
}

}  // namespace trainyard::agent
