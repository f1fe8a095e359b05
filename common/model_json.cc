#include "common/model_json.h"

#include <array>
#include <charconv>
#include <utility>

#include "common/json_parts.h"

namespace trainyard {
namespace {

using namespace json_parts;

void read_count(const json& from, const char* key, std::optional<std::uint32_t>& into) {
  if (const auto found = from.find(key); found != from.end()) into = found->get<std::uint32_t>();
}

constexpr Names<Toolkit, 11> kToolkits{{{Toolkit::custom, "custom"},
                                        {Toolkit::custom_mpi, "custommpi"},
                                        {Toolkit::horovod, "horovod"},
                                        {Toolkit::chainer, "chainer"},
                                        {Toolkit::cntk, "cntk"},
                                        {Toolkit::caffe, "caffe"},
                                        {Toolkit::caffe2, "caffe2"},
                                        {Toolkit::py_torch, "pytorch"},
                                        {Toolkit::tensor_flow, "tensorflow"},
                                        {Toolkit::torchrun, "torchrun"},
                                        {Toolkit::jax, "jax"}}};
constexpr Names<CommunicationBackend, 4> kBackends{{{CommunicationBackend::tcp, "tcp"},
                                                    {CommunicationBackend::gloo, "gloo"},
                                                    {CommunicationBackend::nccl, "nccl"},
                                                    {CommunicationBackend::mpi, "mpi"}}};
constexpr Names<Priority, 3> kPriorities{
    {{Priority::low, "low"}, {Priority::normal, "normal"}, {Priority::high, "high"}}};
constexpr Names<OnNodeLoss, 2> kOnNodeLoss{{{OnNodeLoss::requeue, "requeue"}, {OnNodeLoss::fail, "fail"}}};
constexpr Names<RerunAfter, 2> kRerunAfter{{{RerunAfter::fenced, "fenced"}, {RerunAfter::gang_broken, "gangBroken"}}};
constexpr Names<HoldingPhase, 3> kPhases{
    {{HoldingPhase::prepare, "prepare"}, {HoldingPhase::run, "run"}, {HoldingPhase::stop, "stop"}}};
constexpr Names<HoldingState, 8> kStates{{{HoldingState::preparing, "preparing"},
                                          {HoldingState::ready, "ready"},
                                          {HoldingState::running, "running"},
                                          {HoldingState::exited, "exited"},
                                          {HoldingState::failed, "failed"},
                                          {HoldingState::lost, "lost"},
                                          {HoldingState::stopping, "stopping"},
                                          {HoldingState::clean, "clean"}}};

constexpr Names<FileServerState, 4> kFileServerStates{{{FileServerState::starting, "starting"},
                                                       {FileServerState::serving, "serving"},
                                                       {FileServerState::failed, "failed"},
                                                       {FileServerState::stopping, "stopping"}}};
constexpr Names<SetupState, 4> kSetupStates{{{SetupState::running, "running"},
                                             {SetupState::done, "done"},
                                             {SetupState::failed, "failed"},
                                             {SetupState::stopping, "stopping"}}};

constexpr Names<Volume::Kind, 6> kVolumeKinds{{{Volume::Kind::local, "local"},
                                               {Volume::Kind::nfs, "nfs"},
                                               {Volume::Kind::smb, "smb"},
                                               {Volume::Kind::s3, "s3"},
                                               {Volume::Kind::azure_blob, "azureBlob"},
                                               {Volume::Kind::command, "command"}}};

}  // namespace

const char* name_of(HoldingState state) {
  return name_in(kStates, state);
}
const char* name_of(HoldingPhase phase) {
  return name_in(kPhases, phase);
}
const char* name_of(Toolkit toolkit) {
  return name_in(kToolkits, toolkit);
}
const char* name_of(CommunicationBackend backend) {
  return name_in(kBackends, backend);
}
std::string name_of(Priority priority) {
  for (const auto& [value, name] : kPriorities) {
    if (value == priority) return name;
  }
  return std::to_string(static_cast<std::int32_t>(priority));
}
std::optional<Priority> priority_named(const std::string& name) {
  if (const auto known = named_in(kPriorities, name)) return known;
  std::int32_t value = 0;
  const char* const end = name.data() + name.size();
  if (const auto read = std::from_chars(name.data(), end, value); read.ec != std::errc() || read.ptr != end) {
    return std::nullopt;
  }
  return static_cast<Priority>(value);
}
const char* name_of(Volume::Kind kind) {
  return name_in(kVolumeKinds, kind);
}
std::optional<Volume::Kind> volume_kind_named(const std::string& name) {
  return named_in(kVolumeKinds, name);
}
const char* name_of(SetupState state) {
  return name_in(kSetupStates, state);
}
std::optional<SetupState> setup_state_named(const std::string& name) {
  return named_in(kSetupStates, name);
}
const char* name_of(FileServerState state) {
  return name_in(kFileServerStates, state);
}
std::optional<FileServerState> file_server_state_named(const std::string& name) {
  return named_in(kFileServerStates, name);
}
std::optional<HoldingState> holding_state_named(const std::string& name) {
  return named_in(kStates, name);
}
std::optional<HoldingPhase> holding_phase_named(const std::string& name) {
  return named_in(kPhases, name);
}

void to_json(json& out, const SealedValue& in) {
  out = {{"name", in.name}, {"sealed", in.sealed}};
}
void from_json(const json& in, SealedValue& out) {
  read(in, "name", out.name);
  read(in, "sealed", out.sealed);
}
void to_json(json& out, const NamedValue& in) {
  out = {{"name", in.name}, {"value", in.value}};
}
void from_json(const json& in, NamedValue& out) {
  read(in, "name", out.name);
  read(in, "value", out.value);
}

void to_json(json& out, const FileShareMount& in) {
  out = {{"accountName", in.account_name},
         {"azureFileUrl", in.azure_file_url},
         {"share", in.share},
         {"relativeMountPath", in.relative_mount_path},
         {"fileMode", in.file_mode},
         {"directoryMode", in.directory_mode}};
}
void from_json(const json& in, FileShareMount& out) {
  read(in, "accountName", out.account_name);
  read(in, "azureFileUrl", out.azure_file_url);
  read(in, "share", out.share);
  read(in, "relativeMountPath", out.relative_mount_path);
  read(in, "fileMode", out.file_mode);
  read(in, "directoryMode", out.directory_mode);
}

void to_json(json& out, const BlobMount& in) {
  out = {{"accountName", in.account_name},
         {"containerName", in.container_name},
         {"relativeMountPath", in.relative_mount_path},
         {"mountOptions", in.mount_options}};
}
void from_json(const json& in, BlobMount& out) {
  read(in, "accountName", out.account_name);
  read(in, "containerName", out.container_name);
  read(in, "relativeMountPath", out.relative_mount_path);
  read(in, "mountOptions", out.mount_options);
}

void to_json(json& out, const FileServerMount& in) {
  out = {{"fileServer", in.file_server},
         {"relativeMountPath", in.relative_mount_path},
         {"sourceDirectory", in.source_directory},
         {"mountOptions", in.mount_options}};
}
void from_json(const json& in, FileServerMount& out) {
  read(in, "fileServer", out.file_server);
  read(in, "relativeMountPath", out.relative_mount_path);
  read(in, "sourceDirectory", out.source_directory);
  read(in, "mountOptions", out.mount_options);
}

void to_json(json& out, const UnmanagedMount& in) {
  out = {{"mountCommand", in.mount_command}, {"relativeMountPath", in.relative_mount_path}};
}
void from_json(const json& in, UnmanagedMount& out) {
  read(in, "mountCommand", out.mount_command);
  read(in, "relativeMountPath", out.relative_mount_path);
}

void to_json(json& out, const ContainerOptions& in) {
  out = {{"serverUrl", in.server_url}, {"userName", in.user_name}, {"shmSize", in.shm_size}};
}
void from_json(const json& in, ContainerOptions& out) {
  read(in, "serverUrl", out.server_url);
  read(in, "userName", out.user_name);
  read(in, "shmSize", out.shm_size);
}

void to_json(json& out, const InputDirectory& in) {
  out = {{"id", in.id}, {"path", in.path}};
}
void from_json(const json& in, InputDirectory& out) {
  read(in, "id", out.id);
  read(in, "path", out.path);
}

void to_json(json& out, const OutputDirectory& in) {
  out = {{"id", in.id}, {"pathPrefix", in.path_prefix}, {"pathSuffix", in.path_suffix}};
}
void from_json(const json& in, OutputDirectory& out) {
  read(in, "id", out.id);
  read(in, "pathPrefix", out.path_prefix);
  read(in, "pathSuffix", out.path_suffix);
}

void to_json(json& out, const Recovery& in) {
  out = {{"onNodeLoss", name_in(kOnNodeLoss, in.on_node_loss)},
         {"maxRequeues", in.max_requeues},
         {"rerunAfter", name_in(kRerunAfter, in.rerun_after)},
         {"leaseMs", in.lease_ms},
         {"gangAbortAfterMs", in.gang_abort_after_ms},
         {"graceMs", in.grace_ms},
         {"noticeMs", in.notice_ms}};
}
void from_json(const json& in, Recovery& out) {
  read_enum(in, "onNodeLoss", kOnNodeLoss, out.on_node_loss);
  read(in, "maxRequeues", out.max_requeues);
  read_enum(in, "rerunAfter", kRerunAfter, out.rerun_after);
  read(in, "leaseMs", out.lease_ms);
  read(in, "gangAbortAfterMs", out.gang_abort_after_ms);
  read(in, "graceMs", out.grace_ms);
  read(in, "noticeMs", out.notice_ms);
}

void to_json(json& out, const Topology& in) {
  out = {{"level", in.level}, {"required", in.required}};
  if (in.block_size != 0) out["blockSize"] = in.block_size;
  write_some(out, "within", in.within);
}
void from_json(const json& in, Topology& out) {
  read(in, "level", out.level);
  read(in, "required", out.required);
  read(in, "blockSize", out.block_size);
  read(in, "within", out.within);
}

void to_json(json& out, const JobSpec& in) {
  out = {{"nodeCount", in.node_count},
         {"toolkit", name_of(in.toolkit)},
         {"commandLine", in.command_line},
         {"pythonScriptFilePath", in.python_script_file_path},
         {"pythonInterpreterPath", in.python_interpreter_path},
         {"commandLineArgs", in.command_line_args},
         {"configFilePath", in.config_file_path},
         {"processCount", in.process_count},
         {"processesPerNode", in.processes_per_node},
         {"communicationBackend", name_of(in.communication_backend)},
         {"masterCommandLineArgs", in.master_command_line_args},
         {"workerCommandLineArgs", in.worker_command_line_args},
         {"parameterServerCommandLineArgs", in.parameter_server_command_line_args},
         {"stdOutErrPathPrefix", in.std_out_err_path_prefix},
         {"preparationCommandLine", in.preparation_command_line},
         {"image", in.image},
         {"container", in.container},
         {"fileShares", in.file_shares},
         {"blobFileSystems", in.blob_file_systems},
         {"inputDirectories", in.input_directories},
         {"outputDirectories", in.output_directories},
         {"environment", in.environment},
         {"maxWallClockMs", in.max_wall_clock_ms},
         {"priority", name_of(in.priority)},
         {"recovery", in.recovery}};
  if (!in.secrets.empty()) out["secrets"] = in.secrets;
  if (in.min_node_count != 0) out["minNodeCount"] = in.min_node_count;
  if (in.gpus_per_node != 0) out["gpusPerNode"] = in.gpus_per_node;
  if (in.min_wall_clock_ms != 0) out["minWallClockMs"] = in.min_wall_clock_ms;
  if (!in.topology.none()) out["topology"] = in.topology;
  write_some(out, "credentials", in.credentials);
  write_some(out, "fileServerMounts", in.file_server_mounts);
  write_some(out, "unmanagedMounts", in.unmanaged_mounts);
  if (in.worker_count) out["workerCount"] = *in.worker_count;
  if (in.parameter_server_count) out["parameterServerCount"] = *in.parameter_server_count;
}
void from_json(const json& in, JobSpec& out) {
  read(in, "nodeCount", out.node_count);
  read(in, "minNodeCount", out.min_node_count);
  read(in, "gpusPerNode", out.gpus_per_node);
  read(in, "minWallClockMs", out.min_wall_clock_ms);
  read(in, "topology", out.topology);
  read_enum(in, "toolkit", kToolkits, out.toolkit);
  read(in, "commandLine", out.command_line);
  read(in, "pythonScriptFilePath", out.python_script_file_path);
  read(in, "pythonInterpreterPath", out.python_interpreter_path);
  read(in, "commandLineArgs", out.command_line_args);
  read(in, "configFilePath", out.config_file_path);
  read(in, "processCount", out.process_count);
  read(in, "processesPerNode", out.processes_per_node);
  read_enum(in, "communicationBackend", kBackends, out.communication_backend);
  read_count(in, "workerCount", out.worker_count);
  read_count(in, "parameterServerCount", out.parameter_server_count);
  read(in, "masterCommandLineArgs", out.master_command_line_args);
  read(in, "workerCommandLineArgs", out.worker_command_line_args);
  read(in, "parameterServerCommandLineArgs", out.parameter_server_command_line_args);
  read(in, "stdOutErrPathPrefix", out.std_out_err_path_prefix);
  read(in, "preparationCommandLine", out.preparation_command_line);
  read(in, "image", out.image);
  read(in, "container", out.container);
  read(in, "fileShares", out.file_shares);
  read(in, "blobFileSystems", out.blob_file_systems);
  read(in, "inputDirectories", out.input_directories);
  read(in, "outputDirectories", out.output_directories);
  read(in, "environment", out.environment);
  read(in, "maxWallClockMs", out.max_wall_clock_ms);
  if (const auto found = in.find("priority"); found != in.end()) {
    out.priority = priority_named(found->get<std::string>()).value_or(out.priority);
  }
  read(in, "recovery", out.recovery);
  read(in, "secrets", out.secrets);
  read(in, "credentials", out.credentials);
  read(in, "fileServerMounts", out.file_server_mounts);
  read(in, "unmanagedMounts", out.unmanaged_mounts);
}

void to_json(json& out, const ImageMapping& in) {
  out = {{"pythonInterpreter", in.python_interpreter}};
  if (in.preparation) out["preparation"] = *in.preparation;
  write_some(out, "containerImage", in.container_image);
}
void from_json(const json& in, ImageMapping& out) {
  read(in, "pythonInterpreter", out.python_interpreter);
  if (const auto found = in.find("preparation"); found != in.end()) out.preparation = found->get<std::string>();
  read(in, "containerImage", out.container_image);
}

void to_json(json& out, const SetupTask& in) {
  out = {{"commandLine", in.command_line},
         {"environment", in.environment},
         {"stdOutErrPathPrefix", in.std_out_err_path_prefix},
         {"timeLimitMs", in.time_limit_ms}};
  if (!in.secrets.empty()) out["secrets"] = in.secrets;
}
void from_json(const json& in, SetupTask& out) {
  read(in, "commandLine", out.command_line);
  read(in, "environment", out.environment);
  read(in, "stdOutErrPathPrefix", out.std_out_err_path_prefix);
  read(in, "timeLimitMs", out.time_limit_ms);
  read(in, "secrets", out.secrets);
}

void to_json(json& out, const NodeSetup& in) {
  out = {{"task", in.task}, {"fileShares", in.file_shares}, {"blobFileSystems", in.blob_file_systems}};
  write_some(out, "credentials", in.credentials);
  write_some(out, "fileServerMounts", in.file_server_mounts);
  write_some(out, "unmanagedMounts", in.unmanaged_mounts);
}
void from_json(const json& in, NodeSetup& out) {
  read(in, "task", out.task);
  read(in, "fileShares", out.file_shares);
  read(in, "blobFileSystems", out.blob_file_systems);
  read(in, "credentials", out.credentials);
  read(in, "fileServerMounts", out.file_server_mounts);
  read(in, "unmanagedMounts", out.unmanaged_mounts);
}

void to_json(json& out, const Volume& in) {
  out = {{"kind", name_of(in.kind)}, {"source", in.source}, {"relativeMountPath", in.relative_mount_path}};
  write_some(out, "endpoint", in.endpoint);
  write_some(out, "user", in.user);
  write_some(out, "options", in.options);
  write_some(out, "credentialsFile", in.credentials_file);
  write_some(out, "fileServer", in.file_server);
}
void from_json(const json& in, Volume& out) {
  read_enum(in, "kind", kVolumeKinds, out.kind);
  read(in, "source", out.source);
  read(in, "relativeMountPath", out.relative_mount_path);
  read(in, "endpoint", out.endpoint);
  read(in, "user", out.user);
  read(in, "options", out.options);
  read(in, "credentialsFile", out.credentials_file);
  read(in, "fileServer", out.file_server);
}

void to_json(json& out, const RunAs& in) {
  out = {{"uid", in.uid}, {"gid", in.gid}, {"groups", in.groups}};
}
void from_json(const json& in, RunAs& out) {
  read(in, "uid", out.uid);
  read(in, "gid", out.gid);
  read(in, "groups", out.groups);
}

void to_json(json& out, const GangMember& in) {
  out = {{"nodeName", in.node_name}, {"address", in.address}};
}
void from_json(const json& in, GangMember& out) {
  read(in, "nodeName", out.node_name);
  read(in, "address", out.address);
}

void to_json(json& out, const Launch& in) {
  out = {{"jobName", in.job_name},    {"experiment", in.experiment}, {"workspace", in.workspace},
         {"group", in.group},         {"segment", in.segment},       {"spec", in.spec},
         {"mapping", in.mapping},     {"volumes", in.volumes},       {"members", in.members},
         {"firstPort", in.first_port}};
  if (in.run_as != RunAs{}) out["runAs"] = in.run_as;
}
void from_json(const json& in, Launch& out) {
  read(in, "jobName", out.job_name);
  read(in, "experiment", out.experiment);
  read(in, "workspace", out.workspace);
  read(in, "group", out.group);
  read(in, "segment", out.segment);
  read(in, "spec", out.spec);
  read(in, "mapping", out.mapping);
  read(in, "volumes", out.volumes);
  read(in, "members", out.members);
  read(in, "firstPort", out.first_port);
  read(in, "runAs", out.run_as);
}

void to_json(json& out, const ClusterSetup& in) {
  out = {{"cluster", in.cluster}, {"pathSuffix", in.path_suffix}, {"setup", in.setup}, {"volumes", in.volumes}};
}
void from_json(const json& in, ClusterSetup& out) {
  read(in, "cluster", out.cluster);
  read(in, "pathSuffix", out.path_suffix);
  read(in, "setup", out.setup);
  read(in, "volumes", out.volumes);
}

}  // namespace trainyard
