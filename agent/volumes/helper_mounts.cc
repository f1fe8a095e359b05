// Verbs that change what is mounted where.
#include <dirent.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "agent/volumes/beneath.h"
#include "agent/volumes/helper_verbs.h"
#include "agent/volumes/mounter.h"
#include "agent/volumes/shared_mount.h"

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

}  // namespace

std::string resolved(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) return path;
  std::error_code error;
  const auto parent = std::filesystem::weakly_canonical(path.substr(0, slash), error);
  return error ? path : (parent / path.substr(slash + 1)).string();
}

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
  if (const Status bound = bind_directory(source, target); !bound) return bound;
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

}  // namespace trainyard::agent::helper
