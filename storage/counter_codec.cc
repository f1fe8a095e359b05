#include "storage/counter_codec.h"

#include <algorithm>
#include <cmath>

namespace trainyard::storage {
namespace {

// What the first byte of a row says; other shapes get other numbers.
constexpr std::uint64_t kShape = 1;
constexpr double kHundredths = 100;
constexpr std::uint64_t kKiB = 1024;
// Which values of a GPU follow.
constexpr std::uint64_t kUtilization = 1, kMemory = 2, kPower = 4, kTemperature = 8;

class Writer {
 public:
  // Seven bits a byte, the lowest first; all but the last have the eighth set.
  void number(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) x_bytes.push_back(static_cast<char>(0x80 | (value & 0x7f)));
    x_bytes.push_back(static_cast<char>(value));
  }
  void scaled(double value, double scale) {
    number(static_cast<std::uint64_t>(std::llround(std::clamp(value * scale, 0.0, 1e18))));
  }
  std::string take() { return std::move(x_bytes); }

 private:
  std::string x_bytes;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : x_bytes(bytes) {}
  std::uint64_t number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (x_bytes.empty()) break;
      const auto byte = static_cast<unsigned char>(x_bytes.front());
      x_bytes.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    x_good = false;
    return 0;
  }
  double scaled(double scale) { return static_cast<double>(number()) / scale; }
  bool good() const { return x_good; }
  bool at_end() const { return x_bytes.empty(); }

 private:
  std::string_view x_bytes;
  bool x_good = true;
};

void write_gpu(Writer& out, std::uint64_t number, const GpuCounters& gpu) {
  out.number(number);
  out.number((gpu.utilization_percent ? kUtilization : 0) | (gpu.memory_used_bytes ? kMemory : 0) |
             (gpu.power_watts ? kPower : 0) | (gpu.temperature_celsius ? kTemperature : 0));
  if (gpu.utilization_percent) out.scaled(*gpu.utilization_percent, kHundredths);
  if (gpu.memory_used_bytes) out.number(*gpu.memory_used_bytes / kKiB);
  if (gpu.power_watts) out.scaled(*gpu.power_watts, kHundredths);
  if (gpu.temperature_celsius) out.scaled(*gpu.temperature_celsius, kHundredths);
}

GpuCounters read_gpu(Reader& in) {
  GpuCounters gpu;
  const std::uint64_t has = in.number();
  if (has & kUtilization) gpu.utilization_percent = in.scaled(kHundredths);
  if (has & kMemory) gpu.memory_used_bytes = in.number() * kKiB;
  if (has & kPower) gpu.power_watts = in.scaled(kHundredths);
  if (has & kTemperature) gpu.temperature_celsius = in.scaled(kHundredths);
  return gpu;
}

}  // namespace

std::string encode_sample(const CounterSample& sample,
                          const std::function<std::optional<std::uint64_t>(const std::string&)>& number_of) {
  Writer out;
  out.number(kShape);
  out.scaled(sample.cpu_percent, kHundredths);
  out.number(sample.memory_used_bytes / kKiB);
  out.number(sample.memory_total_bytes / kKiB);
  out.scaled(sample.received_bytes_per_s, 1);
  out.scaled(sample.sent_bytes_per_s, 1);
  for (const GpuCounters& gpu : sample.gpus) {
    if (const auto number = number_of(gpu.uuid)) write_gpu(out, *number, gpu);
  }
  return out.take();
}

std::optional<CounterSample> decode_sample(TimeMs time_ms, std::string_view bytes,
                                           const std::function<std::optional<std::string>(std::uint64_t)>& uuid_of) {
  Reader in(bytes);
  if (in.number() != kShape) return std::nullopt;
  CounterSample sample;
  sample.time_ms = time_ms;
  sample.cpu_percent = in.scaled(kHundredths);
  sample.memory_used_bytes = in.number() * kKiB;
  sample.memory_total_bytes = in.number() * kKiB;
  sample.received_bytes_per_s = in.scaled(1);
  sample.sent_bytes_per_s = in.scaled(1);
  while (in.good() && !in.at_end()) {
    const auto uuid = uuid_of(in.number());
    GpuCounters gpu = read_gpu(in);
    if (!uuid || !in.good()) continue;
    gpu.uuid = *uuid;
    sample.gpus.push_back(std::move(gpu));
  }
  if (!in.good()) return std::nullopt;
  return sample;
}

}  // namespace trainyard::storage
