// The last resort against FUSE mounts whose server is silent: who waits for it cannot be killed, not even with SIGKILL,
// until the connection is aborted in the kernel. Nothing here touches the mounts themselves; no call blocks. For the
// agent's loop and for helpers; needs root.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/result.h"

namespace trainyard::agent {

struct FuseMount {
  std::string mount_point;
  unsigned connection = 0;  // its number below /sys/fs/fuse/connections; bind mounts of one file system share it
};

// Without a block device a file system's number is "0:MINOR", and MINOR the name of its connection, if it has one.
std::optional<unsigned> connection_of(const std::string& device);

// FUSE mounts at `prefix` and below, as this process sees them.
std::vector<FuseMount> fuse_mounts_under(const std::string& prefix);

// Every wait for this file system's server ends with an error, now and later, in all processes of the machine. Mounts
// fusectl where it is missing. Fine when the connection is gone already. The mount itself stays, and answers ENOTCONN.
Status abort_fuse(unsigned connection);

// All of fuse_mounts_under(prefix), each connection once. The mount points of those that were aborted.
std::vector<std::string> abort_fuse_under(const std::string& prefix);

}  // namespace trainyard::agent
