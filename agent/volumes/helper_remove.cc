// Verbs that remove whole trees: a job's own directories, its directories on a share, a share.
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>

#include "agent/exec/files.h"
#include "agent/volumes/beneath.h"
#include "agent/volumes/helper_verbs.h"
#include "agent/volumes/mounter.h"

namespace trainyard::agent::helper {
namespace {

using Clock = std::chrono::steady_clock;

// Each level takes two descriptors; what is deeper is first moved up. A job may nest as deep as it likes.
constexpr int kDeepest = 200;

// Child of `parent`, never over a mount and never through a link.
int open_child(int parent, const char* name) {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
  const int fd = static_cast<int>(::syscall(SYS_openat2, parent, name, &how, sizeof how));
  // Without openat2: mounts below were excluded before we started.
  return fd < 0 && errno == ENOSYS ? ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : fd;
}

// Empties directories, counting what goes.
class Emptier {
 public:
  explicit Emptier(std::int64_t limit_ms = 0)
      : x_until(limit_ms == 0 ? Clock::time_point::max() : Clock::now() + std::chrono::milliseconds(limit_ms)) {}

  // Takes the descriptor. `path` is for messages.
  Status empty(UniqueFd fd, const std::string& path) {
    const UniqueFd top(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
    x_top = top.get();
    return empty_level(std::move(fd), path, 0);
  }
  bool out_of_time() const { return x_out_of_time; }
  std::uint64_t directories() const { return x_directories; }
  std::uint64_t others() const { return x_others; }

 private:
  Status empty_level(UniqueFd fd, const std::string& path, int depth) {
    const int own = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0);
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(own < 0 ? nullptr : ::fdopendir(own), ::closedir);
    if (!directory) return system_error("cannot list " + path, errno);
    // Until a whole pass finds nothing: removing may make readdir skip entries, and deep ones come up to the top.
    for (bool found = true; found && !x_out_of_time;) {
      found = false;
      ::rewinddir(directory.get());
      while (const dirent* entry = ::readdir(directory.get())) {
        const std::string name = entry->d_name;
        if (name == "." || name == "..") continue;
        found = true;
        if (Clock::now() > x_until) x_out_of_time = true;
        if (x_out_of_time) break;
        if (auto gone = remove_entry(fd.get(), name, path + "/" + name, depth); !gone) return gone;
      }
    }
    return {};
  }

  Status remove_entry(int directory, const std::string& name, const std::string& path, int depth) {
    if (::unlinkat(directory, name.c_str(), 0) == 0) {
      ++x_others;
      return {};
    }
    if (errno == ENOENT) return {};
    if (errno != EISDIR && errno != EPERM) return system_error("cannot remove " + path, errno);
    if (depth == kDeepest) return move_up(directory, name, path);
    UniqueFd child(open_child(directory, name.c_str()));
    if (!child.valid() && errno == ENOENT) return {};
    if (!child.valid() && errno == EXDEV) {
      return Error{Code::failed_precondition, "something is mounted at " + path + ": it is not touched; unmount it"};
    }
    if (!child.valid()) return system_error("cannot enter " + path, errno);
    if (auto emptied = empty_level(std::move(child), path, depth + 1); !emptied || x_out_of_time) return emptied;
    if (::unlinkat(directory, name.c_str(), AT_REMOVEDIR) == 0) {
      ++x_directories;
      return {};
    }
    // Not empty: somebody writes into it just now. The next pass sees it.
    if (errno == ENOENT || (errno == ENOTEMPTY && ++x_not_empty < 1000)) return {};
    return system_error("cannot remove " + path, errno);
  }

  Status move_up(int directory, const std::string& name, const std::string& path) {
    for (int tries = 0; tries < 1000; ++tries) {
      const std::string up = ".trainyard-deep-" + std::to_string(x_moved++);
      if (::renameat(directory, name.c_str(), x_top, up.c_str()) == 0) return {};
      if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR) break;
    }
    return system_error("cannot move " + path + " up, to remove it", errno);
  }

  const Clock::time_point x_until;
  int x_top = -1;
  std::uint64_t x_directories = 0, x_others = 0, x_moved = 0;
  int x_not_empty = 0;
  bool x_out_of_time = false;
};

bool is_at(int directory, const std::string& path) {
  struct stat there {
  }, now{};
  return ::fstat(directory, &there) == 0 && ::stat(path.c_str(), &now) == 0 && there.st_dev == now.st_dev &&
         there.st_ino == now.st_ino;
}

Status remove_one(const std::string& path, std::uint64_t& removed, std::uint64_t& files) {
  if (path.size() < 2 || path[0] != '/') return Error{Code::invalid_argument, "not an absolute directory: " + path};
  if (const auto mounts = mounts_under(path); !mounts.empty()) {
    return Error{Code::failed_precondition, mounts.front() + " is still mounted: " + path + " is not removed"};
  }
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid() && errno == ENOENT) return {};
  if (!fd.valid()) return system_error("cannot enter " + path, errno);
  Emptier emptier;
  if (auto emptied = emptier.empty(std::move(fd), path); !emptied) return emptied;
  if (::rmdir(path.c_str()) != 0 && errno != ENOENT) return system_error("cannot remove " + path, errno);
  removed += emptier.directories() + 1;
  files += emptier.others();
  return {};
}

}  // namespace

Status remove(const Arguments& arguments) {
  std::uint64_t removed = 0, files = 0;
  for (const auto& word : arguments.words) {
    if (auto done = remove_one(resolved(word), removed, files); !done) return done;
  }
  std::printf("removed %llu\nfiles %llu\n", static_cast<unsigned long long>(removed),
              static_cast<unsigned long long>(files));
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
  Emptier emptier;
  if (auto emptied = emptier.empty(std::move(fd), arguments.words[1]); !emptied) return emptied;
  if (::unlinkat(place->directory.get(), place->name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    return system_error("cannot remove " + arguments.words[1], errno);
  }
  std::printf("removed %llu\n", static_cast<unsigned long long>(emptier.directories() + 1));
  // The directory above it, when this was the last thing in it.
  const std::size_t slash = arguments.words[1].rfind('/');
  if (slash == std::string::npos) return {};
  if (const auto above = root->parent_of(arguments.words[1].substr(0, slash))) {
    ::unlinkat(above->directory.get(), above->name.c_str(), AT_REMOVEDIR);
  }
  return {};
}

Status remove_share(const Arguments& arguments) {
  const std::string& path = arguments.words[0];
  if (path.size() < 2 || path[0] != '/') return Error{Code::invalid_argument, "not an absolute directory: " + path};
  // The share's directory itself is the operator's business: it may be a mount, or a link to where the share really is.
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() && errno != ENOENT) return system_error("cannot enter " + path, errno);
  Emptier emptier(arguments.limit_ms);
  bool more = false;
  if (fd.valid()) {
    const UniqueFd directory(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
    if (auto emptied = emptier.empty(std::move(fd), path); !emptied) return emptied;
    more = emptier.out_of_time();
    // Busy, or no directory: then it stays, empty. Another one under its name: somebody was quicker, and it is new.
    if (!more && is_at(directory.get(), path) && ::rmdir(path.c_str()) != 0) {
      more = errno == ENOTEMPTY;  // somebody wrote meanwhile
      const bool fine = more || errno == EBUSY || errno == ENOTDIR || errno == ENOENT;
      if (!fine) return system_error("cannot remove " + path, errno);
    }
  }
  std::printf("removed %llu\n%s", static_cast<unsigned long long>(emptier.directories() + emptier.others()),
              more ? "more\n" : "");
  return {};
}

}  // namespace trainyard::agent::helper
