// Job arrays: JSON with every field, and a table that counts.
#include "cli/show.h"
#include "cli/show_parts.h"

namespace trainyard::cli {
namespace {

Json parameters_of(const v1::ParameterSweep& sweep) {
  if (!sweep.grid().empty()) {
    Json grid = Json::array();
    for (const auto& axis : sweep.grid()) {
      grid.push_back(
          {{"name", axis.name()}, {"values", std::vector<std::string>(axis.values().begin(), axis.values().end())}});
    }
    return {{"grid", grid}};
  }
  if (!sweep.random().empty()) {
    Json random = Json::array();
    for (const auto& range : sweep.random()) {
      random.push_back({{"integer", range.integer()},
                        {"log", range.log()},
                        {"max", range.max()},
                        {"min", range.min()},
                        {"name", range.name()}});
    }
    return {{"random", random}, {"seed", sweep.seed()}};
  }
  if (!sweep.has_list()) return nullptr;
  Json rows = Json::array();
  for (const auto& row : sweep.list().rows()) {
    rows.push_back(std::vector<std::string>(row.values().begin(), row.values().end()));
  }
  const auto& names = sweep.list().names();
  return {{"list", {{"firstRows", rows}, {"names", std::vector<std::string>(names.begin(), names.end())}}}};
}

}  // namespace

std::vector<std::string> Kind<v1::JobArray>::columns() {
  return {"Name", "Cluster", "State", "Tasks", "Parallel", "Waiting", "Queued", "Running", "Succeeded", "Failed"};
}
Json Kind<v1::JobArray>::json(const v1::JobArray& item) {
  Json out;
  const auto& counts = item.task_counts();
  add_spec(as_job(item), out);
  out["creationTime"] = when(item.has_creation_time(), item.creation_time());
  out["executionState"] = item.execution_state();
  out["executionStateTransitionTime"] =
      when(item.has_execution_state_transition_time(), item.execution_state_transition_time());
  out["experimentName"] = item.experiment();
  out["hold"] = hold_of(item.has_hold(), item.hold());
  out["id"] = item.id();
  out["name"] = item.name();
  out["number"] = item.number();
  out["parallel"] = item.parallel() == 0 ? Json(nullptr) : Json(item.parallel());
  out["parameters"] = parameters_of(item.parameters());
  out["provisioningState"] = item.provisioning_state();
  out["reason"] = or_null(item.reason());
  out["resourceGroup"] = item.resource_group();
  out["submittedBy"] = or_null(item.submitted_by());
  out["taskCounts"] = {{"failed", counts.failed()},
                       {"queued", counts.queued()},
                       {"running", counts.running()},
                       {"succeeded", counts.succeeded()},
                       {"waiting", counts.waiting()}};
  out["tasks"] = item.tasks();
  out["warnings"] = Json(std::vector<std::string>(item.warnings().begin(), item.warnings().end()));
  out["workspace"] = item.workspace();
  return sorted(out);
}
Row Kind<v1::JobArray>::row(const v1::JobArray& item) {
  const auto& counts = item.task_counts();
  return {item.name(),
          cluster_of(as_job(item)).name,
          state_of(item.provisioning_state(), item.execution_state()),
          std::to_string(item.tasks()),
          item.parallel() == 0 ? "" : std::to_string(item.parallel()),
          std::to_string(counts.waiting()),
          std::to_string(counts.queued()),
          std::to_string(counts.running()),
          std::to_string(counts.succeeded()),
          std::to_string(counts.failed())};
}

Answer show_timeline(const v1::JobArrayTimeline& timeline) {
  Answer answer{Json::array(), Table{{"Time", "Task", "Who", "What", "Why"}, {}}};
  for (const v1::TaskLine& item : timeline.lines()) {
    Json json = Kind<v1::TimelineLine>::json(item.line());
    json["task"] = or_null(item.task());
    answer.value.push_back(sorted(json));
    Row row = Kind<v1::TimelineLine>::row(item.line());
    row.insert(row.begin() + 1, item.task());
    answer.table.rows.push_back(std::move(row));
  }
  return answer;
}

}  // namespace trainyard::cli
