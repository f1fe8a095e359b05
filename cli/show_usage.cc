// What `trainyard usage` answers.
#include <fmt/format.h>

#include "cli/show.h"
#include "cli/show_parts.h"

namespace trainyard::cli {
namespace {

std::int64_t sum_of(const v1::GpuTime& time) {
  return time.preparing_ms() + time.running_ms() + time.idle_ms() + time.lost_ms() + time.requeued_ms() +
         time.stopping_ms();
}

// A number of JSON: the shortest that reads back as these milliseconds.
Json seconds(std::int64_t ms) {
  return static_cast<double>(ms) / 1000;
}

std::string exact_seconds(std::int64_t ms) {
  return fmt::format("{}.{:03}", ms / 1000, ms % 1000);
}

std::string hours(std::int64_t ms) {
  return fmt::format("{:.2f}", static_cast<double>(ms) / 3'600'000);
}

Json time_of(const v1::GpuTime& time) {
  Json out;
  out["idle"] = seconds(time.idle_ms());
  out["lost"] = seconds(time.lost_ms());
  out["preparing"] = seconds(time.preparing_ms());
  out["requeued"] = seconds(time.requeued_ms());
  out["running"] = seconds(time.running_ms());
  out["stopping"] = seconds(time.stopping_ms());
  out["total"] = seconds(sum_of(time));
  return out;
}

const char* noun(v1::UsageGroupBy group_by) {
  switch (group_by) {
    case v1::USAGE_GROUP_BY_JOB:
      return "Job";
    case v1::USAGE_GROUP_BY_USER:
      return "User";
    case v1::USAGE_GROUP_BY_NODE:
      return "Node";
    case v1::USAGE_GROUP_BY_CLUSTER:
      return "Cluster";
    default:
      return "Workspace";
  }
}

std::string day_of(const v1::UsageRow& row) {
  return when(true, row.day()).get<std::string>().substr(0, 10);
}

// `idle` is "-" where no counters tell of it.
Row people_row(const std::string& name, const v1::GpuTime& time, std::int64_t all_ms, bool idle_known) {
  const double share = all_ms == 0 ? 0 : 100.0 * static_cast<double>(sum_of(time)) / static_cast<double>(all_ms);
  return {name,
          hours(time.preparing_ms()),
          hours(time.running_ms()),
          idle_known ? hours(time.idle_ms()) : "-",
          hours(time.lost_ms()),
          hours(time.requeued_ms()),
          hours(time.stopping_ms()),
          hours(sum_of(time)),
          fmt::format("{:.1f}", share)};
}

Row csv_row(const v1::UsageRow& row) {
  Row cells = {row.name()};
  const v1::GpuTime& time = row.time();
  for (const std::int64_t ms : {time.preparing_ms(), time.running_ms(), time.idle_ms(), time.lost_ms(),
                                time.requeued_ms(), time.stopping_ms(), sum_of(time)}) {
    cells.push_back(exact_seconds(ms));
  }
  return cells;
}

}  // namespace

Answer show_usage_report(const v1::ReportUsageResponse& report, v1::UsageGroupBy group_by, bool by_day) {
  const bool idle_known = report.sampled_ms() > 0;
  const std::int64_t all_ms = sum_of(report.total());
  Answer answer;
  answer.table.columns = {noun(group_by), "Preparing", "Running",   "Idle", "Lost",
                          "Requeued",     "Stopping",  "GPU Hours", "%"};
  answer.csv.columns = {"name", "preparing", "running", "idle", "lost", "requeued", "stopping", "total"};
  Json rows = Json::array();
  for (const v1::UsageRow& row : report.rows()) {
    Json value = time_of(row.time());
    value["name"] = row.name();
    answer.table.rows.push_back(people_row(row.name(), row.time(), all_ms, idle_known));
    answer.csv.rows.push_back(csv_row(row));
    if (by_day) {
      value["day"] = day_of(row);
      answer.table.rows.back().insert(answer.table.rows.back().begin(), day_of(row));
      answer.csv.rows.back().insert(answer.csv.rows.back().begin(), day_of(row));
    }
    rows.push_back(std::move(value));
  }
  answer.table.rows.push_back(people_row(by_day ? "" : "total", report.total(), all_ms, idle_known));
  if (by_day) {
    answer.table.columns.insert(answer.table.columns.begin(), "Day");
    answer.csv.columns.insert(answer.csv.columns.begin(), "day");
    answer.table.rows.back().insert(answer.table.rows.back().begin(), "total");
  }
  answer.value["from"] = when(report.has_from(), report.from());
  answer.value["rows"] = std::move(rows);
  answer.value["sampled"] = report.has_sampled_ms() ? seconds(report.sampled_ms()) : Json(nullptr);
  answer.value["to"] = when(report.has_to(), report.to());
  answer.value["total"] = time_of(report.total());
  answer.value["unit"] = "GPU-seconds";
  return answer;
}

}  // namespace trainyard::cli
