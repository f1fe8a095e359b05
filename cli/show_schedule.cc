#include "cli/show_schedule.h"

#include <fmt/format.h>

#include "cli/show_parts.h"

namespace trainyard::cli {
namespace {

const char* overlap_of(const v1::JobSchedule& item) {
  return item.overlap() == v1::SCHEDULE_OVERLAP_ALLOW ? "allow" : "skip";
}

// To the minute: "2026-11-28T03:00Z".
std::string time_text(const google::protobuf::Timestamp& time) {
  return when(true, time).get<std::string>().substr(0, 16) + "Z";
}

std::string text_of(const v1::ScheduledRun& run) {
  if (run.job_name().empty()) return run.why();
  return fmt::format("{} ({})", run.job_name(), run.execution_state().empty() ? "deleted" : run.execution_state());
}

std::string cron_text(const v1::JobSchedule& item) {
  return item.cron() + " " + (item.utc_offset().empty() ? "UTC" : item.utc_offset());
}

}  // namespace

std::vector<std::string> Kind<v1::JobSchedule>::columns() {
  return {"Name", "Cluster", "Cron", "Suspended", "Next", "Made", "Skipped", "Refused", "Missed", "Last"};
}
Json Kind<v1::JobSchedule>::json(const v1::JobSchedule& item) {
  Json out;
  const auto& counts = item.counts();
  add_spec(as_job(item), out);
  out["changeTime"] = when(item.has_change_time(), item.change_time());
  out["counts"] = {{"kept", counts.kept()},     {"live", counts.live()},       {"made", counts.made()},
                   {"missed", counts.missed()}, {"refused", counts.refused()}, {"skipped", counts.skipped()}};
  out["creationTime"] = when(item.has_creation_time(), item.creation_time());
  out["cron"] = item.cron();
  out["experimentName"] = item.experiment();
  out["id"] = item.id();
  out["keep"] = item.keep();
  out["lastError"] = or_null(item.last_error());
  out["name"] = item.name();
  out["nextTimes"] = Json::array();
  for (const auto& next : item.next_times()) out["nextTimes"].push_back(when(true, next));
  out["number"] = item.number();
  out["overlap"] = overlap_of(item);
  out["reason"] = or_null(item.reason());
  out["resourceGroup"] = item.resource_group();
  out["runs"] = Json::array();
  for (const auto& run : item.runs()) {
    out["runs"].push_back({{"dueTime", when(run.has_due_time(), run.due_time())},
                           {"executionState", or_null(run.execution_state())},
                           {"jobName", or_null(run.job_name())},
                           {"outcome", run.outcome()},
                           {"why", or_null(run.why())}});
  }
  out["submittedBy"] = or_null(item.submitted_by());
  out["suspended"] = hold_of(item.has_suspended(), item.suspended());
  out["utcOffset"] = or_null(item.utc_offset());
  out["warnings"] = Json(std::vector<std::string>(item.warnings().begin(), item.warnings().end()));
  out["workspace"] = item.workspace();
  return sorted(out);
}
Row Kind<v1::JobSchedule>::row(const v1::JobSchedule& item) {
  const auto& counts = item.counts();
  return {item.name(),
          cluster_of(as_job(item)).name,
          cron_text(item),
          item.has_suspended() ? "yes" : "",
          item.next_times().empty() ? "" : time_text(item.next_times(0)),
          std::to_string(counts.made()),
          std::to_string(counts.skipped()),
          std::to_string(counts.refused()),
          std::to_string(counts.missed()),
          item.runs().empty() ? "" : text_of(item.runs(item.runs_size() - 1))};
}

Answer show_schedule(const v1::JobSchedule& schedule) {
  Answer answer{Kind<v1::JobSchedule>::json(schedule), Table{{"What", "Time", "Text"}, {}}};
  auto& rows = answer.table.rows;
  const auto& counts = schedule.counts();
  rows.push_back({"schedule", "", schedule.name() + " on cluster " + cluster_of(as_job(schedule)).name});
  rows.push_back({"cron", "", cron_text(schedule)});
  rows.push_back({"overlap", "", overlap_of(schedule)});
  rows.push_back({"keep", "", schedule.keep() == 0 ? "all" : std::to_string(schedule.keep())});
  rows.push_back({"state", "", schedule.reason()});
  rows.push_back(
      {"counts", "",
       fmt::format("made {}, skipped {}, refused {}, missed {}; {} of its jobs go on, {} that ended are there",
                   counts.made(), counts.skipped(), counts.refused(), counts.missed(), counts.live(), counts.kept())});
  for (const auto& run : schedule.runs()) rows.push_back({run.outcome(), time_text(run.due_time()), text_of(run)});
  for (const auto& next : schedule.next_times()) rows.push_back({"next", time_text(next), ""});
  return answer;
}

}  // namespace trainyard::cli
