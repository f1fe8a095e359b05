// Verbs that change what is mounted where, and the removal of a job's own directories.
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "agent/exec/files.h"
#include "agent/volumes/beneath.h"
#include "agent/volumes/helper_verbs.h"
#include "agent/volumes/mounter.h"

namespace trainyard::agent::helper {
namespace {

bool is_mount_point(const std::string& path) {
  const auto mounts = mounts_under(path);
  return !mounts.empty() && mounts.back() == path;  // the shortest comes last
}

bool same_directory(const std::string& a, const std::string& b) {
  struct stat first {
  }, second{};
  return ::stat(a.c_str(), &first) == 0 && ::stat(b.c_str(), &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

// A mount that answers nothing is no mount: read it once.
Status verify_by_listing(const std::string& target) {
  DIR* directory = ::opendir(target.c_str());
  if (directory == nullptr) return system_error("cannot list " + target, errno);
  errno = 0;
  const dirent* entry = ::readdir(directory);
  const int error = errno;
  ::closedir(directory);
  if (entry == nullptr && error != 0) return system_error("cannot list " + target, error);
  return {};
}

// As mountinfo writes it: no links in the directories above, which are ours. The last part is not touched: a dead
// server may be mounted there.
std::string resolved(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) return path;
  std::error_code error;
  const auto parent = std::filesystem::weakly_canonical(path.substr(0, slash), error);
  return error ? path : (parent / path.substr(slash + 1)).string();
}

// Child of `parent`, never over a mount and never through a link.
int open_child(int parent, const char* name) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
  const int fd = static_cast<int>(::syscall(SYS_openat2, parent, name, &how, sizeof how));
  // Without openat2: mounts below were excluded before we started.
  return fd < 0 && errno == ENOSYS ? ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : fd;
}

// Empties the directory and counts those removed in it. Takes the descriptor.
Status empty_directory(UniqueFd fd, const std::string& path, std::uint64_t& removed) {
  const int own = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0);
  DIR* directory = own < 0 ? nullptr : ::fdopendir(own);
  if (directory == nullptr) return system_error("cannot list " + path, errno);
  Status outcome;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (::unlinkat(fd.get(), name.c_str(), 0) == 0 || errno == ENOENT) continue;
    const std::string below = path + "/" + name;
    if (errno != EISDIR && errno != EPERM) {
      outcome = system_error("cannot remove " + below, errno);
      break;
    }
    UniqueFd child(open_child(fd.get(), name.c_str()));
    if (!child.valid()) {
      outcome = system_error("cannot enter " + below, errno);
      break;
    }
    outcome = empty_directory(std::move(child), below, removed);
    if (!outcome) break;
    if (::unlinkat(fd.get(), name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
      outcome = system_error("cannot remove " + below, errno);
      break;
    }
    ++removed;
  }
  ::closedir(directory);
  return outcome;
}

Status remove_one(const std::string& path, std::uint64_t& removed) {
  if (path.size() < 2 || path[0] != '/') return Error{Code::invalid_argument, "not an absolute directory: " + path};
  if (const auto mounts = mounts_under(path); !mounts.empty()) {
    return Error{Code::failed_precondition, mounts.front() + " is still mounted: " + path + " is not removed"};
  }
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid() && errno == ENOENT) return {};
  if (!fd.valid()) return system_error("cannot enter " + path, errno);
  if (auto emptied = empty_directory(std::move(fd), path, removed); !emptied) return emptied;
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) return system_error("cannot remove " + path, errno);
  ++removed;
  return {};
}

}  // namespace

Status mount(const Arguments& arguments) {
  const std::string source = arguments.words[0];
  const std::string target = resolved(arguments.words[1]);
  struct stat about {};
  if (source.empty() || source[0] != '/' || target.size() < 2 || target[0] != '/') {
    return Error{Code::invalid_argument, "mount needs two absolute directories, not " + source + " and " + target};
  }
  if (const Status made = make_share_directory(source); !made) return made;
  if (::stat(source.c_str(), &about) != 0) return system_error("cannot mount " + source, errno);
  if (!S_ISDIR(about.st_mode)) return system_error("cannot mount " + source, ENOTDIR);
  if (is_mount_point(target)) {
    if (same_directory(source, target)) return verify_by_listing(target);
    return Error{Code::failed_precondition, "something else is mounted at " + target + ": unmount it first"};
  }
  std::error_code error;
  ::umask(022);
  std::filesystem::create_directories(target, error);
  if (error) return system_error("cannot create " + target, error.value());
  if (::mount(source.c_str(), target.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    return system_error("cannot mount " + source + " at " + target, errno);
  }
  // What happens to the share elsewhere, or here, stays there.
  ::mount(nullptr, target.c_str(), nullptr, MS_PRIVATE, nullptr);
  return verify_by_listing(target);
}

Status unmount(const Arguments& arguments) {
  std::uint64_t count = 0;
  for (const auto& word : arguments.words) {
    const std::string target = resolved(word);
    // Mounts may lie upon each other, and below. Lazily: a server that is gone does not hold us up.
    for (int tries = 0; tries < 4096; ++tries) {
      const auto mounts = mounts_under(target);
      if (mounts.empty()) break;
      if (::umount2(mounts.front().c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL && errno != ENOENT) {
        return system_error("cannot unmount " + mounts.front(), errno);
      }
      ++count;
    }
    if (!mounts_under(target).empty())
      return Error{Code::failed_precondition, "something is still mounted at " + target};
  }
  std::printf("unmounted %llu\n", static_cast<unsigned long long>(count));
  return {};
}

Status remove(const Arguments& arguments) {
  std::uint64_t removed = 0;
  for (const auto& word : arguments.words) {
    if (auto done = remove_one(resolved(word), removed); !done) return done;
  }
  std::printf("removed %llu\n", static_cast<unsigned long long>(removed));
  return {};
}

Status remove_beneath(const Arguments& arguments) {
  const auto root = Beneath::open(arguments.words[0]);
  if (!root) return root.error();
  auto place = root->parent_of(arguments.words[1]);
  if (!place) return place.error().code == Code::not_found ? Status() : Status(place.error());
  UniqueFd fd(open_child(place->directory.get(), place->name.c_str()));
  if (!fd.valid()) {
    return errno == ENOENT ? Status() : Status(system_error("cannot enter " + arguments.words[1], errno));
  }
  std::uint64_t removed = 0;
  if (auto emptied = empty_directory(std::move(fd), arguments.words[1], removed); !emptied) return emptied;
  if (::unlinkat(place->directory.get(), place->name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    return system_error("cannot remove " + arguments.words[1], errno);
  }
  std::printf("removed %llu\n", static_cast<unsigned long long>(removed + 1));
  // The directory above it, when this was the last thing in it.
  const std::size_t slash = arguments.words[1].rfind('/');
  if (slash == std::string::npos) return {};
  if (const auto above = root->parent_of(arguments.words[1].substr(0, slash))) {
    ::unlinkat(above->directory.get(), above->name.c_str(), AT_REMOVEDIR);
  }
  return {};
}

}  // namespace trainyard::agent::helper
