// Jobs as users are shown them.
#include <fmt/format.h>

#include "common/model_json.h"
#include "proto/agent_convert.h"
#include "proto/convert.h"
#include "proto/job_convert.h"

namespace trainyard {

void to_proto(const core::JobView& view, v1::Job& message) {
  const core::Job& row = view.row;
  message.set_resource_group(view.group);
  message.set_workspace(view.workspace);
  message.set_experiment(view.experiment);
  message.set_name(row.name);
  message.set_id(arm_id(core::JobRef{view.group, view.workspace, view.experiment, row.name}));
  message.set_number(row.id.value);
  if (row.spec) {
    to_proto(*row.spec, row.cluster_path, *message.mutable_spec());
    message.set_tool_type(name_of(row.spec->toolkit));
    message.mutable_spec()->set_scheduling_priority(to_proto(row.new_priority.value_or(row.spec->priority)));
    message.mutable_spec()->set_priority_class(view.priority_class);
  }
  for (const core::Dependency& dependency : row.dependencies) {
    to_proto(dependency, *message.mutable_spec()->add_dependencies());
  }
  message.set_submitted_by(row.owner);
  if (view.progress) to_proto(*view.progress, *message.mutable_progress());
  if (row.hold) to_proto(*row.hold, *message.mutable_hold());
  message.set_job_output_directory_path_segment(row.segment);
  message.set_execution_state(view.execution_state);
  message.set_phase(view.phase);
  message.set_reason(view.reason);
  message.set_provisioning_state(row.deleting ? "deleting" : "succeeded");
  set_time(row.created_ms, *message.mutable_creation_time());
  set_time(row.state_changed_ms, *message.mutable_execution_state_transition_time());
  if (row.started_ms != 0 || row.ended_ms != 0 || row.exit_code || !row.errors.empty()) {
    auto& info = *message.mutable_execution_info();
    if (row.started_ms != 0) set_time(row.started_ms, *info.mutable_start_time());
    if (row.ended_ms != 0) set_time(row.ended_ms, *info.mutable_end_time());
    if (row.exit_code) info.set_exit_code(*row.exit_code);
    for (const NodeError& error : row.errors) to_proto(error, *info.add_errors());
  }
  message.set_attempt(row.attempt);
  message.set_requeues(row.requeues);
  for (const std::string& node : view.nodes) message.add_nodes(node);
  for (const CleanupReceipt& receipt : row.receipts) {
    auto& out = *message.add_receipts();
    out.set_node(receipt.node_name);
    out.set_processes_killed(receipt.processes_killed);
    out.set_mounts_removed(receipt.mounts_removed);
    out.set_directories_removed(receipt.directories_removed);
    set_duration(receipt.took_ms, *out.mutable_took());
    for (const CleanupPart& part : receipt.parts) {
      auto& piece = *out.add_parts();
      piece.set_what(part.what);
      piece.set_count(part.count);
      set_duration(part.took_ms, *piece.mutable_took());
    }
  }
  for (const std::string& warning : row.warnings) message.add_warnings(warning);
  message.set_rerun_of(row.rerun_of);
  message.set_array_name(view.array);
  message.set_task_index(row.task);
  message.set_schedule_name(view.schedule);
  if (row.schedule) set_time(row.due_ms, *message.mutable_schedule_time());
  message.set_image_digest(row.image_digest);
  if (row.limit_ms != 0) set_duration(row.limit_ms, *message.mutable_time_limit());
  if (row.run_as.uid != 0) message.set_run_as(fmt::format("{}:{}", row.run_as.uid, row.run_as.gid));
}

void to_proto(const core::Hold& hold, v1::Hold& message) {
  message.set_why(hold.why);
  message.set_who(hold.who);
  set_time(hold.since_ms, *message.mutable_since());
}

void to_proto(const core::Dependency& dependency, v1::Dependency& message) {
  message.set_job(dependency.job);
  message.set_condition(dependency.after == core::After::ok    ? v1::Dependency::CONDITION_AFTER_OK
                        : dependency.after == core::After::any ? v1::Dependency::CONDITION_AFTER_ANY
                                                               : v1::Dependency::CONDITION_AFTER_NOT_OK);
  message.set_met(dependency.met);
  message.set_array(bool(dependency.array));
}

void to_proto(const FileShareMount& mount, v1::AzureFileShare& message) {
  message.set_account_name(mount.account_name);
  message.set_azure_file_url(mount.azure_file_url);
  message.set_relative_mount_path(mount.relative_mount_path);
  message.set_file_mode(mount.file_mode);
  message.set_directory_mode(mount.directory_mode);
}

void to_proto(const NodeError& error, v1::JobError& message) {
  message.set_code(error.code);
  message.set_message(error.message);
  for (const NamedValue& detail : error.details) {
    auto& named = *message.add_details();
    named.set_name(detail.name);
    named.set_value(detail.value);
  }
}

void to_proto(const core::TimelineLine& line, v1::TimelineLine& message) {
  message.set_sequence(line.sequence);
  set_time(line.at_ms, *message.mutable_time());
  message.set_who(line.who);
  message.set_what(line.what);
  message.set_why(line.why);
}

}  // namespace trainyard
