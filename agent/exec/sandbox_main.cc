// `trainyard-shim sandbox`: see sandbox.h. Makes the namespaces, mounts what is to be seen in them, and leaves a
// process there that does nothing but reap.
#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "agent/exec/confine.h"
#include "agent/exec/sandbox.h"

namespace trainyard::agent {
namespace {

using nlohmann::json;

constexpr int kAnswerFd = 4;
constexpr unsigned long kPlain = MS_NOSUID | MS_NODEV;

// Of /dev, everything else is not there: no disks, no memory, no log of the kernel. And all of NVIDIA's.
constexpr const char* kDevices[] = {"null",      "zero", "full",  "random",     "urandom", "tty", "ptmx",
                                    "pts",       "fd",   "stdin", "stdout",     "stderr",  "kfd", "dri",
                                    "hugepages", "knem", "xpmem", "infiniband", "gdrdrv"};

bool is_kept_device(const std::string& name) {
  return name.starts_with("nvidia") ||
         std::any_of(std::begin(kDevices), std::end(kDevices), [&](const char* kept) { return name == kept; });
}

// Ends the set-up: says at `report` what failed.
[[noreturn]] void fail(int report, const std::string& what) {
  const std::string text = what + ": " + std::strerror(errno);
  write_fully(report, text.data(), text.size());
  ::_exit(1);
}

bool exists(const std::string& path) {
  struct stat about {};
  return ::lstat(path.c_str(), &about) == 0;
}

bool is_directory(const std::string& path) {
  struct stat about {};
  return ::stat(path.c_str(), &about) == 0 && S_ISDIR(about.st_mode);
}

bool is_beneath(const std::string& path, const std::string& directory) {
  return path == directory || path.starts_with(directory + "/");
}

bool set_read_only(const std::string& path, bool with_mounts_below) {
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY;
  return ::syscall(SYS_mount_setattr, AT_FDCWD, path.c_str(), with_mounts_below ? AT_RECURSIVE : 0, &attributes,
                   sizeof attributes) == 0;
}

void make_parents(const std::string& path) {
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    ::mkdir(path.substr(0, slash).c_str(), 0755);
  }
  ::mkdir(path.c_str(), 0755);
}

class View {
 public:
  View(const SandboxSpec& spec, int report) : x_spec(spec), x_report(report) {}

  void make() {
    // What the machine mounts and unmounts later is seen here; what happens here stays here.
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) fail(x_report, "cannot make mounts slaves");
    keep_visible();
    fresh_devices();
    cover("/tmp", x_spec.tmp);
    cover("/var/tmp", x_spec.var_tmp);
    for (const std::string& path : x_spec.hidden) hide(path);
    fresh("/dev/shm", "tmpfs", "mode=1777,size=50%");
    fresh("/dev/mqueue", "mqueue", nullptr);
    attach_visible();
    for (const std::string& path : x_spec.read_only) {
      if (exists(path) && !set_read_only(path, true)) fail(x_report, "cannot make " + path + " read-only");
    }
    fresh("/proc", "proc", nullptr);
    // For jobs of root, who owns these files.
    for (const char* path : {"/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs"}) {
      if (!exists(path)) continue;
      if (::mount(path, path, nullptr, MS_BIND | MS_REC, nullptr) != 0 || !set_read_only(path, true)) {
        fail(x_report, std::string("cannot make ") + path + " read-only");
      }
    }
  }

 private:
  struct Kept {
    std::string path;
    UniqueFd tree;
  };

  // A copy of the mount that a path shows now, with all below, for after it is covered.
  UniqueFd tree_at(const std::string& path) {
    UniqueFd tree(static_cast<int>(
        ::syscall(SYS_open_tree, AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE)));
    if (!tree.valid()) fail(x_report, "cannot keep " + path);
    return tree;
  }

  void attach(const UniqueFd& tree, const std::string& path) {
    if (::syscall(SYS_move_mount, tree.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
      fail(x_report, "cannot mount at " + path);
    }
  }

  bool covered(const std::string& path) const {
    if (is_beneath(path, "/tmp") || is_beneath(path, "/var/tmp")) return true;
    return std::any_of(x_spec.hidden.begin(), x_spec.hidden.end(),
                       [&](const std::string& hidden) { return is_beneath(path, hidden); });
  }

  void keep_visible() {
    for (const std::string& path : x_spec.visible) {
      if (covered(path) && is_directory(path)) x_kept.push_back({path, tree_at(path)});
    }
    for (const std::string* path : {&x_spec.tmp, &x_spec.var_tmp}) {
      if (!path->empty()) x_own.push_back({*path, tree_at(*path)});
    }
  }

  void attach_visible() {
    for (const Kept& kept : x_kept) {
      make_parents(kept.path);
      attach(kept.tree, kept.path);
    }
    // Only the ways to what is visible are in them.
    for (const std::string& path : x_hidden_directories) {
      if (!set_read_only(path, false)) fail(x_report, "cannot make " + path + " read-only");
    }
  }

  struct Device {
    std::string path, link;  // link: where it leads; empty: it is none
    bool directory = false;
    UniqueFd tree;
  };

  std::vector<Device> kept_devices() {
    std::vector<Device> kept;
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir("/dev"), ::closedir);
    while (const dirent* entry = directory ? ::readdir(directory.get()) : nullptr) {
      if (!is_kept_device(entry->d_name)) continue;
      Device device{std::string("/dev/") + entry->d_name, {}, false, UniqueFd()};
      char target[PATH_MAX];
      const ssize_t size = ::readlink(device.path.c_str(), target, sizeof target);
      if (size > 0) {
        device.link.assign(target, static_cast<std::size_t>(size));
      } else {
        device.directory = is_directory(device.path);
        device.tree = tree_at(device.path);
      }
      kept.push_back(std::move(device));
    }
    return kept;
  }

  void fresh_devices() {
    const std::vector<Device> kept = kept_devices();
    if (::mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=1m") != 0) {
      fail(x_report, "cannot mount a fresh /dev");
    }
    for (const Device& device : kept) {
      const char* path = device.path.c_str();
      if (!device.link.empty()) {
        if (::symlink(device.link.c_str(), path) != 0) fail(x_report, "cannot make the link " + device.path);
        continue;
      }
      if (device.directory) {
        ::mkdir(path, 0755);
      } else {
        UniqueFd(::open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
      }
      attach(device.tree, device.path);
    }
    for (const char* path : {"/dev/shm", "/dev/mqueue"}) ::mkdir(path, 0755);
    if (!set_read_only("/dev", false)) fail(x_report, "cannot make /dev read-only");
  }

  void hide(const std::string& path) {
    if (!exists(path)) return;
    if (!is_directory(path)) {
      if (::mount("/dev/null", path.c_str(), nullptr, MS_BIND, nullptr) != 0) fail(x_report, "cannot hide " + path);
      return;
    }
    if (::mount("tmpfs", path.c_str(), "tmpfs", kPlain, "mode=755,size=1m") != 0) fail(x_report, "cannot hide " + path);
    x_hidden_directories.push_back(path);
  }

  void cover(const std::string& path, const std::string& by) {
    if (by.empty() || !is_directory(path)) return;
    const auto own = std::find_if(x_own.begin(), x_own.end(), [&](const Kept& kept) { return kept.path == by; });
    attach(own->tree, path);
  }

  void fresh(const char* path, const char* type, const char* options) {
    const unsigned long flags = std::strcmp(type, "tmpfs") == 0 ? kPlain : kPlain | MS_NOEXEC;
    if (!is_directory(path)) return;
    if (::mount(type, path, type, flags, options) != 0) fail(x_report, std::string("cannot mount a fresh ") + path);
  }

  const SandboxSpec& x_spec;
  const int x_report;
  std::vector<Kept> x_kept, x_own;
  std::vector<std::string> x_hidden_directories;
};

// Pid 1 of the namespace: whoever loses its parent in there is its child.
[[noreturn]] void reap_for_ever() {
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &children, nullptr);
  for (;;) {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    int signal = 0;
    ::sigwait(&children, &signal);
  }
}

[[noreturn]] void hold(const SandboxSpec& spec, int report) {
  ::setsid();
  ::umask(0);
  ::prctl(PR_SET_NAME, "ty-sandbox");
  View(spec, report).make();
  if (::chdir("/") != 0) fail(report, "cannot enter /");
  // It needs no rights any more, and nothing of it is worth a look.
  if (!give_up_capabilities(0)) fail(report, "cannot give up privileges");
  ::prctl(PR_SET_DUMPABLE, 0);
  write_fully(report, "ready", 5);
  ::close_range(0, UINT_MAX, 0);
  reap_for_ever();
}

SandboxSpec read_spec() {
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = ::read(0, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(got));
  const json value = json::parse(text);
  SandboxSpec spec;
  value.at("cgroup").get_to(spec.cgroup);
  value.at("tmp").get_to(spec.tmp);
  value.at("var_tmp").get_to(spec.var_tmp);
  value.at("hidden").get_to(spec.hidden);
  value.at("visible").get_to(spec.visible);
  value.at("read_only").get_to(spec.read_only);
  return spec;
}

void answer(const std::string& text) {
  write_fully(kAnswerFd, text.data(), text.size());
}

}  // namespace

int run_sandbox() {
  ::fcntl(kAnswerFd, F_SETFD, FD_CLOEXEC);
  const SandboxSpec spec = read_spec();
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return answer("cannot make a pipe"), 1;
  UniqueFd listen(ends[0]), report(ends[1]);
  clone_args how{};
  how.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC;
  how.exit_signal = SIGCHLD;
  const UniqueFd cgroup(spec.cgroup.empty() ? -1 : ::open(spec.cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (cgroup.valid()) {
    how.flags |= CLONE_INTO_CGROUP;
    how.cgroup = static_cast<__u64>(cgroup.get());
  } else if (!spec.cgroup.empty()) {
    return answer("cannot open cgroup " + spec.cgroup + ": " + std::strerror(errno)), 1;
  }
  const long pid = ::syscall(SYS_clone3, &how, sizeof how);
  if (pid < 0) return answer(std::string("cannot make namespaces: ") + std::strerror(errno)), 1;
  if (pid == 0) {
    ::close(kAnswerFd);  // its end is the answer's
    hold(spec, report.get());
  }
  report.reset();
  std::string said;
  char buffer[512];
  for (ssize_t got; (got = ::read(listen.get(), buffer, sizeof buffer)) != 0;) {
    if (got > 0) said.append(buffer, static_cast<std::size_t>(got));
  }
  if (said != "ready") return answer(said), 1;
  const int holder = static_cast<int>(pid);
  answer(json{{"pid", holder}, {"start_time", process_start_time(holder)}}.dump());
  return 0;
}

}  // namespace trainyard::agent
