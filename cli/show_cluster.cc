// Clusters and nodes as users see them.
#include <google/protobuf/util/time_util.h>

#include <algorithm>

#include "cli/show.h"
#include "cli/show_parts.h"
#include "common/time.h"

namespace trainyard::cli {
namespace {

using google::protobuf::util::TimeUtil;

const char* deallocation_name(v1::DeallocationOption option) {
  if (option == v1::DEALLOCATION_OPTION_TERMINATE) return "terminate";
  return option == v1::DEALLOCATION_OPTION_WAIT_FOR_JOB_COMPLETION ? "waitforjobcompletion" : "requeue";
}

std::string last_segment(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

std::string joined(const google::protobuf::RepeatedPtrField<std::string>& items) {
  std::string out;
  for (const std::string& item : items) out += (out.empty() ? "" : ", ") + item;
  return out;
}

Json errors_of(const google::protobuf::RepeatedPtrField<v1::JobError>& errors) {
  Json out = Json::array();
  for (const v1::JobError& error : errors) {
    Json details = Json::array();
    for (const v1::NamedValue& detail : error.details()) {
      details.push_back({{"name", detail.name()}, {"value", detail.value()}});
    }
    out.push_back({{"code", error.code()}, {"details", std::move(details)}, {"message", error.message()}});
  }
  return out.empty() ? Json(nullptr) : out;
}

std::string duration_of(const google::protobuf::Duration& duration) {
  return format_duration(TimeUtil::DurationToMilliseconds(duration));
}

Json scale_of(const v1::ClusterSpec& spec) {
  if (!spec.has_auto_scale()) {
    return {{"autoScale", nullptr},
            {"manual",
             {{"nodeDeallocationOption", deallocation_name(spec.node_deallocation_option())},
              {"targetNodeCount", spec.target_node_count()}}}};
  }
  const v1::AutoScaleSettings& scale = spec.auto_scale();
  return {{"autoScale",
           {{"idleTimeBeforeScaleDown", duration_of(scale.idle_time_before_scale_down())},
            {"initialNodeCount", scale.initial_node_count()},
            {"maximumNodeCount", scale.maximum_node_count()},
            {"minimumNodeCount", scale.minimum_node_count()}}},
          {"manual", nullptr}};
}

Json task_of(const v1::SetupTask& task) {
  Json variables = Json::array();
  for (const v1::NamedValue& variable : task.environment_variables()) {
    variables.push_back({{"name", variable.name()}, {"value", variable.value()}});
  }
  return {{"commandLine", task.command_line()},
          {"environmentVariables", variables.empty() ? Json(nullptr) : variables},
          {"secrets", null_if_empty(secret_names(task.secrets()))},
          {"stdOutErrPathPrefix", task.std_out_err_path_prefix()},
          {"stdOutErrPathSuffix", or_null(task.std_out_err_path_suffix())},
          {"timeLimit", duration_of(task.time_limit())}};
}

Json setup_of(const v1::NodeSetup& setup) {
  Json shares = Json::array(), containers = Json::array();
  for (const v1::AzureFileShare& share : setup.azure_file_shares()) {
    shares.push_back({{"accountName", share.account_name()},
                      {"azureFileUrl", share.azure_file_url()},
                      {"credentials", Json::object()},
                      {"directoryMode", share.directory_mode()},
                      {"fileMode", share.file_mode()},
                      {"relativeMountPath", share.relative_mount_path()}});
  }
  for (const v1::AzureBlobFileSystem& container : setup.azure_blob_file_systems()) {
    containers.push_back({{"accountName", container.account_name()},
                          {"containerName", container.container_name()},
                          {"credentials", Json::object()},
                          {"mountOptions", or_null(container.mount_options())},
                          {"relativeMountPath", container.relative_mount_path()}});
  }
  Json volumes = nullptr;
  if (!shares.empty() || !containers.empty() || !setup.file_servers().empty() ||
      !setup.unmanaged_file_systems().empty()) {
    volumes = {{"azureBlobFileSystems", containers.empty() ? Json(nullptr) : containers},
               {"azureFileShares", shares.empty() ? Json(nullptr) : shares},
               {"fileServers", file_servers_of(setup.file_servers())},
               {"unmanagedFileSystems", unmanaged_of(setup.unmanaged_file_systems())}};
  }
  return {{"mountVolumes", volumes},
          {"performanceCountersSettings", nullptr},
          {"setupTask", setup.has_setup_task() ? task_of(setup.setup_task()) : Json(nullptr)}};
}

}  // namespace

std::vector<std::string> Kind<v1::Cluster>::columns() {
  return {"Name", "Resource Group", "Workspace", "VM Size", "State",
          "Idle", "Running",        "Preparing", "Leaving", "Unusable"};
}
Json Kind<v1::Cluster>::json(const v1::Cluster& item) {
  const v1::ClusterSpec& spec = item.spec();
  const v1::NodeStateCounts& counts = item.node_state_counts();
  Json out;
  out["allocationState"] = item.allocation_state();
  out["allocationStateTransitionTime"] =
      when(item.has_allocation_state_transition_time(), item.allocation_state_transition_time());
  out["creationTime"] = when(item.has_creation_time(), item.creation_time());
  out["currentNodeCount"] = item.current_node_count();
  out["errors"] = errors_of(item.errors());
  out["id"] = item.id().empty() ? ClusterPlace{item.resource_group(), item.workspace(), item.name()}.id() : item.id();
  out["name"] = item.name();
  out["nodeSetup"] = spec.has_node_setup() ? setup_of(spec.node_setup()) : Json(nullptr);
  out["nodeStateCounts"] = {{"idleNodeCount", counts.idle_node_count()},
                            {"leavingNodeCount", counts.leaving_node_count()},
                            {"preparingNodeCount", counts.preparing_node_count()},
                            {"runningNodeCount", counts.running_node_count()},
                            {"unusableNodeCount", counts.unusable_node_count()}};
  out["provisioningState"] = item.provisioning_state();
  out["provisioningStateTransitionTime"] = provisioned_at(item);
  out["reason"] = or_null(item.reason());
  out["resourceGroup"] = item.resource_group();
  out["scaleSettings"] = scale_of(spec);
  out["subnet"] = nullptr;
  out["type"] = "Microsoft.BatchAI/workspaces/clusters";
  out["userAccountSettings"] = {{"adminUserName", or_null(spec.admin_user_name())},
                                {"adminUserPassword", nullptr},
                                {"adminUserSshPublicKey", or_null(spec.admin_user_ssh_public_key())}};
  out["virtualMachineConfiguration"] = nullptr;
  out["vmPriority"] = spec.vm_priority() == v1::VM_PRIORITY_LOWPRIORITY ? "lowpriority" : "dedicated";
  out["vmSize"] = spec.vm_size();
  out["workspace"] = item.workspace();
  return out;
}
Row Kind<v1::Cluster>::row(const v1::Cluster& item) {
  const v1::NodeStateCounts& counts = item.node_state_counts();
  return {item.name(),
          item.resource_group(),
          item.workspace(),
          item.spec().vm_size(),
          state_of(item.provisioning_state(), item.allocation_state()),
          std::to_string(counts.idle_node_count()),
          std::to_string(counts.running_node_count()),
          std::to_string(counts.preparing_node_count()),
          std::to_string(counts.leaving_node_count()),
          std::to_string(counts.unusable_node_count())};
}

namespace {

// What is known of a node beside its work: what its agent finds, what operators and health checks said.
Json machine_of(const v1::Node& item) {
  Json out;
  out["containerRuntime"] = or_null(item.container_runtime());
  out["drain"] = nullptr;
  if (item.has_drain()) {
    out["drain"] = {{"since", when(item.drain().has_since(), item.drain().since())},
                    {"cordon", item.drain().cordon()},
                    {"who", item.drain().who()},
                    {"why", item.drain().why()}};
  }
  out["fabrics"] = Json::array();
  for (const auto& fabric : item.fabrics()) {
    out["fabrics"].push_back({{"kind", fabric.kind()}, {"name", fabric.name()}, {"port", fabric.port()}});
  }
  out["findings"] = Json::array();
  for (const auto& finding : item.findings()) {
    out["findings"].push_back({{"check", finding.check()}, {"level", finding.level()}, {"message", finding.message()}});
  }
  out["health"] = nullptr;
  if (item.has_health()) {
    Json figures = Json::object();
    for (const auto& figure : item.health().figures()) figures[figure.name()] = figure.value();
    out["health"] = {{"figures", std::move(figures)},
                     {"passed", item.health().passed()},
                     {"summary", item.health().summary()},
                     {"time", when(item.health().has_time(), item.health().time())}};
  }
  out["networkInterface"] = or_null(item.network_interface());
  out["topology"] = or_null(item.topology());
  return out;
}

std::string state_cell(const v1::Node& item) {
  std::string state = item.state();
  if (item.has_drain()) state += item.drain().cordon() ? ", cordoned" : ", drained";
  if (!item.reachable()) state += ", unreachable";
  return state;
}

std::string gpus_cell(const v1::Node& item) {
  std::string gpus = std::to_string(item.gpus_size());
  if (item.gpus_size() == 0) return gpus;
  const auto& first = item.gpus(0);
  gpus += " x " + (first.model().empty() ? "GPU" : first.model()) + (first.pretend() ? " (pretend)" : "");
  const auto faulty =
      std::count_if(item.gpus().begin(), item.gpus().end(), [](const auto& g) { return !g.fault().empty(); });
  return faulty == 0 ? gpus : gpus + ", " + std::to_string(faulty) + " faulty";
}

}  // namespace

std::vector<std::string> Kind<v1::Node>::columns() {
  return {"Name", "Address", "VM Size", "State", "Cluster", "GPUs", "Running", "Findings", "Note"};
}
Json Kind<v1::Node>::json(const v1::Node& item) {
  Json gpus = Json::array();
  for (const auto& gpu : item.gpus()) {
    gpus.push_back({{"cores", or_null(gpu.cores())},
                    {"fault", or_null(gpu.fault())},
                    {"job", or_null(gpu.job())},
                    {"memoryBytes", gpu.memory_bytes()},
                    {"model", gpu.model()},
                    {"numaNode", gpu.has_numa_node() ? Json(gpu.numa_node()) : Json(nullptr)},
                    {"nvlinkIsland", gpu.has_nvlink_island() ? Json(gpu.nvlink_island()) : Json(nullptr)},
                    {"parentUuid", or_null(gpu.parent_uuid())},
                    {"pciBusId", or_null(gpu.pci_bus_id())},
                    {"pretend", gpu.pretend()},
                    {"uuid", gpu.uuid()}});
  }
  Json out = machine_of(item);
  out["address"] = item.address();
  out["agentVersion"] = or_null(item.agent_version());
  out["cluster"] = or_null(item.cluster());
  out["cores"] = item.cores();
  out["errors"] = errors_of(item.errors());
  out["gpus"] = std::move(gpus);
  out["lastReportTime"] = when(item.has_last_report_time(), item.last_report_time());
  out["memoryBytes"] = item.memory_bytes();
  out["name"] = item.name();
  out["nextRepairTime"] = when(item.has_next_repair_time(), item.next_repair_time());
  out["note"] = or_null(item.note());
  out["pool"] = or_null(item.pool());
  out["reachable"] = item.reachable();
  out["running"] = Json(std::vector<std::string>(item.running().begin(), item.running().end()));
  out["state"] = item.state();
  out["vmSize"] = item.vm_size();
  return out;
}
Row Kind<v1::Node>::row(const v1::Node& item) {
  return {item.name(),
          item.address(),
          item.vm_size(),
          state_cell(item),
          last_segment(item.cluster()),
          gpus_cell(item),
          joined(item.running()),
          item.findings_size() == 0 ? "" : std::to_string(item.findings_size()),
          item.note()};
}

}  // namespace trainyard::cli
