// The verbs of a helper, one function each; helper_main.h describes them. They block.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/result.h"

namespace trainyard::agent::helper {

struct Arguments {
  std::vector<std::string> words;  // without options
  unsigned mode = 0;               // of --mode; 0: the verb's default
  std::uint64_t offset = 0;
  bool follow = false;
  std::int64_t limit_ms = 0;              // stop before the end after that long; 0: never
  std::optional<std::uint32_t> uid, gid;  // of --as: who should be able to write to what is made
  bool share = false;  // words[0] is a share: its place must be there, and verbs that put something in make it
};

// helper_mounts.cc
// As mountinfo writes it: no links in the directories above, which are ours. The last part is not touched: a dead
// server may be mounted there.
std::string resolved(std::string path);
Status mount(const Arguments& arguments);
Status unmount(const Arguments& arguments);

// helper_volumes.cc
Status mount_volume(const Arguments& arguments);
Status unmount_volume(const Arguments& arguments);
Status sweep_volumes(const Arguments& arguments);
Status check_mount(const Arguments& arguments);

// helper_remove.cc
Status remove(const Arguments& arguments);
Status remove_beneath(const Arguments& arguments);
Status remove_share(const Arguments& arguments);

// helper_files.cc
Status make_directories(const Arguments& arguments);
Status list(const Arguments& arguments);
Status write(const Arguments& arguments);
Status delete_entry(const Arguments& arguments);
Status rotate_stdouterr(const Arguments& arguments);
Status keep_earlier(const Arguments& arguments);

// helper_follow.cc
Status read(const Arguments& arguments);
Status ship_log(const Arguments& arguments);

}  // namespace trainyard::agent::helper
