#include "proto/counter_convert.h"

#include <algorithm>
#include <cmath>

#include "proto/agent_convert.h"
#include "proto/convert.h"

namespace trainyard {
namespace {

constexpr int kMostGpus = 64, kMostHoldings = 64;
constexpr std::size_t kLongestUuid = 96;
constexpr double kMostRate = 1e15;
constexpr std::uint64_t kMostBytes = 1ULL << 60;

double sane(double value, double most) {
  return std::isfinite(value) ? std::clamp(value, 0.0, most) : 0;
}

std::optional<double> sane(bool set, double value, double most) {
  if (!set || !std::isfinite(value) || value < 0) return std::nullopt;
  return std::min(value, most);
}

GpuCounters from_proto(const v1::GpuCounters& message) {
  GpuCounters gpu;
  gpu.uuid = message.uuid();
  gpu.utilization_percent = sane(message.has_utilization_percent(), message.utilization_percent(), 100);
  if (message.has_memory_used_bytes()) gpu.memory_used_bytes = std::min(message.memory_used_bytes(), kMostBytes);
  gpu.power_watts = sane(message.has_power_watts(), message.power_watts(), 1e6);
  gpu.temperature_celsius = sane(message.has_temperature_celsius(), message.temperature_celsius(), 1000);
  return gpu;
}

}  // namespace

CounterSample from_proto(const v1::CounterSample& message) {
  CounterSample sample;
  sample.cpu_percent = sane(message.cpu_percent(), 100);
  sample.memory_used_bytes = std::min(message.memory_used_bytes(), kMostBytes);
  sample.memory_total_bytes = std::min(message.memory_total_bytes(), kMostBytes);
  sample.received_bytes_per_s = sane(message.network_received_bytes_per_second(), kMostRate);
  sample.sent_bytes_per_s = sane(message.network_sent_bytes_per_second(), kMostRate);
  for (const v1::GpuCounters& gpu : message.gpus()) {
    if (sample.gpus.size() == kMostGpus) break;
    if (!gpu.uuid().empty() && gpu.uuid().size() <= kLongestUuid) sample.gpus.push_back(from_proto(gpu));
  }
  for (const v1::HoldingCounters& holding : message.holdings()) {
    if (sample.holdings.size() == kMostHoldings) break;
    sample.holdings.push_back({holding.job(), holding.attempt(), sane(holding.cpu_percent(), 100),
                               std::min(holding.memory_used_bytes(), kMostBytes)});
  }
  return sample;
}

void to_proto(const CounterSample& sample, v1::CounterSample& message) {
  if (sample.time_ms != 0) set_time(sample.time_ms, *message.mutable_time());
  message.set_cpu_percent(sample.cpu_percent);
  message.set_memory_used_bytes(sample.memory_used_bytes);
  message.set_memory_total_bytes(sample.memory_total_bytes);
  message.set_network_received_bytes_per_second(sample.received_bytes_per_s);
  message.set_network_sent_bytes_per_second(sample.sent_bytes_per_s);
  for (const GpuCounters& gpu : sample.gpus) {
    v1::GpuCounters& out = *message.add_gpus();
    out.set_uuid(valid_utf8(gpu.uuid));
    if (gpu.utilization_percent) out.set_utilization_percent(*gpu.utilization_percent);
    if (gpu.memory_used_bytes) out.set_memory_used_bytes(*gpu.memory_used_bytes);
    if (gpu.power_watts) out.set_power_watts(*gpu.power_watts);
    if (gpu.temperature_celsius) out.set_temperature_celsius(*gpu.temperature_celsius);
  }
  for (const HoldingCounters& holding : sample.holdings) {
    v1::HoldingCounters& out = *message.add_holdings();
    out.set_job(holding.job);
    out.set_attempt(holding.attempt);
    out.set_cpu_percent(holding.cpu_percent);
    out.set_memory_used_bytes(holding.memory_used_bytes);
  }
}

}  // namespace trainyard
