#include "agent/loop/remains.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <sstream>

#include "agent/exec/cgroup.h"
#include "agent/exec/files.h"
#include "agent/exec/sandbox.h"
#include "agent/volumes/mounter.h"

namespace trainyard::agent {
namespace {

constexpr std::uint64_t kMostCounted = 10'000;

template <class Function>
void for_entries(const std::string& path, Function function) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(path.c_str()), ::closedir);
  std::uint64_t seen = 0;
  while (const dirent* entry = directory ? ::readdir(directory.get()) : nullptr) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (++seen > kMostCounted) return;
    function(::dirfd(directory.get()), name);
  }
}

std::uint64_t listeners_in(const char* table, std::uint32_t first, std::uint32_t count) {
  const auto text = read_whole_file(table);
  if (!text) return 0;
  std::uint64_t found = 0;
  std::istringstream lines(*text);
  std::string line;
  std::getline(lines, line);  // the titles
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string slot, local, remote, state;
    words >> slot >> local >> remote >> state;
    const auto colon = local.rfind(':');
    if (state != "0A" || colon == std::string::npos) continue;
    const unsigned long port = std::strtoul(local.c_str() + colon + 1, nullptr, 16);
    if (port >= first && port < first + count) ++found;
  }
  return found;
}

// 'R', 'S', 'D', ... of /proc/PID/stat; its name may hold anything but ends with the last ')'.
char state_of(int pid) {
  const auto text = read_whole_file("/proc/" + std::to_string(pid) + "/stat");
  const auto end = text ? text->rfind(')') : std::string::npos;
  return end == std::string::npos || end + 2 >= text->size() ? '?' : (*text)[end + 2];
}

std::string line_of(int pid, const char* file) {
  const auto text = read_whole_file("/proc/" + std::to_string(pid) + "/" + file);
  return text ? text->substr(0, text->find('\n')) : std::string();
}

}  // namespace

std::uint64_t shared_memory_in(const std::string& sandbox) {
  const auto holder = sandbox_pid(sandbox);
  if (!holder) return 0;
  std::uint64_t count = 0;
  for_entries("/proc/" + std::to_string(*holder) + "/root/dev/shm", [&](int, const std::string&) { ++count; });
  return count;
}

std::uint64_t remove_shared_memory(std::uint32_t uid) {
  if (uid == 0) return 0;  // root's may be anybody's
  std::uint64_t count = 0;
  shm_info about{};
  const int highest = ::shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&about));
  for (int index = 0; index <= highest; ++index) {
    shmid_ds segment{};
    const int id = ::shmctl(index, SHM_STAT, &segment);
    if (id >= 0 && segment.shm_perm.uid == uid && ::shmctl(id, IPC_RMID, nullptr) == 0) ++count;
  }
  for_entries("/dev/shm", [&](int directory, const std::string& name) {
    struct stat status {};
    if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 || status.st_uid != uid) return;
    if (!S_ISDIR(status.st_mode) && ::unlinkat(directory, name.c_str(), 0) == 0) ++count;
  });
  return count;
}

std::uint64_t ports_listened_at(std::uint32_t first, std::uint32_t count) {
  return listeners_in("/proc/self/net/tcp", first, count) + listeners_in("/proc/self/net/tcp6", first, count);
}

std::string unkillable_in(const std::string& cgroup, const std::string& directory) {
  const auto pids = Cgroup(cgroup).pids();
  if (pids.empty()) return {};
  int worst = pids.front();
  for (const int pid : pids) {
    if (state_of(pid) == 'D') worst = pid;
  }
  const std::string waits = line_of(worst, "wchan");
  std::string text = fmt::format("process {} ({}) does not end: state {}{}", worst, line_of(worst, "comm"),
                                 state_of(worst), waits.empty() || waits == "0" ? "" : " in " + waits);
  if (pids.size() > 1) text += fmt::format(", and {} more", pids.size() - 1);
  const auto mounts = mounts_under(directory);
  if (!mounts.empty()) text += "; mounted at " + mounts.front();
  return text;
}

}  // namespace trainyard::agent
