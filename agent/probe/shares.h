// What of a machine goes with each of its GPUs when jobs take parts of it: whole cores near the GPU, and of anything
// that can be counted an equal share. From the list of GPUs alone: an agent that starts again gives out the same, and
// two holdings never have a core in common while there are as many cores as GPUs. Pure, but for find_cores.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "common/model.h"

namespace trainyard::agent {

// A core with its hardware threads: they are never given to different GPUs while there are enough cores.
struct Core {
  std::int32_t numa_node = -1;  // -1: not known
  std::vector<std::uint32_t> cpus;
  friend bool operator==(const Core&, const Core&) = default;
};

// Those of these processors, by NUMA node and number. `sys`: where sysfs is.
std::vector<Core> find_cores(const std::string& sys, const std::set<std::uint32_t>& allowed);
// The processors that this process may use.
std::set<std::uint32_t> allowed_cpus();

// Sets Gpu::cores: of the same number for each GPU (but for one), of its own NUMA node as far as that has them. MIG
// instances divide those of their GPU. Without cores, or GPUs, nothing is given.
void share_cores(const std::vector<Core>& cores, std::vector<Gpu>& gpus);

// GPUs that jobs can be given, faulty or not: not one of which they are given instances.
std::uint32_t count_parts(const std::vector<Gpu>& gpus);
// Of all that the machine has of something, what goes with these GPUs; at least 1. One that is not listed (any more)
// counts as a whole GPU.
std::uint64_t part_of(std::uint64_t whole, const std::vector<Gpu>& gpus, const std::vector<std::string>& uuids);
// The processors of these GPUs together; empty: none are given.
std::string cores_of(const std::vector<Gpu>& gpus, const std::vector<std::string>& uuids);

}  // namespace trainyard::agent
