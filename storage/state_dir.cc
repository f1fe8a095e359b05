#include "storage/state_dir.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace trainyard::storage {

namespace {

Error system_error(const std::string& doing) {
  return Error{Code::internal, fmt::format("{}: {}", doing, std::strerror(errno))};
}

Status make_private(const std::string& path) {
  std::error_code failed;
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, failed);
  if (failed) return Error{Code::internal, fmt::format("cannot make {}: {}", parent.string(), failed.message())};
  if (::mkdir(path.c_str(), 0700) == 0) return {};
  if (errno != EEXIST) return system_error("cannot make the state directory " + path);
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) return system_error("cannot look at the state directory " + path);
  if (!S_ISDIR(found.st_mode)) return Error{Code::failed_precondition, path + " is not a directory"};
  if ((found.st_mode & 0007) != 0) {
    return Error{Code::failed_precondition,
                 fmt::format("the state directory {} is open to everybody (mode {:04o}): run `chmod 700 {}`, or name "
                             "one that does not exist yet",
                             path, found.st_mode & 07777, path)};
  }
  return {};
}

// The process that holds the lock, as it wrote itself; "?" in the instant before it did.
std::string owner_of(int lock) {
  char text[32] = {};
  ssize_t length = ::pread(lock, text, sizeof text - 1, 0);
  std::string pid(text, length > 0 ? static_cast<std::size_t>(length) : 0);
  while (!pid.empty() && pid.back() == '\n') pid.pop_back();
  return pid.empty() ? "?" : pid;
}

Result<int> take_lock(const std::string& path) {
  const std::string file = path + "/lock";
  int lock = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) return system_error("cannot open " + file);
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
    Error failed = errno == EWOULDBLOCK
                       ? Error{Code::failed_precondition,
                               fmt::format("the state directory {} is in use by another controller (pid {}): stop it "
                                           "first, or use another state directory",
                                           path, owner_of(lock))}
                       : system_error("cannot lock " + file);
    ::close(lock);
    return failed;
  }
  const std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(lock, 0) != 0 || ::pwrite(lock, pid.data(), pid.size(), 0) < 0) {
    // A full disk must not keep the controller from starting: the lock holds without its text.
  }
  return lock;
}

}  // namespace

Result<StateDir> StateDir::open(const std::string& path, SpaceOptions space) {
  if (Status made = make_private(path); !made) return made.error();
  auto lock = take_lock(path);
  if (!lock) return lock.error();
  return StateDir(path, space, *lock);
}

StateDir::~StateDir() {
  if (x_lock >= 0) ::close(x_lock);
}

std::uint64_t StateDir::free_bytes() const {
  struct statvfs space {};
  if (::statvfs(x_path.c_str(), &space) != 0) return 0;
  return static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
}

bool StateDir::has_reserve() const {
  return ::access(file("reserve").c_str(), F_OK) == 0;
}

bool StateDir::accepts_new_work() const {
  const std::uint64_t needed = x_space.floor_bytes + (has_reserve() ? 0 : x_space.reserve_bytes);
  return free_bytes() >= needed;
}

void StateDir::keep_reserve() {
  if (x_space.reserve_bytes == 0 || has_reserve() || free_bytes() < x_space.floor_bytes + x_space.reserve_bytes) return;
  // Under another name until it is whole: a half-made reserve must not count as one.
  const std::string making = file("reserve.new");
  int reserve = ::open(making.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (reserve < 0) return;
  const bool whole = ::posix_fallocate(reserve, 0, static_cast<off_t>(x_space.reserve_bytes)) == 0;
  ::close(reserve);
  if (!whole || ::rename(making.c_str(), file("reserve").c_str()) != 0) ::unlink(making.c_str());
}

bool StateDir::release_reserve() {
  return ::unlink(file("reserve").c_str()) == 0;
}

}  // namespace trainyard::storage
