#include "agent/exec/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <utility>

#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

// What a mount point shows may be covered by a later mount: ask the path itself.
bool is_usable_cgroup2(const std::string& path) {
  struct statfs about {};
  return ::statfs(path.c_str(), &about) == 0 && about.f_type == CGROUP2_SUPER_MAGIC &&
         ::access(path.c_str(), W_OK) == 0 && ::access((path + "/cgroup.procs").c_str(), F_OK) == 0;
}

std::vector<std::string> subdirectories(const std::string& path) {
  std::vector<std::string> names;
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return names;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") names.push_back(path + "/" + name);
  }
  ::closedir(directory);
  std::sort(names.begin(), names.end());
  return names;
}

bool write_control(const std::string& path, const std::string& value) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return fd.valid() && ::write(fd.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size());
}

void collect_pids(const std::string& path, std::vector<int>& pids) {
  if (const auto text = read_whole_file(path + "/cgroup.procs")) {
    std::istringstream lines(*text);
    // 0 = a process that this pid namespace does not know.
    for (int pid = 0; lines >> pid;) {
      if (pid > 0) pids.push_back(pid);
    }
  }
  for (const auto& child : subdirectories(path)) collect_pids(child, pids);
}

bool says_populated(const std::string& events) {
  return events.find("populated 1") != std::string::npos;
}

Status remove_tree(const std::string& path) {
  for (const auto& child : subdirectories(path)) {
    if (auto removed = remove_tree(child); !removed) return removed;
  }
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) return system_error("cannot remove cgroup " + path, errno);
  return {};
}

}  // namespace

Result<std::string> find_cgroup2_root() {
  const auto mounts = mount_table();
  if (!mounts) return mounts.error();
  std::string best;
  std::size_t best_root = std::string::npos;
  for (const MountEntry& mount : *mounts) {
    // The shorter the mounted root, the more of the tree it shows; "/" is all that this namespace may see.
    if (mount.type == "cgroup2" && mount.root.size() < best_root && is_usable_cgroup2(mount.point)) {
      best = mount.point;
      best_root = mount.root.size();
    }
  }
  if (best.empty()) {
    return Error{Code::failed_precondition,
                 "no writable cgroup2 mount found in /proc/self/mountinfo: mount one (mount -t cgroup2 none "
                 "/sys/fs/cgroup/unified) and run the agent as root"};
  }
  return best;
}

Status Cgroup::create() const {
  for (std::size_t slash = 1; slash != std::string::npos;) {
    slash = x_path.find('/', slash + 1);
    const std::string part = x_path.substr(0, slash);
    if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) return system_error("cannot create cgroup " + part, errno);
  }
  return {};
}

bool Cgroup::exists() const {
  return ::access((x_path + "/cgroup.procs").c_str(), F_OK) == 0;
}

bool Cgroup::populated() const {
  const auto events = read_whole_file(x_path + "/cgroup.events");
  return events.ok() && says_populated(*events);
}

std::vector<int> Cgroup::pids() const {
  std::vector<int> found;
  collect_pids(x_path, found);
  return found;
}

bool Cgroup::contains(int pid) const {
  const auto members = pids();
  return pid > 0 && std::find(members.begin(), members.end(), pid) != members.end();
}

std::uint64_t Cgroup::cpu_time_us() const {
  const auto text = read_whole_file(x_path + "/cpu.stat");
  if (!text) return 0;
  std::istringstream words(*text);
  std::string name;
  std::uint64_t value = 0;
  while (words >> name >> value) {
    if (name == "usage_usec") return value;
  }
  return 0;
}

std::uint64_t Cgroup::memory_bytes() const {
  if (const auto text = read_whole_file(x_path + "/memory.current")) return std::strtoull(text->c_str(), nullptr, 10);
  // The caller waits: a bomb of processes is not counted to its end.
  constexpr std::size_t kMostProcesses = 2'000;
  static const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  auto members = pids();
  if (members.size() > kMostProcesses) members.resize(kMostProcesses);
  std::uint64_t pages = 0;
  for (const int pid : members) {
    const auto text = read_whole_file("/proc/" + std::to_string(pid) + "/statm");
    if (!text) continue;
    std::uint64_t size = 0, resident = 0, shared = 0;
    std::istringstream(*text) >> size >> resident >> shared;
    pages += resident - std::min(resident, shared);
  }
  return pages * page_bytes;
}

void Cgroup::signal_all(int signal) const {
  for (const int pid : pids()) ::kill(pid, signal);
}

void Cgroup::kill() const {
  if (write_control(x_path + "/cgroup.kill", "1")) return;
  // Kernels before 5.14: hold everything still, so that no fork escapes, kill, let it die. A frozen process takes
  // SIGKILL.
  write_control(x_path + "/cgroup.freeze", "1");
  signal_all(SIGKILL);
  write_control(x_path + "/cgroup.freeze", "0");
  signal_all(SIGKILL);
}

int Cgroup::open_events() const {
  return ::open((x_path + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC);
}

Status Cgroup::remove() const {
  return remove_tree(x_path);
}

namespace {

// Keeps itself alive by its pending operations; `done` is emptied when called.
struct EmptyWait : std::enable_shared_from_this<EmptyWait> {
  EmptyWait(boost::asio::io_context& io, int fd, std::function<void(bool)> callback)
      : events(io, fd), timer(io), done(std::move(callback)) {}

  void start(DurationMs deadline_ms) {
    timer.expires_after(std::chrono::milliseconds(deadline_ms));
    timer.async_wait([self = shared_from_this()](boost::system::error_code error) {
      if (!error) self->finish(false);
    });
    wait();
  }

  void wait() {
    // First wait, then look: a change in between is then noticed. The kernel reports it as POLLPRI.
    events.async_wait(boost::asio::posix::stream_descriptor::wait_error,
                      [self = shared_from_this()](boost::system::error_code error) {
                        if (!error && self->done) self->wait();
                      });
    char text[256];
    const ssize_t got = ::pread(events.native_handle(), text, sizeof text, 0);
    // An unreadable file: the cgroup was removed, so it was empty.
    if (got <= 0 || !says_populated(std::string(text, static_cast<std::size_t>(got)))) finish(true);
  }

  void finish(bool empty) {
    if (!done) return;
    auto callback = std::exchange(done, nullptr);
    boost::system::error_code ignored;
    events.close(ignored);
    timer.cancel();
    boost::asio::post(events.get_executor(), [callback = std::move(callback), empty] { callback(empty); });
  }

  boost::asio::posix::stream_descriptor events;
  boost::asio::steady_timer timer;
  std::function<void(bool)> done;
};

}  // namespace

void wait_empty(boost::asio::io_context& io, const Cgroup& cgroup, DurationMs deadline_ms,
                std::function<void(bool)> done) {
  const int fd = cgroup.open_events();
  if (fd < 0) {
    boost::asio::post(io, [done = std::move(done)] { done(true); });
    return;
  }
  std::make_shared<EmptyWait>(io, fd, std::move(done))->start(deadline_ms);
}

std::string cgroup_of(int pid) {
  const auto text = read_whole_file("/proc/" + std::to_string(pid) + "/cgroup");
  if (!text) return {};
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("0::", 0) == 0) return line.substr(3);
  }
  return {};
}

}  // namespace trainyard::agent
