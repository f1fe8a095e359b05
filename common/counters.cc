#include "common/counters.h"

#include <cmath>
#include <map>
#include <utility>

#include "common/check.h"

namespace trainyard {
namespace {

class Mean {
 public:
  void add(double value) { x_sum += value, ++x_count; }
  template <class T>
  void add(const std::optional<T>& value) {
    if (value) add(static_cast<double>(*value));
  }
  double value() const { return x_count == 0 ? 0 : x_sum / x_count; }
  std::uint64_t rounded() const { return static_cast<std::uint64_t>(std::llround(value())); }
  std::optional<double> if_any() const { return x_count == 0 ? std::nullopt : std::optional(value()); }

 private:
  double x_sum = 0;
  int x_count = 0;
};

struct GpuMeans {
  Mean utilization, memory, power, temperature;
};

}  // namespace

CounterSample average_of(const std::vector<CounterSample>& samples) {
  TY_CHECK(!samples.empty());
  Mean cpu, used, total, received, sent;
  std::map<std::string, GpuMeans> gpus;
  for (const CounterSample& sample : samples) {
    cpu.add(sample.cpu_percent);
    used.add(static_cast<double>(sample.memory_used_bytes));
    total.add(static_cast<double>(sample.memory_total_bytes));
    received.add(sample.received_bytes_per_s);
    sent.add(sample.sent_bytes_per_s);
    for (const GpuCounters& gpu : sample.gpus) {
      GpuMeans& means = gpus[gpu.uuid];
      means.utilization.add(gpu.utilization_percent);
      means.memory.add(gpu.memory_used_bytes);
      means.power.add(gpu.power_watts);
      means.temperature.add(gpu.temperature_celsius);
    }
  }
  CounterSample mean{samples.back().time_ms, cpu.value(), used.rounded(), total.rounded(), received.value(),
                     sent.value(),           {}};
  for (const auto& [uuid, of] : gpus) {
    mean.gpus.push_back({uuid, of.utilization.if_any(), std::nullopt, of.power.if_any(), of.temperature.if_any()});
    if (of.memory.if_any()) mean.gpus.back().memory_used_bytes = of.memory.rounded();
  }
  return mean;
}

std::vector<CounterSample> averaged_over(const std::vector<CounterSample>& samples, TimeMs origin, DurationMs step) {
  std::vector<CounterSample> means, interval;
  TimeMs end = 0;
  const auto close = [&] {
    if (interval.empty()) return;
    means.push_back(average_of(interval));
    means.back().time_ms = end;
    interval.clear();
  };
  for (const CounterSample& sample : samples) {
    const TimeMs its_end = origin + ((sample.time_ms - origin - 1) / step + 1) * step;
    if (its_end != end) close();
    end = its_end;
    interval.push_back(sample);
  }
  close();
  return means;
}

}  // namespace trainyard
