#include "controller/edge/job_counters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

namespace trainyard::controller {
namespace {

// '/' is in no node's name.
std::string series_name(AttemptId id, const std::string& node) {
  return fmt::format("{}{}/{}", job_series_prefix(id.job), id.attempt, node);
}

CounterSample part_of(const CounterSample& sample, const HoldingCounters& used, const core::Holding& holding) {
  CounterSample part;
  part.time_ms = sample.time_ms;
  part.cpu_percent = used.cpu_percent;
  part.memory_used_bytes = used.memory_used_bytes;
  part.memory_total_bytes = sample.memory_total_bytes;
  for (const GpuCounters& gpu : sample.gpus) {
    const auto& own = holding.gpu_uuids;
    if (!holding.shared || std::find(own.begin(), own.end(), gpu.uuid) != own.end()) part.gpus.push_back(gpu);
  }
  return part;
}

}  // namespace

std::string job_series_prefix(JobId job) {
  return fmt::format("job/{}/", job.value);
}

SeriesOfJob series_of_job(const std::string& name) {
  const auto job = name.find('/'), attempt = name.find('/', job + 1), node = name.find('/', attempt + 1);
  if (node == std::string::npos) return {};
  return {static_cast<std::uint32_t>(std::strtoul(name.c_str() + attempt + 1, nullptr, 10)), name.substr(node + 1)};
}

std::map<std::string, CounterSample> job_samples(const core::State& state, const std::string& node,
                                                 const CounterSample& sample) {
  std::map<std::string, CounterSample> parts;
  const auto id = state.node_by_name.find(node);
  if (id == state.node_by_name.end()) return parts;
  for (const HoldingCounters& used : sample.holdings) {
    const AttemptId attempt{JobId{used.job}, used.attempt};
    const auto holding = state.holdings.find({id->second, attempt});
    if (holding == state.holdings.end()) continue;
    parts[series_name(attempt, node)] = part_of(sample, used, holding->second);
  }
  return parts;
}

}  // namespace trainyard::controller
