#include "proto/array_convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "common/variables.h"
#include "proto/convert.h"
#include "proto/toolkit_convert.h"

namespace trainyard {
namespace {

constexpr double kLargestInteger = 0x1p53;
constexpr std::size_t kRowsShown = 100;
constexpr const char* kField = "parameters";

Status texts_from_proto(const std::string& field, const google::protobuf::RepeatedPtrField<std::string>& message,
                        std::vector<std::string>& texts) {
  for (const std::string& text : message) {
    if (const Status ok = check_text(fmt::format("{}[{}]", field, texts.size()), text); !ok) return ok;
    texts.push_back(text);
  }
  return {};
}

Status grid_from_proto(const v1::ParameterSweep& message, core::Sweep& sweep) {
  for (const v1::ParameterValues& axis : message.grid()) {
    const std::string at = fmt::format("{}.grid[{}].values", kField, sweep.grid.size());
    if (axis.values().empty()) return invalid(at, fmt::format("{} has no values", axis.name().substr(0, 100)));
    sweep.grid.push_back({axis.name(), {}});
    if (const Status ok = texts_from_proto(at, axis.values(), sweep.grid.back().values); !ok) return ok;
  }
  return {};
}

Status list_from_proto(const v1::ParameterList& message, core::Sweep& sweep) {
  const std::string field = fmt::format("{}.list", kField);
  if (message.names().empty()) return invalid(field + ".names", "is missing");
  if (message.rows().empty()) return invalid(field + ".rows", "is missing");
  sweep.names.assign(message.names().begin(), message.names().end());
  for (const v1::ParameterRow& row : message.rows()) {
    const std::string at = fmt::format("{}.rows[{}]", field, sweep.rows.size());
    if (row.values_size() != message.names_size()) {
      return invalid(at, fmt::format("has {} values, and there are {} names", row.values_size(), message.names_size()));
    }
    if (const Status ok = texts_from_proto(at, row.values(), sweep.rows.emplace_back()); !ok) return ok;
  }
  return {};
}

Status ranges_from_proto(const v1::ParameterSweep& message, core::Sweep& sweep) {
  for (const v1::ParameterRange& range : message.random()) {
    const std::string at = fmt::format("{}.random[{}]", kField, sweep.drawn.size());
    const double low = range.min(), high = range.max();
    if (!std::isfinite(low) || !std::isfinite(high) || !std::isfinite(high - low)) {
      return invalid(at, "min and max must be numbers, and so must their difference");
    }
    if (low > high) return invalid(at, fmt::format("min {} is above max {}", low, high));
    if (range.log() && low <= 0) return invalid(at + ".min", fmt::format("must be above 0 with log, got {}", low));
    const auto whole = [](double value) { return value == std::floor(value) && std::abs(value) <= kLargestInteger; };
    if (range.integer() && (!whole(low) || !whole(high))) {
      return invalid(at, fmt::format("min {} and max {} must be whole numbers up to 2^53 with integer", low, high));
    }
    sweep.drawn.push_back({range.name(), low, high, range.log(), range.integer()});
  }
  sweep.seed = sweep.drawn.empty() ? 0 : message.seed();
  return {};
}

bool of_tasks(const std::string& name) {
  return name == kTaskIndexVariable || name == kTaskCountVariable;
}

// As variables of the job they are checked like those, with a field that says whose they are.
Status check_names(const core::Sweep& sweep, const JobSpec& spec) {
  google::protobuf::RepeatedPtrField<v1::NamedValue> names;
  for (const core::Axis& axis : sweep.grid) names.Add()->set_name(axis.name);
  for (const std::string& name : sweep.names) names.Add()->set_name(name);
  for (const core::Drawn& range : sweep.drawn) names.Add()->set_name(range.name);
  const auto checked = variables_from_proto(kField, names);
  if (!checked) return checked.error();
  const auto taken = [&](const std::string& name) {
    const auto same = [&](const auto& other) { return other.name == name; };
    return std::any_of(spec.environment.begin(), spec.environment.end(), same) ||
           std::any_of(spec.secrets.begin(), spec.secrets.end(), same);
  };
  for (const v1::NamedValue& one : names) {
    if (of_tasks(one.name())) return invalid(kField, one.name() + " is the task's own: choose another name");
    if (taken(one.name())) return invalid(kField, one.name() + " is in environmentVariables or secrets too");
  }
  for (const char* own : {kTaskIndexVariable, kTaskCountVariable}) {
    if (taken(own)) return invalid("environmentVariables", fmt::format("{} is given to every task", own));
  }
  return {};
}

}  // namespace

Result<core::Sweep> from_proto(const v1::ParameterSweep& message, const JobSpec& spec) {
  const bool grid = !message.grid().empty(), list = message.has_list(), random = !message.random().empty();
  if (grid + list + random > 1) return invalid(kField, "give one of grid, list and random");
  core::Sweep sweep;
  if (const Status ok = grid_from_proto(message, sweep); !ok) return ok.error();
  if (list) {
    if (const Status ok = list_from_proto(message.list(), sweep); !ok) return ok.error();
  }
  if (const Status ok = ranges_from_proto(message, sweep); !ok) return ok.error();
  if (const Status ok = check_names(sweep, spec); !ok) return ok.error();
  return sweep;
}

void to_proto(const core::Sweep& sweep, v1::ParameterSweep& message) {
  for (const core::Axis& axis : sweep.grid) {
    auto& out = *message.add_grid();
    out.set_name(axis.name);
    for (const std::string& value : axis.values) out.add_values(value);
  }
  for (const std::string& name : sweep.names) message.mutable_list()->add_names(name);
  for (std::size_t i = 0; i < std::min(sweep.rows.size(), kRowsShown); ++i) {
    auto& out = *message.mutable_list()->add_rows();
    for (const std::string& value : sweep.rows[i]) out.add_values(value);
  }
  for (const core::Drawn& range : sweep.drawn) {
    auto& out = *message.add_random();
    out.set_name(range.name);
    out.set_min(range.least);
    out.set_max(range.most);
    out.set_log(range.log);
    out.set_integer(range.integer);
  }
  message.set_seed(sweep.seed);
}

void to_proto(const core::ArrayView& view, v1::JobArray& message) {
  const core::JobArray& row = view.row;
  const core::ArrayBody& body = *row.body;
  message.set_resource_group(view.group);
  message.set_workspace(view.workspace);
  message.set_experiment(view.experiment);
  message.set_name(row.name);
  message.set_id(array_arm_id(core::JobRef{view.group, view.workspace, view.experiment, row.name}));
  message.set_number(row.id.value);
  to_proto(body.spec, body.cluster_path, *message.mutable_spec());
  message.mutable_spec()->set_priority_class(view.priority_class);
  for (const core::Dependency& dependency : row.dependencies) {
    to_proto(dependency, *message.mutable_spec()->add_dependencies());
  }
  message.set_tasks(body.tasks);
  message.set_parallel(row.parallel);
  to_proto(body.sweep, *message.mutable_parameters());
  message.set_execution_state(view.execution_state);
  message.set_reason(view.reason);
  message.set_provisioning_state(row.deleting ? "deleting" : "succeeded");
  set_time(row.created_ms, *message.mutable_creation_time());
  set_time(row.state_changed_ms, *message.mutable_execution_state_transition_time());
  auto& counts = *message.mutable_task_counts();
  counts.set_waiting(body.tasks - row.next);
  counts.set_queued(view.counts.queued);
  counts.set_running(view.counts.live - view.counts.queued);
  counts.set_succeeded(row.succeeded);
  counts.set_failed(row.failed);
  message.set_submitted_by(body.owner);
  if (row.hold) to_proto(*row.hold, *message.mutable_hold());
  for (const std::string& warning : body.warnings) message.add_warnings(warning);
}

}  // namespace trainyard
