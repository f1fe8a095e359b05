// One mount per node and volume, for all its users: made below work/KEY/mnt, bound to wherever it is wanted, taken away
// when no bind of it is left. The kernel's own list of mounts is the count, so nothing has to be remembered. For helper
// processes; blocks, but not for ever.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/volumes/client.h"
#include "agent/volumes/mounter.h"

namespace trainyard::agent {

struct MountJob {
  Volume volume;
  std::string credential, target;
  MountSettings settings;
  MountPlaces places;
  DurationMs limit_ms = 0;
};

Status mount_shared(const MountJob& job);
// The user's own command, with the path appended; its processes get a cgroup of their own.
Status mount_by_command(const MountJob& job);

// Takes away what is mounted at `target` (of a command: and its processes), then every shared mount without users.
Status unmount_volume(const MountPlaces& places, const std::string& target);
Status sweep_shared(const MountPlaces& places);

// Lists `target`; when there is no answer in time, what waits for it is set free (the FUSE connection is aborted).
Status check_mount(const std::string& target, DurationMs limit_ms);

// What is bound gets nosuid and nodev, and keeps what else it had.
Status bind_directory(const std::string& source, const std::string& target);

}  // namespace trainyard::agent
