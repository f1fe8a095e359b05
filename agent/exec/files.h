// Small file tools of the processes on a node: owned descriptors, whole-file reads, durable replacement, process
// identity.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/result.h"

namespace trainyard::agent {

// Owns a descriptor; closes it at the end.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : x_fd(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : x_fd(std::exchange(other.x_fd, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    reset(std::exchange(other.x_fd, -1));
    return *this;
  }
  ~UniqueFd() { reset(); }
  int get() const { return x_fd; }
  bool valid() const { return x_fd >= 0; }
  int release() { return std::exchange(x_fd, -1); }
  void reset(int fd = -1);

 private:
  int x_fd = -1;
};

// Error of a failed system call, from errno: "cannot open /a/b: No such file or directory", with the code that fits.
Error system_error(const std::string& what, int error_number);

// Opens a file. With "//" in its path: what comes before is ours, and what comes after is never reached through a link,
// as a job's user may have put one there. -1 and errno as open(2).
int open_guarded(const std::string& path, int flags);

Result<std::string> read_whole_file(const std::string& path);

// Replaces `path` by `text` with a temporary file beside it and a rename: readers, and a crash of ours, see old or new.
// Durably: also synced, so that a crash of the machine does not undo it.
Status write_file_atomically(const std::string& path, const std::string& text, mode_t mode);
Status write_file_durably(const std::string& path, const std::string& text, mode_t mode);
// The same for a file that is written at every step: the old content stays beside it as PATH.new and is written over
// the next time, so that no file is made or removed (on ext4 that costs more with every one of the last seconds).
Status rewrite_file_durably(const std::string& path, const std::string& text, mode_t mode);

// All of `data`, through short writes and interruptions. False with errno set.
bool write_fully(int fd, const char* data, std::size_t size);

// A mount as this process sees it, by /proc/self/mountinfo.
struct MountEntry {
  std::string device;       // "0:44": bind mounts of one file system share it
  std::string root, point;  // which part of the file system, and where
  std::string propagation;  // "shared:1 master:2"; empty: private
  std::string type;         // "cgroup2", "fuse.sshfs"
  std::string options;      // of the file system, by commas: of v1's cgroups, their controllers
};
// Oldest first: later mounts cover earlier ones.
Result<std::vector<MountEntry>> mount_table();

// Whether a read would not wait. Asio may report a descriptor as ready that is not; a pidfd is never read, so ask.
bool is_readable(int fd);

// When the process started, in the kernel's ticks: with the pid it names a process for ever. 0 when there is none.
std::uint64_t process_start_time(int pid);

// Whether the process has a handler for the signal; false where there is none.
bool catches(int pid, int signal);
// Its name as the kernel knows it, at most 15 characters; empty where there is none.
std::string process_name(int pid);

// CLOCK_BOOTTIME in milliseconds.
std::int64_t boottime_ms();

}  // namespace trainyard::agent
