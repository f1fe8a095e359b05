#include "agent/probe/shares.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <tuple>
#include <utility>

#include "agent/probe/first_line.h"
#include "common/cpu_list.h"

namespace trainyard::agent {
namespace {

std::map<std::uint32_t, std::int32_t> numa_nodes(const std::string& sys) {
  std::map<std::uint32_t, std::int32_t> node_of;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(sys + "/devices/system/node", error)) {
    const std::string name = entry.path().filename();
    const auto number =
        static_cast<std::int32_t>(std::strtol(name.c_str() + std::min<std::size_t>(4, name.size()), nullptr, 10));
    if (!name.starts_with("node")) continue;
    for (const std::uint32_t cpu : parse_cpu_list(first_line(entry.path() / "cpulist"))) node_of[cpu] = number;
  }
  return node_of;
}

std::uint64_t instances_of(const std::vector<Gpu>& gpus, const std::string& uuid) {
  return static_cast<std::uint64_t>(
      std::count_if(gpus.begin(), gpus.end(), [&](const Gpu& gpu) { return gpu.parent_uuid == uuid; }));
}

// Where the `index`th of `parts` begins when `size` is cut into them.
std::size_t cut(std::size_t size, std::size_t index, std::size_t parts) {
  return size * index / parts;
}

std::vector<Core> threads_of(const std::vector<Core>& cores) {
  std::vector<Core> threads;
  for (const Core& core : cores) {
    for (const std::uint32_t cpu : core.cpus) threads.push_back({core.numa_node, {cpu}});
  }
  return threads;
}

// Who of those near these NUMA nodes gets which core: as many cores as there are of theirs, none more than its share;
// then the rest, wherever it is. There are as many cores as takers, or more.
std::vector<std::size_t> owners(const std::vector<Core>& cores, const std::vector<std::int32_t>& near) {
  constexpr std::size_t kNobody = ~std::size_t{0};
  std::vector<std::size_t> owner(cores.size(), kNobody), missing;
  std::map<std::int32_t, std::vector<std::size_t>> cores_at, takers_at;
  for (std::size_t core = 0; core < cores.size(); ++core) cores_at[cores[core].numa_node].push_back(core);
  for (std::size_t taker = 0; taker < near.size(); ++taker) {
    takers_at[near[taker]].push_back(taker);
    missing.push_back(cut(cores.size(), taker + 1, near.size()) - cut(cores.size(), taker, near.size()));
  }
  for (const auto& [node, takers] : takers_at) {
    const std::vector<std::size_t>& there = cores_at[node];
    for (std::size_t i = 0; i < takers.size(); ++i) {
      const std::size_t end = cut(there.size(), i + 1, takers.size());
      for (std::size_t at = cut(there.size(), i, takers.size()); at < end && missing[takers[i]] > 0; ++at) {
        owner[there[at]] = takers[i];
        --missing[takers[i]];
      }
    }
  }
  std::size_t next = 0;
  for (std::size_t& whose : owner) {
    if (whose != kNobody) continue;
    while (missing[next] == 0) ++next;
    whose = next;
    --missing[next];
  }
  return owner;
}

std::vector<std::vector<Core>> divide(std::vector<Core> cores, const std::vector<std::int32_t>& near) {
  if (near.empty()) return {};
  if (cores.size() < near.size()) cores = threads_of(cores);
  std::vector<std::vector<Core>> given(near.size());
  if (cores.size() < near.size()) {
    // Neighbours have one together: none is without.
    for (std::size_t i = 0; i < near.size() && !cores.empty(); ++i) {
      given[i].push_back(cores[cut(cores.size(), i, near.size())]);
    }
    return given;
  }
  const std::vector<std::size_t> owner = owners(cores, near);
  for (std::size_t core = 0; core < cores.size(); ++core) given[owner[core]].push_back(cores[core]);
  return given;
}

std::string text_of(const std::vector<Core>& cores) {
  std::set<std::uint32_t> cpus;
  for (const Core& core : cores) cpus.insert(core.cpus.begin(), core.cpus.end());
  return cpu_list(cpus);
}

}  // namespace

std::set<std::uint32_t> allowed_cpus() {
  constexpr std::uint32_t kMost = 8192;  // of any kernel
  std::set<std::uint32_t> cpus;
  cpu_set_t* mask = CPU_ALLOC(kMost);
  if (mask != nullptr && ::sched_getaffinity(0, CPU_ALLOC_SIZE(kMost), mask) == 0) {
    for (std::uint32_t cpu = 0; cpu < kMost; ++cpu) {
      if (CPU_ISSET_S(cpu, CPU_ALLOC_SIZE(kMost), mask)) cpus.insert(cpu);
    }
  }
  CPU_FREE(mask);
  return cpus;
}

std::vector<Core> find_cores(const std::string& sys, const std::set<std::uint32_t>& allowed) {
  const auto node_of = numa_nodes(sys);
  std::map<std::pair<std::int32_t, std::uint32_t>, Core> found;  // by NUMA node and first thread
  for (const std::uint32_t cpu : allowed) {
    const std::string threads =
        first_line(sys + "/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
    const auto siblings = parse_cpu_list(threads);
    const auto node = node_of.find(cpu);
    const std::int32_t number = node == node_of.end() ? -1 : node->second;
    Core& core = found[{number, siblings.empty() ? cpu : *siblings.begin()}];
    core.numa_node = number;
    core.cpus.push_back(cpu);
  }
  std::vector<Core> cores;
  for (auto& [key, core] : found) cores.push_back(std::move(core));
  return cores;
}

void share_cores(const std::vector<Core>& cores, std::vector<Gpu>& gpus) {
  // In an order that does not depend on the list's: a GPU that was away comes back at its end.
  std::vector<Gpu*> whole;
  for (Gpu& gpu : gpus) {
    if (gpu.parent_uuid.empty()) whole.push_back(&gpu);
  }
  std::sort(whole.begin(), whole.end(), [](const Gpu* a, const Gpu* b) {
    return std::tie(a->pci_bus_id, a->uuid) < std::tie(b->pci_bus_id, b->uuid);
  });
  std::vector<std::int32_t> near;
  for (const Gpu* gpu : whole) near.push_back(gpu->numa_node);
  const auto given = divide(cores, near);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    whole[i]->cores = text_of(given[i]);
    std::vector<Gpu*> instances;
    for (Gpu& gpu : gpus) {
      if (gpu.parent_uuid == whole[i]->uuid) instances.push_back(&gpu);
    }
    const auto parts = divide(given[i], std::vector<std::int32_t>(instances.size(), -1));
    for (std::size_t j = 0; j < instances.size(); ++j) instances[j]->cores = text_of(parts[j]);
  }
}

std::uint32_t count_parts(const std::vector<Gpu>& gpus) {
  return static_cast<std::uint32_t>(
      std::count_if(gpus.begin(), gpus.end(), [&](const Gpu& gpu) { return instances_of(gpus, gpu.uuid) == 0; }));
}

std::uint64_t part_of(std::uint64_t whole, const std::vector<Gpu>& gpus, const std::vector<std::string>& uuids) {
  const std::uint64_t machines = std::max<std::uint64_t>(1, instances_of(gpus, ""));
  std::uint64_t part = 0;
  for (const std::string& uuid : uuids) {
    const auto gpu = std::find_if(gpus.begin(), gpus.end(), [&](const Gpu& each) { return each.uuid == uuid; });
    const bool instance = gpu != gpus.end() && !gpu->parent_uuid.empty();
    const std::uint64_t divisor = machines * (instance ? instances_of(gpus, gpu->parent_uuid) : 1);
    part += whole / divisor;
  }
  return std::clamp<std::uint64_t>(part, 1, std::max<std::uint64_t>(1, whole));
}

std::string cores_of(const std::vector<Gpu>& gpus, const std::vector<std::string>& uuids) {
  std::set<std::uint32_t> cpus;
  for (const Gpu& gpu : gpus) {
    if (std::find(uuids.begin(), uuids.end(), gpu.uuid) == uuids.end()) continue;
    cpus.merge(parse_cpu_list(gpu.cores));
  }
  return cpu_list(cpus);
}

}  // namespace trainyard::agent
