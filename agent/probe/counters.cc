#include "agent/probe/counters.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <thread>

namespace trainyard::agent {
namespace {

constexpr std::uint64_t kKiB = 1024;

std::string text_of(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// What a counter grew by; one that is smaller than before began again.
std::uint64_t growth(std::uint64_t before, std::uint64_t after) {
  return after >= before ? after - before : after;
}

template <class Number>
bool read_field(const std::string& word, std::optional<Number>& into) {
  if (word == "-") return true;
  Number value{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc() || end != word.data() + word.size()) return false;
  into = value;
  return true;
}

std::string field(const std::optional<double>& value) {
  return value ? fmt::format("{:.2f}", *value) : "-";
}

}  // namespace

std::optional<CpuTicks> parse_stat(const std::string& text) {
  std::istringstream line(text.substr(0, text.find('\n')));
  std::string name;
  if (!(line >> name) || name != "cpu") return std::nullopt;
  // user nice system idle iowait irq softirq steal; a guest's time, which follows, is in user's already.
  constexpr int kIdle = 3, kIoWait = 4, kFields = 8;
  CpuTicks ticks;
  int index = 0;
  for (std::uint64_t value = 0; index < kFields && line >> value; ++index) {
    ticks.total += value;
    if (index != kIdle && index != kIoWait) ticks.busy += value;
  }
  if (index <= kIdle) return std::nullopt;
  return ticks;
}

std::optional<MemoryBytes> parse_meminfo(const std::string& text) {
  std::optional<std::uint64_t> total, available;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    std::uint64_t kib = 0;
    if (!(words >> name >> kib)) continue;
    if (name == "MemTotal:") total = kib * kKiB;
    if (name == "MemAvailable:") available = kib * kKiB;
  }
  if (!total || !available) return std::nullopt;
  return MemoryBytes{*total - std::min(*total, *available), *total};
}

std::map<std::string, InterfaceBytes> parse_net_dev(const std::string& text) {
  std::map<std::string, InterfaceBytes> found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto colon = line.find(':');
    if (colon == std::string::npos) continue;  // the two lines of headings
    const auto start = line.find_first_not_of(' ');
    const std::string name = line.substr(start, colon - start);
    // received: bytes packets errs drop fifo frame compressed multicast; sent: bytes ...
    std::istringstream words(line.substr(colon + 1));
    InterfaceBytes bytes;
    std::uint64_t skipped = 0;
    words >> bytes.received;
    for (int i = 0; i < 7; ++i) words >> skipped;
    if (words >> bytes.sent && name != "lo") found[name] = bytes;
  }
  return found;
}

MachineReading read_machine(TimeMs boottime_ms) {
  return {boottime_ms, parse_stat(text_of("/proc/stat")), parse_meminfo(text_of("/proc/meminfo")),
          parse_net_dev(text_of("/proc/net/dev")), std::thread::hardware_concurrency()};
}

CounterSample sample_between(const MachineReading& before, const MachineReading& after) {
  CounterSample sample;
  if (before.cpu && after.cpu && after.cpu->total > before.cpu->total) {
    const auto total = static_cast<double>(after.cpu->total - before.cpu->total);
    sample.cpu_percent =
        std::min(100.0, 100.0 * static_cast<double>(growth(before.cpu->busy, after.cpu->busy)) / total);
  }
  if (after.memory) {
    sample.memory_used_bytes = after.memory->used;
    sample.memory_total_bytes = after.memory->total;
  }
  const double seconds = static_cast<double>(after.boottime_ms - before.boottime_ms) / 1000;
  if (seconds <= 0) return sample;
  for (const auto& [name, now] : after.network) {
    const auto found = before.network.find(name);
    const InterfaceBytes then = found == before.network.end() ? InterfaceBytes{} : found->second;
    sample.received_bytes_per_s += static_cast<double>(growth(then.received, now.received)) / seconds;
    sample.sent_bytes_per_s += static_cast<double>(growth(then.sent, now.sent)) / seconds;
  }
  const double processor_us = seconds * 1e6 * std::max(1U, after.cores);
  for (const auto& [key, now] : after.holdings) {
    const auto found = before.holdings.find(key);
    const std::uint64_t then = found == before.holdings.end() ? 0 : found->second.cpu_us;
    const double percent = 100 * static_cast<double>(growth(then, now.cpu_us)) / processor_us;
    sample.holdings.push_back({key.job.value, key.attempt, std::min(100.0, percent), now.memory_bytes});
  }
  return sample;
}

std::string format_gpus(const std::vector<GpuCounters>& gpus) {
  std::string text;
  for (const GpuCounters& gpu : gpus) {
    text += fmt::format("{} {} {} {} {}\n", gpu.uuid, field(gpu.utilization_percent),
                        gpu.memory_used_bytes ? fmt::format("{}", *gpu.memory_used_bytes) : "-", field(gpu.power_watts),
                        field(gpu.temperature_celsius));
  }
  return text + "\n";
}

std::vector<GpuCounters> parse_gpus(const std::string& text) {
  std::vector<GpuCounters> gpus;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    GpuCounters gpu;
    std::string utilization, memory, power, temperature;
    if (!(words >> gpu.uuid >> utilization >> memory >> power >> temperature)) continue;
    if (read_field(utilization, gpu.utilization_percent) && read_field(memory, gpu.memory_used_bytes) &&
        read_field(power, gpu.power_watts) && read_field(temperature, gpu.temperature_celsius)) {
      gpus.push_back(std::move(gpu));
    }
  }
  return gpus;
}

}  // namespace trainyard::agent
