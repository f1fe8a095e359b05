// Opens paths that can never leave a root directory: not by "..", not by an absolute path, not by a symbolic link put
// there by a job. For helper processes.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "agent/exec/files.h"
#include "common/result.h"

namespace trainyard::agent {

class Beneath {
 public:
  // `root` itself may be anything the operator or the agent names, links included.
  static Result<Beneath> open(const std::string& root);

  // Opens `path` below the root (a leading "/" means the root). Links inside are followed as long as they stay inside;
  // `flags` may forbid that with O_NOFOLLOW. O_CLOEXEC is added.
  Result<UniqueFd> open_path(const std::string& path, int flags, mode_t mode = 0) const;

  struct Place {
    UniqueFd directory;
    std::string name;
  };
  // The directory that holds `path`, for calls that work on an entry. An error when `path` is the root itself.
  Result<Place> parent_of(const std::string& path) const;

  // Makes `path` and its parents with exactly `mode`. True: the last part is new.
  Result<bool> make_directories(const std::string& path, mode_t mode) const;

  // "a//b/./c" -> {"a","b","c"}; refuses "..", names that are too long and NUL.
  static Result<std::vector<std::string>> parts_of(const std::string& path);

 private:
  explicit Beneath(UniqueFd root) : x_root(std::move(root)) {}
  UniqueFd x_root;
};

// Makes the directory of a share when it is missing (0777, as Batch AI's directoryMode: jobs run as users of their
// own), and the one above it (its account's, 0700). What lies above those is the operator's place: when that is
// missing, something is not mounted, and nothing is made.
Status make_share_directory(const std::string& path);
// For who only looks: an error when that place is missing, so that a share that is not mounted does not look empty.
Status check_share_place(const std::string& path);

}  // namespace trainyard::agent
