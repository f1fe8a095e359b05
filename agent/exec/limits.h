// What a job's part on one node may use at most: memory and number of processes. By the controllers of cgroup v2 where
// they are enabled (then the holding's own cgroup is limited), else by those of v1 (then a group of their own per
// controller, which processes join when they start). An out-of-memory kill is found by reading the counters: no
// container engine's word is needed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/result.h"

namespace trainyard::agent {

struct LimitSettings {
  std::uint64_t memory_bytes = 0, processes = 0;  // 0: no limit
};

// Where the kernel's controllers are, as this process sees them; found once, at the start.
struct Controllers {
  bool memory_v2 = false, pids_v2 = false;
  std::string memory_v1, pids_v1;  // directories in which groups can be made; empty: none, or v2 has the controller
  std::string prefix;              // of the groups' names in there: other agents may use the same directory
};
// Enables the controllers in v2 for what is below `cgroup_base`, where it can.
Controllers find_controllers(const std::string& cgroup_base, const std::string& prefix);

struct OutOfMemory {
  std::uint64_t kills = 0, peak_bytes = 0, limit_bytes = 0;  // peak 0: not known (v2 before 5.19)
};

// The limits of one holding. All calls are repeatable.
class Limits {
 public:
  // `name`: the holding's; `job_cgroup`: its processes' cgroup, which exists at create().
  Limits(const Controllers& controllers, LimitSettings settings, const std::string& name, std::string job_cgroup);

  Status create() const;
  // Groups that every process must join when it starts, before it becomes another user's.
  std::vector<std::string> groups() const;
  std::optional<OutOfMemory> out_of_memory() const;
  // After the last process has ended.
  Status remove() const;

 private:
  Controllers x_controllers;
  LimitSettings x_settings;
  std::string x_job_cgroup, x_memory_group, x_pids_group;  // groups: of v1; empty: not used
};

// Names of holdings that have groups in v1, for the clean-up of what was left behind.
std::vector<std::string> limited_names(const Controllers& controllers);

}  // namespace trainyard::agent
