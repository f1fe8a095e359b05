#include "proto/cluster_convert.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/model_json.h"
#include "proto/agent_convert.h"
#include "proto/convert.h"
#include "proto/mount_convert.h"

namespace trainyard {
namespace {

constexpr std::int32_t kMaxNodes = 10'000;
constexpr std::size_t kMaxText = 64 * 1024;  // of the task's command line: what one exec argument can carry, and half
constexpr int kMaxMounts = 100;
constexpr DurationMs kMaxDuration = 365LL * 24 * 3600 * 1000;

Error invalid(std::string_view field, std::string_view text) {
  return {Code::invalid_argument, fmt::format("{}: {}", field, text)};
}

Status check_short(std::string_view field, const std::string& text, std::size_t limit) {
  if (text.size() > limit) return invalid(field, fmt::format("is longer than {} characters", limit));
  if (text.find('\0') != text.npos) return invalid(field, "must not contain NUL");
  return {};
}

Result<std::uint32_t> count_from_proto(const char* name, std::int32_t count) {
  if (count < 0 || count > kMaxNodes) {
    return invalid(fmt::format("properties.scaleSettings.{}", name),
                   fmt::format("must be 0 to {}, got {}", kMaxNodes, count));
  }
  return static_cast<std::uint32_t>(count);
}

Result<DurationMs> duration(const char* field, const google::protobuf::Duration& message) {
  const DurationMs value = from_proto(message);
  if (value < 1'000 || value > kMaxDuration) return invalid(field, "must be 1 second to 365 days");
  return value;
}

Status task_from_proto(const v1::SetupTask& message, SetupTask& task) {
  const std::string at = "properties.nodeSetup.setupTask.";
  if (message.command_line().empty()) return invalid(at + "commandLine", "is missing");
  if (message.std_out_err_path_prefix().empty()) {
    return invalid(at + "stdOutErrPathPrefix",
                   "is missing: where should its output go? On a volume of the cluster, e.g. "
                   "\"$AZ_BATCHAI_MOUNT_ROOT/afs\", it can be read with `trainyard cluster file list`");
  }
  if (!message.std_out_err_path_suffix().empty()) {
    return invalid(at + "stdOutErrPathSuffix", "is read-only: the controller makes it");
  }
  for (const Status& status : {check_short(at + "commandLine", message.command_line(), kMaxText),
                               check_short(at + "stdOutErrPathPrefix", message.std_out_err_path_prefix(), kMaxText)}) {
    if (!status) return status;
  }
  task.command_line = message.command_line();
  task.std_out_err_path_prefix = message.std_out_err_path_prefix();
  auto variables = variables_from_proto("nodeSetup.setupTask.environmentVariables", message.environment_variables());
  if (!variables) return variables.error();
  task.environment = std::move(variables).value();
  auto secrets = secrets_from_proto("nodeSetup.setupTask.secrets", message.secrets(), task.environment);
  if (!secrets) return secrets.error();
  task.secrets = std::move(secrets).value();
  if (message.has_time_limit()) {
    const auto limit = duration("properties.nodeSetup.setupTask.timeLimit", message.time_limit());
    if (!limit) return limit.error();
    task.time_limit_ms = *limit;
  }
  return {};
}

// Two mounts at one place, or one inside the other, would hide files.
Status check_apart(const std::string& field, const std::string& path, std::vector<std::string>& paths) {
  for (const std::string& other : paths) {
    if (path == other || path.starts_with(other + "/") || other.starts_with(path + "/")) {
      return invalid(field + ".relativeMountPath",
                     fmt::format("\"{}\" overlaps with the mount at \"{}\"", path, other));
    }
  }
  paths.push_back(path);
  return {};
}

Result<BlobMount> blob_from_proto(const std::string& field, const v1::AzureBlobFileSystem& message) {
  BlobMount mount;
  for (const Status& status : {check_name(field + ".accountName", message.account_name()),
                               check_name(field + ".containerName", message.container_name()),
                               check_short(field + ".mountOptions", message.mount_options(), 4096)}) {
    if (!status) return status.error();
  }
  const std::string below = field.starts_with("properties.") ? field.substr(11) : field;
  if (const Status key = check_key(below, message.account_key()); !key) return key.error();
  auto path = clean_path(field + ".relativeMountPath", message.relative_mount_path(), false);
  if (!path) return path.error();
  mount.account_name = message.account_name();
  mount.container_name = message.container_name();
  mount.relative_mount_path = std::move(path).value();
  mount.mount_options = message.mount_options();
  return mount;
}

Status volumes_from_proto(const v1::NodeSetup& message, const core::WorkspaceRef& home, NodeSetup& setup) {
  const std::string at = "nodeSetup.mountVolumes.";
  if (message.azure_file_shares_size() + message.azure_blob_file_systems_size() > kMaxMounts) {
    return invalid("properties." + at + "azureFileShares", fmt::format("at most {} volumes are allowed", kMaxMounts));
  }
  std::vector<std::string> paths;
  for (int i = 0; i < message.azure_file_shares_size(); ++i) {
    const std::string field = fmt::format("{}azureFileShares[{}]", at, i);
    auto mount = mount_from_proto(field, message.azure_file_shares(i));
    if (!mount) return mount.error();
    if (auto apart = check_apart("properties." + field, mount->relative_mount_path, paths); !apart) return apart;
    setup.file_shares.push_back(std::move(mount).value());
  }
  for (int i = 0; i < message.azure_blob_file_systems_size(); ++i) {
    const std::string field = fmt::format("properties.{}azureBlobFileSystems[{}]", at, i);
    auto mount = blob_from_proto(field, message.azure_blob_file_systems(i));
    if (!mount) return mount.error();
    if (auto apart = check_apart(field, mount->relative_mount_path, paths); !apart) return apart;
    setup.blob_file_systems.push_back(std::move(mount).value());
  }
  return more_mounts_from_proto("properties." + at, message, home, paths, setup);
}

Status scale_from_proto(const v1::ClusterSpec& message, core::ClusterSpec& spec) {
  const auto target = node_target_from_proto(message.target_node_count());
  if (!target) return target.error();
  const auto option = from_proto(message.node_deallocation_option());
  if (!option) return option.error();
  spec.target_node_count = *target;
  spec.node_deallocation_option = *option;
  if (!message.has_auto_scale()) return {};
  if (*target != 0 || message.node_deallocation_option() != v1::DEALLOCATION_OPTION_UNSPECIFIED) {
    return invalid("properties.scaleSettings", "has manual and autoScale: give one of them");
  }
  auto scale = from_proto(message.auto_scale());
  if (!scale) return scale.error();
  spec.auto_scale = *scale;
  return {};
}

}  // namespace

Result<std::uint32_t> node_target_from_proto(std::int32_t target) {
  return count_from_proto("manual.targetNodeCount", target);
}

Result<core::AutoScale> from_proto(const v1::AutoScaleSettings& message) {
  const auto least = count_from_proto("autoScale.minimumNodeCount", message.minimum_node_count());
  if (!least) return least.error();
  const auto most = count_from_proto("autoScale.maximumNodeCount", message.maximum_node_count());
  if (!most) return most.error();
  const auto initial = count_from_proto("autoScale.initialNodeCount", message.initial_node_count());
  if (!initial) return initial.error();
  if (*least > *most) {
    return invalid("properties.scaleSettings.autoScale.minimumNodeCount",
                   fmt::format("is {}, more than the maximumNodeCount {}", *least, *most));
  }
  if (*initial > *most) {
    return invalid("properties.scaleSettings.autoScale.initialNodeCount",
                   fmt::format("is {}, more than the maximumNodeCount {}", *initial, *most));
  }
  core::AutoScale scale{*least, *most, *initial};
  if (message.has_idle_time_before_scale_down()) {
    const auto idle =
        duration("properties.scaleSettings.autoScale.idleTimeBeforeScaleDown", message.idle_time_before_scale_down());
    if (!idle) return idle.error();
    scale.idle_before_scale_down_ms = *idle;
  }
  return scale;
}

Result<core::DeallocationOption> from_proto(v1::DeallocationOption option) {
  switch (option) {
    case v1::DEALLOCATION_OPTION_UNSPECIFIED:
    case v1::DEALLOCATION_OPTION_REQUEUE:
      return core::DeallocationOption::requeue;
    case v1::DEALLOCATION_OPTION_TERMINATE:
      return core::DeallocationOption::terminate;
    case v1::DEALLOCATION_OPTION_WAIT_FOR_JOB_COMPLETION:
      return core::DeallocationOption::wait_for_job_completion;
    default:
      return invalid("properties.scaleSettings.manual.nodeDeallocationOption",
                     "is not known: use requeue, terminate or waitforjobcompletion");
  }
}

Result<core::ClusterSpec> from_proto(const v1::ClusterSpec& message, const core::WorkspaceRef& home) {
  core::ClusterSpec spec;
  if (message.vm_size().empty()) return invalid("properties.vmSize", "is missing");
  if (const Status status = check_name("properties.vmSize", message.vm_size()); !status) return status.error();
  spec.vm_size = message.vm_size();
  if (!v1::VmPriority_IsValid(message.vm_priority())) {
    return invalid("properties.vmPriority", "is not known: use dedicated or lowpriority");
  }
  const bool low = message.vm_priority() == v1::VM_PRIORITY_LOWPRIORITY;
  spec.vm_priority = low ? core::VmPriority::low_priority : core::VmPriority::dedicated;
  if (const Status scaled = scale_from_proto(message, spec); !scaled) return scaled.error();
  for (const Status& status :
       {check_short("properties.userAccountSettings.adminUserName", message.admin_user_name(), 64),
        check_short("properties.userAccountSettings.adminUserSshPublicKey", message.admin_user_ssh_public_key(),
                    16384)}) {
    if (!status) return status.error();
  }
  spec.admin_user_name = message.admin_user_name();
  spec.admin_user_ssh_public_key = message.admin_user_ssh_public_key();
  if (message.node_setup().has_setup_task()) {
    if (const Status task = task_from_proto(message.node_setup().setup_task(), spec.node_setup.task); !task) {
      return task.error();
    }
  }
  if (const Status mounts = volumes_from_proto(message.node_setup(), home, spec.node_setup); !mounts) {
    return mounts.error();
  }
  return spec;
}

namespace {

void to_proto(const NodeSetup& setup, v1::NodeSetup& message) {
  const SetupTask& task = setup.task;
  if (!task.command_line.empty()) {
    auto& out = *message.mutable_setup_task();
    out.set_command_line(task.command_line);
    out.set_std_out_err_path_prefix(task.std_out_err_path_prefix);
    set_duration(task.time_limit_ms, *out.mutable_time_limit());
    for (const NamedValue& variable : task.environment) {
      auto& named = *out.add_environment_variables();
      named.set_name(variable.name);
      named.set_value(variable.value);
    }
    to_proto(task.secrets, *out.mutable_secrets());
  }
  for (const FileShareMount& mount : setup.file_shares) to_proto(mount, *message.add_azure_file_shares());
  for (const BlobMount& mount : setup.blob_file_systems) {
    auto& out = *message.add_azure_blob_file_systems();
    out.set_account_name(mount.account_name);
    out.set_container_name(mount.container_name);
    out.set_relative_mount_path(mount.relative_mount_path);
    out.set_mount_options(mount.mount_options);
  }
  more_mounts_to_proto(setup, message);
}

}  // namespace

void to_proto(const core::ClusterSpec& spec, v1::ClusterSpec& message) {
  message.set_vm_size(spec.vm_size);
  message.set_vm_priority(spec.vm_priority == core::VmPriority::dedicated ? v1::VM_PRIORITY_DEDICATED
                                                                          : v1::VM_PRIORITY_LOWPRIORITY);
  if (!(spec.node_setup == NodeSetup{})) to_proto(spec.node_setup, *message.mutable_node_setup());
  message.set_admin_user_name(spec.admin_user_name);
  message.set_admin_user_ssh_public_key(spec.admin_user_ssh_public_key);
  if (spec.auto_scale) {
    auto& out = *message.mutable_auto_scale();
    out.set_minimum_node_count(static_cast<std::int32_t>(spec.auto_scale->minimum));
    out.set_maximum_node_count(static_cast<std::int32_t>(spec.auto_scale->maximum));
    out.set_initial_node_count(static_cast<std::int32_t>(spec.auto_scale->initial));
    set_duration(spec.auto_scale->idle_before_scale_down_ms, *out.mutable_idle_time_before_scale_down());
    return;
  }
  message.set_target_node_count(static_cast<std::int32_t>(spec.target_node_count));
  switch (spec.node_deallocation_option) {
    case core::DeallocationOption::requeue:
      message.set_node_deallocation_option(v1::DEALLOCATION_OPTION_REQUEUE);
      break;
    case core::DeallocationOption::terminate:
      message.set_node_deallocation_option(v1::DEALLOCATION_OPTION_TERMINATE);
      break;
    case core::DeallocationOption::wait_for_job_completion:
      message.set_node_deallocation_option(v1::DEALLOCATION_OPTION_WAIT_FOR_JOB_COMPLETION);
      break;
  }
}

void to_proto(const core::ClusterView& view, v1::Cluster& message) {
  const core::Cluster& row = view.row;
  message.set_resource_group(view.group);
  message.set_workspace(view.workspace);
  message.set_name(row.name);
  to_proto(row.spec, *message.mutable_spec());
  if (message.spec().node_setup().has_setup_task()) {
    message.mutable_spec()->mutable_node_setup()->mutable_setup_task()->set_std_out_err_path_suffix(
        row.setup_path_suffix);
  }
  message.set_allocation_state(row.resizing ? "resizing" : "steady");
  message.set_provisioning_state(row.deleting ? "deleting" : "succeeded");
  message.set_current_node_count(static_cast<std::int32_t>(view.current_node_count));
  auto& counts = *message.mutable_node_state_counts();
  counts.set_idle_node_count(static_cast<std::int32_t>(view.counts.idle));
  counts.set_running_node_count(static_cast<std::int32_t>(view.counts.running));
  counts.set_preparing_node_count(static_cast<std::int32_t>(view.counts.preparing));
  counts.set_unusable_node_count(static_cast<std::int32_t>(view.counts.unusable));
  counts.set_leaving_node_count(static_cast<std::int32_t>(view.counts.leaving));
  message.set_reason(view.reason);
  for (const NodeError& error : view.errors) to_proto(error, *message.add_errors());
  set_time(row.created_ms, *message.mutable_creation_time());
  set_time(row.allocation_changed_ms, *message.mutable_allocation_state_transition_time());
  message.set_id(arm_id(core::ClusterRef{view.group, view.workspace, row.name}));
}

void to_proto(const core::NodeView& view, v1::Node& message) {
  const core::Node& row = view.row;
  message.set_name(row.name);
  message.set_address(row.inventory.address);
  message.set_vm_size(row.inventory.flavour);
  message.set_pool(row.inventory.pool);
  message.set_state(view.state);
  message.set_reachable(row.live.reachable);
  message.set_cluster(view.cluster_path);
  for (const trainyard::Gpu& gpu : row.inventory.gpus) {
    auto& out = *message.add_gpus();
    out.set_uuid(gpu.uuid);
    out.set_model(gpu.model);
    out.set_memory_bytes(gpu.memory_bytes);
    out.set_pretend(gpu.pretend);
    out.set_fault(gpu.fault);
    out.set_pci_bus_id(gpu.pci_bus_id);
    if (gpu.numa_node >= 0) out.set_numa_node(gpu.numa_node);
    out.set_parent_uuid(gpu.parent_uuid);
    if (gpu.nvlink_island >= 0) out.set_nvlink_island(gpu.nvlink_island);
    out.set_cores(gpu.cores);
    if (const auto holder = view.holders.find(gpu.uuid); holder != view.holders.end()) out.set_job(holder->second);
  }
  message.set_network_interface(row.inventory.network_interface);
  message.set_container_runtime(row.inventory.container_runtime);
  for (const Fabric& fabric : row.inventory.fabrics) to_proto(fabric, *message.add_fabrics());
  for (const Finding& finding : row.inventory.findings) to_proto(finding, *message.add_findings());
  message.set_topology(row.inventory.topology);
  if (row.drain) {
    message.mutable_drain()->set_why(row.drain->why);
    message.mutable_drain()->set_who(row.drain->who);
    message.mutable_drain()->set_cordon(row.drain->cordon);
    set_time(row.drain->since_ms, *message.mutable_drain()->mutable_since());
  }
  if (row.health) {
    auto& health = *message.mutable_health();
    set_time(row.health->at_ms, *health.mutable_time());
    health.set_passed(row.health->passed);
    health.set_summary(row.health->summary);
    for (const NamedValue& figure : row.health->figures) {
      auto& out = *health.add_figures();
      out.set_name(figure.name);
      out.set_value(figure.value);
    }
  }
  message.set_cores(row.inventory.cores);
  message.set_memory_bytes(row.inventory.memory_bytes);
  for (const std::string& running : view.running) message.add_running(running);
  message.set_note(view.note);
  if (row.live.seen) set_time(row.live.last_report_ms, *message.mutable_last_report_time());
  message.set_agent_version(row.inventory.agent_version);
  if (row.state == core::NodeState::unusable) {
    to_proto(row.setup_error, *message.add_errors());
    set_time(row.setup_retry_ms, *message.mutable_next_repair_time());
  }
}

}  // namespace trainyard
