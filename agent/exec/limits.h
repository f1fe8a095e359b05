// What a job's part on one node may use at most: memory, number of processes, and what the operator allows of
// processors and disks; and, of a node that it shares, the cores that are its own, what its GPUs' worth of processors
// and disks is against its neighbours', and the devices that are theirs. By the controllers of cgroup v2 where they are
// enabled (then the holding's own cgroup is limited), else by those of v1 (then a group of their own per controller,
// which processes join when they start). An out-of-memory kill is found by reading the counters: no container engine's
// word is needed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/result.h"

namespace trainyard::agent {

// Of one disk, per second; 0: no limit.
struct DiskLimit {
  std::string device;  // of the whole disk: "/dev/nvme0n1"
  std::uint64_t read_bytes = 0, write_bytes = 0, reads = 0, writes = 0;
  friend bool operator==(const DiskLimit&, const DiskLimit&) = default;
};

struct LimitSettings {
  std::uint64_t memory_bytes = 0, processes = 0;  // 0: no limit
  // Of a holding that shares its node: its GPUs, and the node's. 0: it has the node for itself.
  std::uint32_t gpus = 0, node_gpus = 0;
  std::vector<std::string> refused_devices = {};  // paths: GPUs of others
  std::string cores = {};                         // processors, as Linux lists them; empty: all
  std::uint64_t cpu_percent = 0;                  // of one processor, at any time; 0: no limit
  std::vector<DiskLimit> disks = {};
};

// Where the kernel's controllers are, as this process sees them; found once, at the start.
struct Controllers {
  bool memory_v2 = false, pids_v2 = false, cpu_v2 = false, io_v2 = false, cpuset_v2 = false;
  bool device_programs = false;  // v2's way to refuse devices, where v1's controller is not
  // Directories in which groups can be made; empty: none, or v2 has the controller.
  std::string memory_v1, pids_v1, cpu_v1, blkio_v1, devices_v1, cpuset_v1;
  std::string prefix;  // of the groups' names in there: other agents may use the same directory
};
// Enables the controllers in v2 for what is below `cgroup_base`, where it can.
Controllers find_controllers(const std::string& cgroup_base, const std::string& prefix);

// "v2", "v1" or empty, for what is below `cgroup2` (empty: there is none). "io" is v1's blkio; "devices" is v1's, or v2
// says that there can be programs. Only looks.
std::string controller_kind(const std::string& cgroup2, const std::string& controller);

// Why limits that an operator demands cannot be kept here: the controller or the disk that is missing; empty: they can.
std::string why_not(const Controllers& controllers, std::uint64_t cpu_percent, const std::vector<DiskLimit>& disks);

struct OutOfMemory {
  std::uint64_t kills = 0, peak_bytes = 0, limit_bytes = 0;  // peak 0: not known (v2 before 5.19)
};

// The limits of one holding. All calls are repeatable.
class Limits {
 public:
  // `name`: the holding's; `job_cgroup`: its processes' cgroup, which exists at create().
  Limits(const Controllers& controllers, LimitSettings settings, const std::string& name, std::string job_cgroup);

  const LimitSettings& settings() const { return x_settings; }

  Status create() const;
  // Weights and refused devices, where they can be had: what is missing keeps no job from running. After create().
  Status create_share() const;
  // Groups that every process must join when it starts, before it becomes another user's. A container's has its
  // engine's group of devices, which allows less than ours.
  std::vector<std::string> groups(bool in_container = false) const;
  // The cores that every process must keep to by itself when it starts, because no controller holds them there; empty:
  // none. After create_share(), also of an earlier life of the agent.
  std::string affinity() const;
  std::optional<OutOfMemory> out_of_memory() const;
  // After the last process has ended.
  Status remove() const;

 private:
  Status create_devices() const;
  Status create_weights() const;
  Status create_cores() const;
  Status create_hard() const;

  Controllers x_controllers;
  LimitSettings x_settings;
  std::string x_name, x_job_cgroup;
  std::string x_memory_group, x_pids_group, x_cpu_group, x_io_group, x_device_group,
      x_cpuset_group;  // v1's; empty: not used
};

// Names of holdings that have groups in v1, for the clean-up of what was left behind.
std::vector<std::string> limited_names(const Controllers& controllers);

}  // namespace trainyard::agent
