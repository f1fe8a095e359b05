// A job in Batch AI's shape: the submitted fields under their own names, then what became of it.
#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include "batchai/job_toolkits.h"
#include "cli/show.h"
#include "cli/show_parts.h"
#include "common/time.h"

namespace trainyard::cli {
namespace {

using google::protobuf::util::TimeUtil;

Json named_values(const google::protobuf::RepeatedPtrField<v1::NamedValue>& values) {
  Json out = Json::array();
  for (const auto& item : values) out.push_back({{"name", item.name()}, {"value", item.value()}});
  return out;
}

const char* priority_name(v1::Priority priority) {
  if (priority == v1::PRIORITY_LOW) return "low";
  return priority == v1::PRIORITY_HIGH ? "high" : "normal";
}

const char* condition_name(v1::Dependency::Condition condition) {
  if (condition == v1::Dependency::CONDITION_AFTER_ANY) return "afterAny";
  return condition == v1::Dependency::CONDITION_AFTER_NOT_OK ? "afterNotOk" : "afterOk";
}

Json mounts_of(const v1::JobSpec& spec) {
  if (spec.azure_file_shares().empty() && spec.azure_blob_file_systems().empty() && spec.file_servers().empty() &&
      spec.unmanaged_file_systems().empty()) {
    return nullptr;
  }
  const Json no_credentials = {{"accountKey", nullptr}, {"accountKeySecretReference", nullptr}};
  Json shares = Json::array(), blobs = Json::array();
  for (const auto& share : spec.azure_file_shares()) {
    shares.push_back({{"accountName", share.account_name()},
                      {"azureFileUrl", share.azure_file_url()},
                      {"credentials", no_credentials},
                      {"directoryMode", share.directory_mode().empty() ? "0777" : share.directory_mode()},
                      {"fileMode", share.file_mode().empty() ? "0777" : share.file_mode()},
                      {"relativeMountPath", share.relative_mount_path()}});
  }
  for (const auto& blob : spec.azure_blob_file_systems()) {
    blobs.push_back({{"accountName", blob.account_name()},
                     {"containerName", blob.container_name()},
                     {"credentials", no_credentials},
                     {"mountOptions", or_null(blob.mount_options())},
                     {"relativeMountPath", blob.relative_mount_path()}});
  }
  return {{"azureBlobFileSystems", null_if_empty(std::move(blobs))},
          {"azureFileShares", null_if_empty(std::move(shares))},
          {"fileServers", file_servers_of(spec.file_servers())},
          {"unmanagedFileSystems", unmanaged_of(spec.unmanaged_file_systems())}};
}

Json execution_info(const v1::Job& job) {
  if (!job.has_execution_info()) return nullptr;
  const auto& info = job.execution_info();
  Json errors = Json::array();
  for (const auto& error : info.errors()) {
    errors.push_back({{"code", error.code()},
                      {"details", null_if_empty(named_values(error.details()))},
                      {"message", error.message()}});
  }
  return {{"endTime", when(info.has_end_time(), info.end_time())},
          {"errors", null_if_empty(std::move(errors))},
          {"exitCode", info.has_exit_code() ? Json(info.exit_code()) : Json(nullptr)},
          {"startTime", when(info.has_start_time(), info.start_time())}};
}

Json recovery_of(const v1::Recovery& recovery) {
  const auto duration = [](bool set, const google::protobuf::Duration& value) {
    return set ? Json(format_duration(TimeUtil::DurationToMilliseconds(value))) : Json(nullptr);
  };
  Json out;
  out["gangAbortAfter"] = duration(recovery.has_gang_abort_after(), recovery.gang_abort_after());
  out["grace"] = duration(recovery.has_grace(), recovery.grace());
  out["lease"] = recovery.lease_forever() ? Json("forever") : duration(recovery.has_lease(), recovery.lease());
  out["maxRequeues"] = recovery.has_max_requeues() ? recovery.max_requeues() : 1;
  out["onNodeLoss"] = recovery.on_node_loss() == v1::Recovery::ON_NODE_LOSS_FAIL ? "fail" : "requeue";
  out["rerunAfter"] = recovery.rerun_after() == v1::Recovery::RERUN_AFTER_GANG_BROKEN ? "gangBroken" : "fenced";
  return out;
}

Json directories_in(const v1::JobSpec& spec) {
  Json out = Json::array();
  for (const auto& item : spec.input_directories()) out.push_back({{"id", item.id()}, {"path", item.path()}});
  return null_if_empty(std::move(out));
}

Json directories_out(const v1::JobSpec& spec) {
  Json out = Json::array();
  for (const auto& item : spec.output_directories()) {
    out.push_back({{"id", item.id()}, {"pathPrefix", item.path_prefix()}, {"pathSuffix", or_null(item.path_suffix())}});
  }
  return null_if_empty(std::move(out));
}

Json receipts_of(const v1::Job& job) {
  Json out = Json::array();
  for (const auto& item : job.receipts()) {
    Json parts = Json::array();
    for (const auto& part : item.parts()) {
      parts.push_back(
          {{"count", part.count()}, {"tookMs", TimeUtil::DurationToMilliseconds(part.took())}, {"what", part.what()}});
    }
    out.push_back({{"directoriesRemoved", item.directories_removed()},
                   {"mountsRemoved", item.mounts_removed()},
                   {"node", item.node()},
                   {"parts", parts},
                   {"processesKilled", item.processes_killed()},
                   {"tookMs", TimeUtil::DurationToMilliseconds(item.took())}});
  }
  return out;
}

}  // namespace

void add_spec(const v1::Job& job, Json& out) {
  const v1::JobSpec& spec = job.spec();
  constexpr long long kDefaultLimitSeconds = 7LL * 24 * 3600;
  const long long limit = spec.has_max_wall_clock_time() ? spec.max_wall_clock_time().seconds() : kDefaultLimitSeconds;
  const ClusterPlace cluster = cluster_of(job);
  out["cluster"] = {{"id", cluster.id()}, {"resourceGroup", cluster.group}};
  out["constraints"] = {{"maxWallClockTime", spoken_duration(limit)}};
  if (spec.has_min_wall_clock_time()) {
    out["constraints"]["minWallClockTime"] = spoken_duration(spec.min_wall_clock_time().seconds());
  }
  out["containerSettings"] = nullptr;
  if (!spec.image().empty()) {
    Json credentials = nullptr;
    if (!spec.image_user_name().empty()) {
      credentials = {{"password", nullptr}, {"passwordSecretReference", nullptr}, {"username", spec.image_user_name()}};
    }
    out["containerSettings"] = {
        {"imageSourceRegistry",
         {{"credentials", credentials}, {"image", spec.image()}, {"serverUrl", or_null(spec.image_server_url())}}},
        {"shmSize", or_null(spec.shm_size())}};
  }
  out["dependencies"] = Json::array();
  for (const auto& one : spec.dependencies()) {
    out["dependencies"].push_back({{"condition", condition_name(one.condition())},
                                   {one.array() ? "array" : "job", one.job()},
                                   {"met", one.met()}});
  }
  out["environmentVariables"] = null_if_empty(named_values(spec.environment_variables()));
  out["inputDirectories"] = directories_in(spec);
  out["jobPreparation"] = nullptr;
  if (!spec.job_preparation_command_line().empty()) {
    out["jobPreparation"] = {{"commandLine", spec.job_preparation_command_line()}};
  }
  out["mountVolumes"] = mounts_of(spec);
  out["nodeCount"] = spec.node_count();
  out["resources"] = nullptr;
  if (spec.gpus_per_node() > 0) {
    out["resources"] = {{"gpusPerNode", spec.gpus_per_node()}, {"nodes", spec.node_count()}};
  }
  if (spec.min_node_count() > 0) out["resources"]["minNodes"] = spec.min_node_count();
  out["outputDirectories"] = directories_out(spec);
  out["recovery"] = recovery_of(spec.recovery());
  const std::string& of_operator = spec.priority_class();
  out["schedulingPriority"] = of_operator.empty() ? priority_name(spec.scheduling_priority()) : of_operator;
  out["secrets"] = null_if_empty(secret_names(spec.secrets()));
  out["stdOutErrPathPrefix"] = spec.std_out_err_path_prefix();
  out["topology"] = nullptr;
  if (spec.has_topology()) {
    const v1::Topology& topology = spec.topology();
    out["topology"] = {{"level", or_null(topology.level())}, {"required", topology.required()}};
    if (topology.block_size() > 0) out["topology"]["blockSize"] = topology.block_size();
    if (topology.within_size() > 0) out["topology"]["within"] = topology.within();
  }
  batchai::add_toolkits(spec, out);
}

Json hold_of(bool held, const v1::Hold& hold) {
  if (!held) return nullptr;
  return {{"since", when(hold.has_since(), hold.since())}, {"who", hold.who()}, {"why", or_null(hold.why())}};
}

std::vector<std::string> Kind<v1::Job>::columns() {
  return {"Name", "Cluster", "Cluster RG", "Cluster Workspace", "Tool", "Nodes", "State", "Exit code"};
}
Json Kind<v1::Job>::json(const v1::Job& item) {
  Json out;
  out["arrayName"] = or_null(item.array_name());
  out["attempt"] = item.attempt();
  out["cleanupReceipts"] = receipts_of(item);
  out["creationTime"] = when(item.has_creation_time(), item.creation_time());
  out["executionInfo"] = execution_info(item);
  out["executionState"] = item.execution_state();
  out["executionStateTransitionTime"] =
      when(item.has_execution_state_transition_time(), item.execution_state_transition_time());
  out["experimentName"] = item.experiment();
  out["hold"] = hold_of(item.has_hold(), item.hold());
  out["id"] = item.id().empty() ? arm_id(item.resource_group(), item.workspace()) + "/experiments/" +
                                      item.experiment() + "/jobs/" + item.name()
                                : item.id();
  out["imageDigest"] = or_null(item.image_digest());
  out["timeLimit"] = nullptr;
  if (item.has_time_limit()) out["timeLimit"] = spoken_duration(item.time_limit().seconds());
  out["jobOutputDirectoryPathSegment"] = or_null(item.job_output_directory_path_segment());
  out["name"] = item.name();
  out["nodes"] = Json(std::vector<std::string>(item.nodes().begin(), item.nodes().end()));
  out["number"] = item.number();
  out["phase"] = item.phase();
  out["progress"] = nullptr;
  if (item.has_progress()) {
    const auto& progress = item.progress();
    out["progress"] = {{"checkpoint", progress.checkpoint()},
                       {"step", progress.step()},
                       {"steps", progress.steps() == 0 ? Json(nullptr) : Json(progress.steps())}};
  }
  out["provisioningState"] = item.provisioning_state();
  out["provisioningStateTransitionTime"] = provisioned_at(item);
  out["reason"] = or_null(item.reason());
  out["rerunOf"] = or_null(item.rerun_of());
  out["requeues"] = item.requeues();
  out["runAs"] = or_null(item.run_as());
  out["resourceGroup"] = item.resource_group();
  out["scheduleName"] = or_null(item.schedule_name());
  out["scheduleTime"] = when(item.has_schedule_time(), item.schedule_time());
  out["submittedBy"] = or_null(item.submitted_by());
  out["taskIndex"] = item.array_name().empty() ? Json(nullptr) : Json(item.task_index());
  out["toolType"] = item.tool_type();
  out["type"] = "Microsoft.BatchAI/workspaces/experiments/jobs";
  out["warnings"] = Json(std::vector<std::string>(item.warnings().begin(), item.warnings().end()));
  out["workspace"] = item.workspace();
  add_spec(item, out);
  return sorted(out);
}
Row Kind<v1::Job>::row(const v1::Job& item) {
  const ClusterPlace cluster = cluster_of(item);
  const auto& info = item.execution_info();
  return {item.name(),
          cluster.name,
          cluster.group,
          cluster.workspace,
          item.tool_type(),
          std::to_string(item.spec().node_count()),
          state_of(item.provisioning_state(), item.execution_state()),
          info.has_exit_code() ? std::to_string(info.exit_code()) : ""};
}

}  // namespace trainyard::cli
