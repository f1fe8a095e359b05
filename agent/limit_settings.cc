#include "agent/limit_settings.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>

#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

// -1 in the configuration: what is left when the system has its part.
LimitSettings job_limits(const Config& config, std::uint64_t memory_bytes) {
  constexpr std::uint64_t kMb = 1024 * 1024;
  LimitSettings limits;
  if (config.memory_limit_mb >= 0) {
    limits.memory_bytes = static_cast<std::uint64_t>(config.memory_limit_mb) * kMb;
  } else if (memory_bytes > 1024 * kMb) {
    limits.memory_bytes = memory_bytes - std::max<std::uint64_t>(memory_bytes / 20, 512 * kMb);
  }
  if (config.process_limit >= 0) {
    limits.processes = static_cast<std::uint64_t>(config.process_limit);
  } else if (const auto highest = read_whole_file("/proc/sys/kernel/pid_max")) {
    limits.processes = std::strtoull(highest->c_str(), nullptr, 10) / 4 * 3;
  }
  limits.cpu_percent = static_cast<std::uint64_t>(config.cpu_limit_percent);
  limits.disks = config.disk_limits;
  return limits;
}

// What jobs that take parts of the node have of their own. They join groups of v1 anyway, for their weights.
void set_part_limits(const Config& config, std::uint64_t memory_bytes, ExecutorContext& context) {
  const Controllers& found = context.controllers;
  const bool bounds_memory = found.memory_v2 || !found.memory_v1.empty();
  context.parts_memory_bytes = config.part_limits && bounds_memory ? memory_bytes : 0;
  if (config.part_limits && !found.cpuset_v2 && found.cpuset_v1.empty()) {
    spdlog::info("no cpuset controller of cgroups is here: parts of the node keep to their cores by affinity only");
  }
  if (config.part_limits && memory_bytes != 0 && !bounds_memory) {
    spdlog::warn("no memory controller of cgroups is here: parts of the node share its memory freely");
  }
}

}  // namespace

std::string group_prefix(const Config& config) {
  std::uint32_t hash = 2166136261U;  // FNV-1a
  for (const char c : config.spool_dir) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  std::string prefix = fmt::format("{}-{}-{:08x}-", config.cgroup_parent, config.node_name, hash);
  std::replace(prefix.begin(), prefix.end(), '/', '-');
  return prefix;
}

Controllers controllers_for(const Config& config, const ExecutorContext& context) {
  return find_controllers(context.cgroup_base, group_prefix(config));
}

Status check_limits(const Config& config, const Controllers& controllers) {
  const std::string why =
      why_not(controllers, static_cast<std::uint64_t>(config.cpu_limit_percent), config.disk_limits);
  return why.empty() ? Status() : Error{Code::invalid_argument, why};
}

void set_limits(const Config& config, std::uint64_t memory_bytes, ExecutorContext& context) {
  constexpr std::uint64_t kMb = 1024 * 1024, kDefaultLogMb = 1024;
  context.limits = job_limits(config, memory_bytes);
  context.log_limit_bytes =
      (config.log_limit_mb < 0 ? kDefaultLogMb : static_cast<std::uint64_t>(config.log_limit_mb)) * kMb;
  const Controllers& found = context.controllers;
  set_part_limits(config, context.limits.memory_bytes, context);
  // Joining a group of v1 waits for a grace period of the kernel, 10 to 20 ms at each start of a process: only where
  // the operator wants it.
  const bool costly = !found.memory_v1.empty() || !found.pids_v1.empty();
  if (costly && (config.memory_limit_mb < 0 || config.process_limit < 0)) {
    spdlog::info("controllers of cgroup v1 only: limits that memory_limit_mb and process_limit do not give are off");
  }
  if (!found.memory_v2 && config.memory_limit_mb < 0) context.limits.memory_bytes = 0;
  if (!found.pids_v2 && config.process_limit < 0) context.limits.processes = 0;
  if (context.limits.memory_bytes != 0 && !found.memory_v2 && found.memory_v1.empty()) {
    spdlog::warn("no memory controller of cgroups is here: the memory of jobs is not limited");
  }
  if (context.limits.processes != 0 && !found.pids_v2 && found.pids_v1.empty()) {
    spdlog::warn("no pids controller of cgroups is here: the number of a job's processes is not limited");
  }
  if ((!found.cpu_v2 && found.cpu_v1.empty()) || (!found.io_v2 && found.blkio_v1.empty())) {
    spdlog::info("jobs that share this node have no weights for processors or disks: see trainyard-agent doctor");
  }
}

}  // namespace trainyard::agent
