#include "proto/schedule_convert.h"

#include "proto/convert.h"

namespace trainyard {
namespace {

const char* name_of(core::DueOutcome outcome) {
  switch (outcome) {
    case core::DueOutcome::made:
      return "made";
    case core::DueOutcome::skipped:
      return "skipped";
    case core::DueOutcome::refused:
      return "refused";
  }
  return "?";
}

void add_runs(const core::ScheduleView& view, v1::JobSchedule& message) {
  for (std::size_t i = 0; i < view.row.recent.size(); ++i) {
    const core::DueRun& run = view.row.recent[i];
    auto& out = *message.add_runs();
    set_time(run.due_ms, *out.mutable_due_time());
    out.set_outcome(name_of(run.outcome));
    out.set_job_name(run.job);
    out.set_execution_state(view.states[i]);
    out.set_why(run.why);
  }
}

}  // namespace

Result<std::optional<core::Overlap>> from_proto(v1::ScheduleOverlap overlap) {
  switch (overlap) {
    case v1::SCHEDULE_OVERLAP_UNSPECIFIED:
      return std::optional<core::Overlap>();
    case v1::SCHEDULE_OVERLAP_SKIP:
      return std::optional(core::Overlap::skip);
    case v1::SCHEDULE_OVERLAP_ALLOW:
      return std::optional(core::Overlap::allow);
    default:
      return Error{Code::invalid_argument, "overlap: must be skip or allow"};
  }
}

void to_proto(const core::ScheduleView& view, v1::JobSchedule& message) {
  const core::JobSchedule& row = view.row;
  message.set_resource_group(view.group);
  message.set_workspace(view.workspace);
  message.set_experiment(view.experiment);
  message.set_name(row.name);
  message.set_id(schedule_arm_id(core::JobRef{view.group, view.workspace, view.experiment, row.name}));
  message.set_number(row.id.value);
  to_proto(row.body->spec, row.body->cluster_path, *message.mutable_spec());
  message.mutable_spec()->set_priority_class(view.priority_class);
  message.set_cron(row.cron.text);
  message.set_utc_offset(view.utc_offset);
  message.set_overlap(row.overlap == core::Overlap::skip ? v1::SCHEDULE_OVERLAP_SKIP : v1::SCHEDULE_OVERLAP_ALLOW);
  message.set_keep(row.keep);
  if (row.suspended) to_proto(*row.suspended, *message.mutable_suspended());
  message.set_reason(view.reason);
  message.set_last_error(row.error);
  set_time(row.created_ms, *message.mutable_creation_time());
  set_time(row.changed_ms, *message.mutable_change_time());
  for (const TimeMs next : view.next) set_time(next, *message.add_next_times());
  auto& counts = *message.mutable_counts();
  counts.set_made(row.made);
  counts.set_skipped(row.skipped);
  counts.set_refused(row.refused);
  counts.set_missed(row.missed);
  counts.set_live(view.live);
  counts.set_kept(view.kept);
  add_runs(view, message);
  message.set_submitted_by(row.body->owner);
  for (const std::string& warning : row.body->warnings) message.add_warnings(warning);
}

}  // namespace trainyard
