#include "cli/show_counters.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cli/show_parts.h"

namespace trainyard::cli {
namespace {

using Row = std::vector<std::string>;

// Two digits are as many as a person needs, in a script's numbers, too.
double rounded(double value) {
  return std::round(value * 100) / 100;
}

// "12.3 GiB"
std::string bytes(double value) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  return fmt::format("{:.{}f} {}", value, unit == 0 ? 0 : 1, kUnits[unit]);
}

std::string whole(bool known, double value) {
  return known ? fmt::format("{:.0f}", value) : "-";
}

Json json_of(const v1::GpuCounters& gpu) {
  return {
      {"memoryUsedBytes", gpu.has_memory_used_bytes() ? Json(gpu.memory_used_bytes()) : Json(nullptr)},
      {"powerWatts", gpu.has_power_watts() ? Json(rounded(gpu.power_watts())) : Json(nullptr)},
      {"temperatureCelsius", gpu.has_temperature_celsius() ? Json(rounded(gpu.temperature_celsius())) : Json(nullptr)},
      {"utilizationPercent", gpu.has_utilization_percent() ? Json(rounded(gpu.utilization_percent())) : Json(nullptr)},
      {"uuid", gpu.uuid()}};
}

Json series_of(const v1::NodeCounters& counters) {
  Json samples = Json::array();
  for (const v1::CounterSample& sample : counters.samples()) samples.push_back(cli::json_of(sample));
  return {{"node", counters.node()}, {"samples", std::move(samples)}};
}

std::vector<std::string> columns(const std::string& first) {
  return {first, "CPU %", "Memory Used", "Memory Total", "Network In", "Network Out",
          "GPU", "GPU %", "GPU Memory",  "GPU Watts",    "GPU °C"};
}

// A row per GPU; what is the node's stands in the first.
void add_rows(const std::string& first, const v1::CounterSample& sample, Table& table) {
  Row node = {first,
              whole(true, sample.cpu_percent()),
              bytes(static_cast<double>(sample.memory_used_bytes())),
              bytes(static_cast<double>(sample.memory_total_bytes())),
              bytes(sample.network_received_bytes_per_second()) + "/s",
              bytes(sample.network_sent_bytes_per_second()) + "/s"};
  if (sample.gpus().empty()) {
    node.resize(columns("").size());
    table.rows.push_back(std::move(node));
  }
  for (int i = 0; i < sample.gpus_size(); ++i) {
    const v1::GpuCounters& gpu = sample.gpus(i);
    Row row = i == 0 ? node : Row{first, "", "", "", "", ""};
    row.push_back(std::to_string(i));
    row.push_back(whole(gpu.has_utilization_percent(), gpu.utilization_percent()));
    row.push_back(gpu.has_memory_used_bytes() ? bytes(static_cast<double>(gpu.memory_used_bytes())) : "-");
    row.push_back(whole(gpu.has_power_watts(), gpu.power_watts()));
    row.push_back(whole(gpu.has_temperature_celsius(), gpu.temperature_celsius()));
    table.rows.push_back(std::move(row));
  }
}

}  // namespace

Json json_of(const v1::CounterSample& sample) {
  Json gpus = Json::array();
  for (const v1::GpuCounters& gpu : sample.gpus()) gpus.push_back(json_of(gpu));
  return {{"cpuPercent", rounded(sample.cpu_percent())},
          {"gpus", std::move(gpus)},
          {"memoryTotalBytes", sample.memory_total_bytes()},
          {"memoryUsedBytes", sample.memory_used_bytes()},
          {"networkReceivedBytesPerSecond", rounded(sample.network_received_bytes_per_second())},
          {"networkSentBytesPerSecond", rounded(sample.network_sent_bytes_per_second())},
          {"time", when(sample.has_time(), sample.time())}};
}

Answer show_series(const v1::NodeCounters& counters) {
  Answer answer{series_of(counters), Table{columns("Time"), {}}};
  for (const v1::CounterSample& sample : counters.samples()) {
    add_rows(when(sample.has_time(), sample.time()).get<std::string>(), sample, answer.table);
  }
  return answer;
}

Answer show_newest(const std::vector<v1::NodeCounters>& nodes) {
  Answer answer{Json::array(), Table{columns("Node"), {}}};
  for (const v1::NodeCounters& node : nodes) {
    answer.value.push_back(series_of(node));
    if (node.samples().empty()) {
      Row nothing = {node.node(), "-"};
      nothing.resize(answer.table.columns.size());
      answer.table.rows.push_back(std::move(nothing));
    } else {
      add_rows(node.node(), *node.samples().rbegin(), answer.table);
    }
  }
  return answer;
}

Answer show_job_series(const v1::JobCounters& counters) {
  Answer answer{Json::array(), Table{columns("Time"), {}}};
  // A job's part of the network is not known.
  auto& names = answer.table.columns;
  const auto network = std::find(names.begin(), names.end(), "Network In");
  const auto at = network - names.begin();
  names.erase(network, network + 2);
  names.insert(names.begin(), {"Attempt", "Node"});
  for (const auto& series : counters.series()) {
    Json samples = Json::array();
    Table rows;
    for (const v1::CounterSample& sample : series.samples()) {
      Json one = cli::json_of(sample);
      one.erase("networkReceivedBytesPerSecond");
      one.erase("networkSentBytesPerSecond");
      samples.push_back(std::move(one));
      add_rows(when(sample.has_time(), sample.time()).get<std::string>(), sample, rows);
    }
    answer.value.push_back({{"attempt", series.attempt()}, {"node", series.node()}, {"samples", std::move(samples)}});
    for (Row& row : rows.rows) {
      row.erase(row.begin() + at, row.begin() + at + 2);
      row.insert(row.begin(), {std::to_string(series.attempt()), series.node()});
      answer.table.rows.push_back(std::move(row));
    }
  }
  return answer;
}

std::string cpu_cell(const v1::CounterSample& sample) {
  return fmt::format("{:.0f} %", sample.cpu_percent());
}

std::string gpu_cell(const v1::CounterSample& sample) {
  std::string text;
  for (const v1::GpuCounters& gpu : sample.gpus()) {
    if (!gpu.has_utilization_percent()) continue;
    text += fmt::format("{}{:.0f} %", text.empty() ? "" : ", ", gpu.utilization_percent());
  }
  return text;
}

}  // namespace trainyard::cli
