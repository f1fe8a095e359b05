#include "agent/volumes/beneath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>

namespace trainyard::agent {
namespace {

Error opening_error(const std::string& path, int error_number) {
  if (error_number == EXDEV || error_number == ELOOP) {
    return Error{Code::permission_denied, path + " leads out of its share (a symbolic link?): refused"};
  }
  return system_error("cannot open " + path, error_number);
}

// For kernels without openat2 (before 5.6): part by part, following no link at all.
int open_stepwise(int root, const std::vector<std::string>& parts, int flags, mode_t mode) {
  if (parts.empty()) return ::openat(root, ".", flags | O_CLOEXEC, mode);
  UniqueFd directory(::fcntl(root, F_DUPFD_CLOEXEC, 0));
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    directory = UniqueFd(::openat(directory.get(), parts[i].c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!directory.valid()) return -1;
  }
  return ::openat(directory.get(), parts.back().c_str(), flags | O_NOFOLLOW | O_CLOEXEC, mode);
}

std::string joined(const std::vector<std::string>& parts, std::size_t count) {
  std::string path;
  for (std::size_t i = 0; i < count; ++i) path += (i == 0 ? "" : "/") + parts[i];
  return path.empty() ? "." : path;
}

int open_parts(int root, const std::vector<std::string>& parts, int flags, mode_t mode) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const std::string path = joined(parts, parts.size());
  for (int tries = 0; tries < 100; ++tries) {
    const int fd = static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how));
    // EAGAIN: something was renamed meanwhile and the kernel cannot be sure.
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) {
      return fd < 0 && errno == ENOSYS ? open_stepwise(root, parts, flags, mode) : fd;
    }
  }
  return -1;
}

}  // namespace

Result<Beneath> Beneath::open(const std::string& root) {
  UniqueFd fd(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return system_error("cannot open " + root, errno);
  return Beneath(std::move(fd));
}

Status check_share_place(const std::string& path) {
  const std::string account = path.substr(0, path.find_last_of('/'));
  const std::string place = account.substr(0, account.find_last_of('/'));
  if (::access(account.c_str(), F_OK) == 0) return {};
  if (!place.empty() && ::access(place.c_str(), F_OK) == 0) return {};
  return Error{Code::failed_precondition,
               "the share " + path + " cannot be reached: " + place +
                   " does not exist on this node (is it mounted? See `storage` in the controller's "
                   "configuration)"};
}

Status make_share_directory(const std::string& path) {
  if (::access(path.c_str(), F_OK) == 0) return {};
  if (auto there = check_share_place(path); !there) return Error{Code::not_found, there.error().message};
  const std::string account = path.substr(0, path.find_last_of('/'));
  if (::access(account.c_str(), F_OK) != 0) {
    // Jobs see the shares that are mounted for them, and come to no other by its path on the node.
    if (::mkdir(account.c_str(), 0700) != 0 && errno != EEXIST) return system_error("cannot create " + account, errno);
    ::chmod(account.c_str(), 0700);
  }
  if (::mkdir(path.c_str(), 0777) != 0 && errno != EEXIST) return system_error("cannot create " + path, errno);
  ::chmod(path.c_str(), 0777);
  return {};
}

Result<std::vector<std::string>> Beneath::parts_of(const std::string& path) {
  std::vector<std::string> parts;
  for (std::size_t start = 0; start <= path.size();) {
    std::size_t end = path.find('/', start);
    if (end == std::string::npos) end = path.size();
    const std::string part = path.substr(start, end - start);
    start = end + 1;
    if (part.empty() || part == ".") continue;
    if (part == "..") return Error{Code::permission_denied, "\"..\" is not allowed in the path " + path};
    if (part.size() > NAME_MAX) return Error{Code::invalid_argument, "a name in the path is longer than 255 bytes"};
    if (part.find('\0') != std::string::npos) return Error{Code::invalid_argument, "the path holds a NUL byte"};
    parts.push_back(part);
  }
  return parts;
}

Result<UniqueFd> Beneath::open_path(const std::string& path, int flags, mode_t mode) const {
  const auto parts = parts_of(path);
  if (!parts) return parts.error();
  UniqueFd fd(open_parts(x_root.get(), *parts, flags, mode));
  if (!fd.valid()) return opening_error(path, errno);
  return fd;
}

Result<Beneath::Place> Beneath::parent_of(const std::string& path) const {
  auto parts = parts_of(path);
  if (!parts) return parts.error();
  if (parts->empty()) return Error{Code::invalid_argument, "the path names the root of its share, not something in it"};
  Place place;
  place.name = parts->back();
  parts->pop_back();
  place.directory = UniqueFd(open_parts(x_root.get(), *parts, O_RDONLY | O_DIRECTORY, 0));
  if (!place.directory.valid()) return opening_error(joined(*parts, parts->size()), errno);
  return place;
}

Result<bool> Beneath::make_directories(const std::string& path, mode_t mode) const {
  const auto parts = parts_of(path);
  if (!parts) return parts.error();
  UniqueFd directory(open_parts(x_root.get(), {}, O_RDONLY | O_DIRECTORY, 0));
  if (!directory.valid()) return opening_error(path, errno);
  bool created = false;
  for (std::size_t i = 0; i < parts->size(); ++i) {
    const std::string so_far = joined(*parts, i + 1);
    created = ::mkdirat(directory.get(), (*parts)[i].c_str(), mode) == 0;
    if (!created && errno != EEXIST) return system_error("cannot create " + so_far, errno);
    // From the root again: a part may be a link that stays inside.
    directory = UniqueFd(open_parts(x_root.get(), {parts->begin(), parts->begin() + static_cast<std::ptrdiff_t>(i) + 1},
                                    O_RDONLY | O_DIRECTORY, 0));
    if (!directory.valid()) return opening_error(so_far, errno);
    if (created && ::fchmod(directory.get(), mode) != 0) return system_error("cannot set the mode of " + so_far, errno);
  }
  return created;
}

}  // namespace trainyard::agent
