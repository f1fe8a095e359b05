#include "proto/job_convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "common/model_json.h"
#include "proto/convert.h"
#include "proto/mount_convert.h"
#include "proto/place_convert.h"
#include "proto/toolkit_convert.h"

namespace trainyard {
namespace {

constexpr std::int32_t kMaxNodes = 10'000;
constexpr std::int32_t kMaxGpusPerNode = 1'024;
constexpr int kMaxItems = 1'000;  // of any list
constexpr DurationMs kMaxDuration = 10LL * 365 * 24 * 3600 * 1000;

bool identifier(std::string_view text) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  };
  return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), allowed);
}

Status check_count(std::string_view field, int count) {
  if (count > kMaxItems) return invalid(field, fmt::format("has {} entries; at most {} are allowed", count, kMaxItems));
  return {};
}

// "0777", "755"
Result<std::string> mode(const std::string& field, const std::string& text) {
  if (text.empty()) return std::string("0777");
  const bool octal = std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '7'; });
  if (!octal || text.size() < 3 || text.size() > 4) {
    return invalid(field, fmt::format("\"{}\" is not a mode like \"0777\"", text.substr(0, 20)));
  }
  return text;
}

Result<DurationMs> duration(std::string_view field, const google::protobuf::Duration& message, bool may_be_zero) {
  const DurationMs value = from_proto(message);
  if (value < 0 || (value == 0 && !may_be_zero)) {
    return invalid(field, may_be_zero ? "must not be negative" : "must be longer than zero");
  }
  if (value > kMaxDuration) return invalid(field, "must be at most ten years");
  return value;
}

}  // namespace

// ---- Lists ----

// It becomes a line of a client's configuration.
Status check_key(const std::string& mount, const std::string& key) {
  const std::string field = mount + ".credentials.accountKey";
  if (const Status status = check_text(field, key); !status) return status;
  if (key.find_first_of("\r\n") != key.npos) return invalid(field, "must be one line");
  return {};
}

Result<FileShareMount> mount_from_proto(const std::string& field, const v1::AzureFileShare& message) {
  const auto url = parse_share_url("properties." + field + ".azureFileUrl", message.azure_file_url());
  if (!url) return url.error();
  if (!message.account_name().empty() && !equal_ignoring_case(message.account_name(), url->account)) {
    return invalid(field + ".accountName", fmt::format("\"{}\" is not the account \"{}\" of azureFileUrl",
                                                       message.account_name().substr(0, 100), url->account));
  }
  FileShareMount mount;
  mount.account_name = url->account;
  mount.azure_file_url = message.azure_file_url();
  mount.share = url->share;
  auto path = clean_path("properties." + field + ".relativeMountPath", message.relative_mount_path(), false);
  if (!path) return path.error();
  mount.relative_mount_path = std::move(path).value();
  auto file_mode = mode(field + ".fileMode", message.file_mode());
  if (!file_mode) return file_mode.error();
  mount.file_mode = std::move(file_mode).value();
  auto directory_mode = mode(field + ".directoryMode", message.directory_mode());
  if (!directory_mode) return directory_mode.error();
  mount.directory_mode = std::move(directory_mode).value();
  if (const Status status = check_key(field, message.account_key()); !status) return status.error();
  return mount;
}

namespace {

// Two mounts at one place, or one inside the other, would hide files.
bool overlaps(const std::string& left, const std::string& right) {
  return left == right || left.starts_with(right + "/") || right.starts_with(left + "/");
}

Status check_apart(const std::string& field, const std::string& path, std::vector<std::string>& others) {
  for (const std::string& other : others) {
    if (overlaps(path, other)) {
      return invalid(field + ".relativeMountPath",
                     fmt::format("\"{}\" overlaps with the mount at \"{}\"", path, other));
    }
  }
  others.push_back(path);
  return {};
}

Result<BlobMount> blob_from_proto(const std::string& field, const v1::AzureBlobFileSystem& message) {
  for (const auto& [key, name] : {std::pair<const char*, const std::string&>{".accountName", message.account_name()},
                                  {".containerName", message.container_name()}}) {
    if (name.empty()) return invalid(field + key, "is missing");
    if (const Status status = check_name("properties." + field + key, name); !status) return status.error();
  }
  if (const Status status = check_text(field + ".mountOptions", message.mount_options()); !status)
    return status.error();
  if (const Status status = check_key(field, message.account_key()); !status) return status.error();
  auto path = clean_path("properties." + field + ".relativeMountPath", message.relative_mount_path(), false);
  if (!path) return path.error();
  return BlobMount{message.account_name(), message.container_name(), std::move(path).value(), message.mount_options()};
}

Status mounts_from_proto(const v1::JobSpec& message, const core::WorkspaceRef& home, JobSpec& spec) {
  constexpr const char* kShares = "mountVolumes.azureFileShares";
  constexpr const char* kBlobs = "mountVolumes.azureBlobFileSystems";
  if (const Status status = check_count(kShares, message.azure_file_shares_size()); !status) return status;
  if (const Status status = check_count(kBlobs, message.azure_blob_file_systems_size()); !status) return status;
  std::vector<std::string> paths;
  for (int i = 0; i < message.azure_file_shares_size(); ++i) {
    const std::string field = fmt::format("{}[{}]", kShares, i);
    auto mount = mount_from_proto(field, message.azure_file_shares(i));
    if (!mount) return mount.error();
    if (const Status apart = check_apart(field, mount->relative_mount_path, paths); !apart) return apart;
    spec.file_shares.push_back(std::move(mount).value());
  }
  for (int i = 0; i < message.azure_blob_file_systems_size(); ++i) {
    const std::string field = fmt::format("{}[{}]", kBlobs, i);
    auto mount = blob_from_proto(field, message.azure_blob_file_systems(i));
    if (!mount) return mount.error();
    if (const Status apart = check_apart(field, mount->relative_mount_path, paths); !apart) return apart;
    spec.blob_file_systems.push_back(std::move(mount).value());
  }
  return more_mounts_from_proto("properties.mountVolumes.", message, home, paths, spec);
}

// Docker's --shm-size: "8g", "512m", "67108864".
bool shm_size_is_good(std::string_view text) {
  if (!text.empty() && std::string_view("bkmgBKMG").find(text.back()) != text.npos) text.remove_suffix(1);
  return !text.empty() && text.size() <= 15 && text.find_first_not_of("0123456789") == text.npos &&
         text.find_first_not_of('0') != text.npos;
}

Status container_from_proto(const v1::JobSpec& message, JobSpec& spec) {
  const std::string registry = "containerSettings.imageSourceRegistry.";
  const std::pair<std::string, const std::string*> texts[] = {
      {registry + "image", &message.image()},
      {registry + "serverUrl", &message.image_server_url()},
      {registry + "credentials.username", &message.image_user_name()},
      {registry + "credentials.password", &message.image_password()}};
  for (const auto& [field, text] : texts) {
    if (const Status status = check_text(field, *text); !status) return status;
    if (!text->empty() && message.image().empty()) return invalid(registry + "image", "is missing");
  }
  if (!message.shm_size().empty()) {
    if (message.image().empty()) return invalid(registry + "image", "is missing");
    if (!shm_size_is_good(message.shm_size())) {
      return invalid("containerSettings.shmSize",
                     fmt::format("\"{}\" is not a size like \"512m\" or \"8g\"", message.shm_size().substr(0, 20)));
    }
  }
  if (!message.image_password().empty() && message.image_user_name().empty()) {
    return invalid(registry + "credentials.username", "is missing");
  }
  spec.image = message.image();
  spec.container = {message.image_server_url(), message.image_user_name(), message.shm_size()};
  return {};
}

// Ids become parts of variable names.
Status check_id(const std::string& field, const std::string& id, std::set<std::string>& seen) {
  if (id.empty()) return invalid(field + ".id", "is missing");
  if (!identifier(id)) {
    return invalid(field + ".id", fmt::format("\"{}\" must hold letters, digits and '_' only: it becomes part of a "
                                              "variable's name",
                                              id.substr(0, 100)));
  }
  if (!seen.insert(id).second) return invalid(field + ".id", fmt::format("\"{}\" is given twice", id));
  return {};
}

Status directories_from_proto(const v1::JobSpec& message, JobSpec& spec) {
  if (const Status status = check_count("inputDirectories", message.input_directories_size()); !status) return status;
  if (const Status status = check_count("outputDirectories", message.output_directories_size()); !status) return status;
  std::set<std::string> inputs, outputs;
  for (int i = 0; i < message.input_directories_size(); ++i) {
    const auto& item = message.input_directories(i);
    const std::string field = fmt::format("inputDirectories[{}]", i);
    if (const Status status = check_id(field, item.id(), inputs); !status) return status;
    if (item.path().empty()) return invalid(field + ".path", "is missing");
    if (const Status status = check_text(field + ".path", item.path()); !status) return status;
    spec.input_directories.push_back({item.id(), item.path()});
  }
  for (int i = 0; i < message.output_directories_size(); ++i) {
    const auto& item = message.output_directories(i);
    const std::string field = fmt::format("outputDirectories[{}]", i);
    if (const Status status = check_id(field, item.id(), outputs); !status) return status;
    if (item.id() == "stdouterr")
      return invalid(field + ".id", "\"stdouterr\" is the name of the standard output's own");
    if (item.path_prefix().empty()) return invalid(field + ".pathPrefix", "is missing");
    if (const Status status = check_text(field + ".pathPrefix", item.path_prefix()); !status) return status;
    auto suffix = clean_path("properties." + field + ".pathSuffix", item.path_suffix(), true);
    if (!suffix) return suffix.error();
    spec.output_directories.push_back({item.id(), item.path_prefix(), std::move(suffix).value()});
  }
  return {};
}

}  // namespace

Result<std::vector<NamedValue>> variables_from_proto(
    const std::string& field, const google::protobuf::RepeatedPtrField<v1::NamedValue>& message) {
  if (const Status status = check_count(field, message.size()); !status) return status.error();
  std::vector<NamedValue> variables;
  std::set<std::string> names;
  for (const v1::NamedValue& item : message) {
    const std::string at = fmt::format("{}[{}]", field, variables.size());
    if (item.name().empty()) return invalid(at + ".name", "is missing");
    if (!identifier(item.name()) || (item.name()[0] >= '0' && item.name()[0] <= '9')) {
      return invalid(at + ".name", fmt::format("\"{}\" is not a variable's name: use letters, digits and '_', no "
                                               "digit first",
                                               item.name().substr(0, 100)));
    }
    if (!names.insert(item.name()).second)
      return invalid(at + ".name", fmt::format("\"{}\" is given twice", item.name()));
    if (const Status status = check_text(at + ".value", item.value()); !status) return status.error();
    variables.push_back({item.name(), item.value()});
  }
  return variables;
}

Result<std::vector<SealedValue>> secrets_from_proto(const std::string& field,
                                                    const google::protobuf::RepeatedPtrField<v1::NamedValue>& message,
                                                    const std::vector<NamedValue>& environment) {
  const auto variables = variables_from_proto(field, message);
  if (!variables) return variables.error();
  std::vector<SealedValue> secrets;
  for (const NamedValue& variable : *variables) {
    const std::string at = fmt::format("{}[{}]", field, secrets.size());
    if (variable.value.empty()) {
      return invalid(at + ".value", fmt::format("of {} is empty: answers never have values, so a job that was shown "
                                                "cannot be submitted again as it is; give the value, or use a re-run",
                                                variable.name));
    }
    if (std::any_of(environment.begin(), environment.end(),
                    [&](const NamedValue& other) { return other.name == variable.name; })) {
      return invalid(at + ".name", fmt::format("\"{}\" is in environmentVariables too", variable.name));
    }
    secrets.push_back({variable.name, {}});
  }
  return secrets;
}

void to_proto(const std::vector<SealedValue>& secrets, google::protobuf::RepeatedPtrField<v1::NamedValue>& message) {
  for (const SealedValue& secret : secrets) message.Add()->set_name(secret.name);
}

namespace {

Status environment_from_proto(const v1::JobSpec& message, JobSpec& spec) {
  auto variables = variables_from_proto("environmentVariables", message.environment_variables());
  if (!variables) return variables.error();
  spec.environment = std::move(variables).value();
  auto secrets = secrets_from_proto("secrets", message.secrets(), spec.environment);
  if (!secrets) return secrets.error();
  spec.secrets = std::move(secrets).value();
  return {};
}

// ---- Recovery ----

Status recovery_from_proto(const v1::Recovery& message, Recovery& recovery) {
  using M = v1::Recovery;
  if (!M::OnNodeLoss_IsValid(message.on_node_loss())) return invalid("recovery.onNodeLoss", "is not known");
  if (!M::RerunAfter_IsValid(message.rerun_after())) return invalid("recovery.rerunAfter", "is not known");
  recovery.on_node_loss = message.on_node_loss() == M::ON_NODE_LOSS_FAIL ? OnNodeLoss::fail : OnNodeLoss::requeue;
  recovery.rerun_after =
      message.rerun_after() == M::RERUN_AFTER_GANG_BROKEN ? RerunAfter::gang_broken : RerunAfter::fenced;
  if (message.has_max_requeues()) recovery.max_requeues = message.max_requeues();
  if (message.lease_forever() && message.has_lease()) {
    return invalid("recovery.lease", "is given together with leaseForever: give one of them");
  }
  if (message.lease_forever()) recovery.lease_ms = kForever;
  if (message.has_lease()) {
    const auto lease = duration("recovery.lease", message.lease(), false);
    if (!lease) return lease.error();
    recovery.lease_ms = *lease;
  }
  if (message.has_gang_abort_after()) {
    const auto after = duration("recovery.gangAbortAfter", message.gang_abort_after(), false);
    if (!after) return after.error();
    recovery.gang_abort_after_ms = *after;
  }
  if (message.has_grace()) {
    const auto grace = duration("recovery.grace", message.grace(), true);
    if (!grace) return grace.error();
    recovery.grace_ms = *grace;
  }
  if (message.has_notice()) {
    const auto notice = duration("recovery.notice", message.notice(), true);
    if (!notice) return notice.error();
    recovery.notice_ms = *notice;
  }
  return {};
}

Status scalars_from_proto(const v1::JobSpec& message, JobSpec& spec) {
  if (message.node_count() < 1) {
    return invalid("nodeCount", fmt::format("must be at least 1, got {}", message.node_count()));
  }
  if (message.node_count() > kMaxNodes) {
    return invalid("nodeCount", fmt::format("must be at most {}, got {}", kMaxNodes, message.node_count()));
  }
  spec.node_count = static_cast<std::uint32_t>(message.node_count());
  if (message.gpus_per_node() < 0 || message.gpus_per_node() > kMaxGpusPerNode) {
    return invalid("resources.gpusPerNode",
                   fmt::format("must be 0 (whole nodes) to {}, got {}", kMaxGpusPerNode, message.gpus_per_node()));
  }
  spec.gpus_per_node = static_cast<std::uint32_t>(message.gpus_per_node());
  if (message.min_node_count() < 0 || message.min_node_count() > message.node_count()) {
    return invalid("resources.minNodes", fmt::format("must be from 1 to the {} nodes, or 0: all of them; got {}",
                                                     message.node_count(), message.min_node_count()));
  }
  spec.min_node_count = static_cast<std::uint32_t>(message.min_node_count());
  if (const Status status = topology_from_proto(message, spec); !status) return status;
  if (message.std_out_err_path_prefix().empty()) return invalid("stdOutErrPathPrefix", "is missing");
  const std::pair<const char*, const std::string*> texts[] = {
      {"stdOutErrPathPrefix", &message.std_out_err_path_prefix()},
      {"jobPreparation.commandLine", &message.job_preparation_command_line()}};
  for (const auto& [field, text] : texts) {
    if (const Status status = check_text(field, *text); !status) return status;
  }
  spec.std_out_err_path_prefix = message.std_out_err_path_prefix();
  spec.preparation_command_line = message.job_preparation_command_line();
  if (message.has_max_wall_clock_time()) {
    const auto limit = duration("constraints.maxWallClockTime", message.max_wall_clock_time(), false);
    if (!limit) return limit.error();
    spec.max_wall_clock_ms = *limit;
  }
  if (message.has_min_wall_clock_time()) {
    const auto least = duration("constraints.minWallClockTime", message.min_wall_clock_time(), false);
    if (!least) return least.error();
    if (*least > spec.max_wall_clock_ms) {
      return invalid("constraints.minWallClockTime", "is more than constraints.maxWallClockTime");
    }
    spec.min_wall_clock_ms = *least;
  }
  const auto priority = priority_from_proto(message.scheduling_priority());
  if (!priority) return priority.error();
  spec.priority = *priority;
  return {};
}

void recovery_to_proto(const Recovery& recovery, v1::Recovery& message) {
  using M = v1::Recovery;
  message.set_on_node_loss(recovery.on_node_loss == OnNodeLoss::fail ? M::ON_NODE_LOSS_FAIL : M::ON_NODE_LOSS_REQUEUE);
  message.set_max_requeues(recovery.max_requeues);
  message.set_rerun_after(recovery.rerun_after == RerunAfter::gang_broken ? M::RERUN_AFTER_GANG_BROKEN
                                                                          : M::RERUN_AFTER_FENCED);
  if (recovery.lease_ms == kForever) {
    message.set_lease_forever(true);
  } else {
    set_duration(recovery.lease_ms, *message.mutable_lease());
  }
  if (recovery.gang_abort_after_ms >= 0)
    set_duration(recovery.gang_abort_after_ms, *message.mutable_gang_abort_after());
  set_duration(recovery.grace_ms, *message.mutable_grace());
  set_duration(recovery.notice_ms, *message.mutable_notice());
}

void mounts_to_proto(const JobSpec& spec, v1::JobSpec& message) {
  for (const FileShareMount& mount : spec.file_shares) to_proto(mount, *message.add_azure_file_shares());
  for (const BlobMount& mount : spec.blob_file_systems) {
    auto& out = *message.add_azure_blob_file_systems();
    out.set_account_name(mount.account_name);
    out.set_container_name(mount.container_name);
    out.set_relative_mount_path(mount.relative_mount_path);
    out.set_mount_options(mount.mount_options);
  }
  more_mounts_to_proto(spec, message);
}

void directories_to_proto(const JobSpec& spec, v1::JobSpec& message) {
  for (const InputDirectory& directory : spec.input_directories) {
    auto& out = *message.add_input_directories();
    out.set_id(directory.id);
    out.set_path(directory.path);
  }
  for (const OutputDirectory& directory : spec.output_directories) {
    auto& out = *message.add_output_directories();
    out.set_id(directory.id);
    out.set_path_prefix(directory.path_prefix);
    out.set_path_suffix(directory.path_suffix);
  }
  for (const NamedValue& variable : spec.environment) {
    auto& out = *message.add_environment_variables();
    out.set_name(variable.name);
    out.set_value(variable.value);
  }
}

// "group/workspace/cluster" as an ARM id; anything else (of an older row) as it is.
std::string cluster_id(const std::string& path) {
  const auto parts = split(path, '/');
  if (parts.size() != 3) return path;
  return arm_id(core::ClusterRef{std::string(parts[0]), std::string(parts[1]), std::string(parts[2])});
}

}  // namespace

Result<Priority> priority_from_proto(v1::Priority priority) {
  switch (priority) {
    case v1::PRIORITY_UNSPECIFIED:
    case v1::PRIORITY_NORMAL:
      return Priority::normal;
    case v1::PRIORITY_LOW:
      return Priority::low;
    case v1::PRIORITY_HIGH:
      return Priority::high;
    default:
      return invalid("schedulingPriority", "is not known: use low, normal or high");
  }
}

v1::Priority to_proto(Priority priority) {
  return priority < Priority::normal  ? v1::PRIORITY_LOW
         : priority >= Priority::high ? v1::PRIORITY_HIGH
                                      : v1::PRIORITY_NORMAL;
}

Result<JobSubmission> from_proto(const v1::JobSpec& message, const core::WorkspaceRef& home) {
  JobSubmission job;
  auto cluster = parse_cluster("properties.cluster", message.cluster(), home);
  if (!cluster) return cluster.error();
  job.cluster = std::move(cluster).value();
  if (const Status status = scalars_from_proto(message, job.spec); !status) return status.error();
  if (const Status status = toolkit_from_proto(message, job.spec); !status) return status.error();
  if (const Status status = container_from_proto(message, job.spec); !status) return status.error();
  if (const Status status = mounts_from_proto(message, home, job.spec); !status) return status.error();
  if (const Status status = directories_from_proto(message, job.spec); !status) return status.error();
  if (const Status status = environment_from_proto(message, job.spec); !status) return status.error();
  if (const Status status = recovery_from_proto(message.recovery(), job.spec.recovery); !status) return status.error();
  if (const Status status = dependencies_from_proto(message, job.dependencies); !status) return status.error();
  return job;
}

void to_proto(const JobSpec& spec, const std::string& cluster_path, v1::JobSpec& message) {
  message.set_cluster(cluster_id(cluster_path));
  message.set_node_count(static_cast<std::int32_t>(spec.node_count));
  message.set_gpus_per_node(static_cast<std::int32_t>(spec.gpus_per_node));
  message.set_min_node_count(static_cast<std::int32_t>(spec.min_node_count));
  if (!spec.topology.none()) to_proto(spec.topology, *message.mutable_topology());
  if (spec.min_wall_clock_ms != 0) set_duration(spec.min_wall_clock_ms, *message.mutable_min_wall_clock_time());
  toolkit_to_proto(spec, message);
  message.set_std_out_err_path_prefix(spec.std_out_err_path_prefix);
  message.set_job_preparation_command_line(spec.preparation_command_line);
  message.set_image(spec.image);
  message.set_image_server_url(spec.container.server_url);
  message.set_image_user_name(spec.container.user_name);
  message.set_shm_size(spec.container.shm_size);
  mounts_to_proto(spec, message);
  directories_to_proto(spec, message);
  set_duration(spec.max_wall_clock_ms, *message.mutable_max_wall_clock_time());
  message.set_scheduling_priority(to_proto(spec.priority));
  recovery_to_proto(spec.recovery, *message.mutable_recovery());
  to_proto(spec.secrets, *message.mutable_secrets());
}

}  // namespace trainyard
