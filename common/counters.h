// How busy a node was: what the agents measure, the controller keeps as series, and users read. Pure values; any
// thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/time.h"

namespace trainyard {

// Unset: the driver does not tell.
struct GpuCounters {
  std::string uuid;
  std::optional<double> utilization_percent;
  std::optional<std::uint64_t> memory_used_bytes;
  std::optional<double> power_watts, temperature_celsius;
  friend bool operator==(const GpuCounters&, const GpuCounters&) = default;
};

// What one attempt's processes on the node used.
struct HoldingCounters {
  std::uint64_t job = 0;  // id
  std::uint32_t attempt = 0;
  double cpu_percent = 0;  // of all cores of the node together
  std::uint64_t memory_used_bytes = 0;
  friend bool operator==(const HoldingCounters&, const HoldingCounters&) = default;
};

struct CounterSample {
  TimeMs time_ms = 0;      // end of the interval that it stands for; 0 on its way from the agent
  double cpu_percent = 0;  // of all cores together
  std::uint64_t memory_used_bytes = 0, memory_total_bytes = 0;
  double received_bytes_per_s = 0, sent_bytes_per_s = 0;  // over all interfaces but loopback
  std::vector<GpuCounters> gpus;
  std::vector<HoldingCounters> holdings = {};  // on its way from the agent only: each is kept as a series of its own
  friend bool operator==(const CounterSample&, const CounterSample&) = default;
};

// The means of those samples that have a value; a GPU's over the samples that have it. Its time is the last sample's.
// REQUIRES: there is one
CounterSample average_of(const std::vector<CounterSample>& samples);

// One sample per interval (origin + k * step, origin + (k + 1) * step] that has any, with its end as time. Samples come
// in the order of their times, later than `origin`.
std::vector<CounterSample> averaged_over(const std::vector<CounterSample>& samples, TimeMs origin, DurationMs step);

}  // namespace trainyard
