#include "storage/row_json.h"

#include <algorithm>
#include <array>
#include <utility>

#include "common/model_json.h"
#include "storage/json_parts.h"

namespace trainyard::storage {

namespace {

using nlohmann::json;

template <class T>
struct Names;  // in the order of the enum

template <>
struct Names<core::JobState> {
  static constexpr std::array all{"queued", "preparing", "starting", "running", "stopping", "succeeded", "failed"};
};
template <>
struct Names<core::Verdict> {
  static constexpr std::array all{"none", "success", "failure", "cancel", "requeue"};
};
template <>
struct Names<core::NodeState> {
  static constexpr std::array all{"unassigned", "preparing", "idle", "running", "leaving", "unusable"};
};
template <>
struct Names<core::VmPriority> {
  static constexpr std::array all{"dedicated", "lowpriority"};
};
template <>
struct Names<core::DeallocationOption> {
  static constexpr std::array all{"requeue", "terminate", "waitforjobcompletion"};
};
template <>
struct Names<core::After> {
  static constexpr std::array all{"afterOk", "afterAny", "afterNotOk"};
};
template <>
struct Names<core::Provisioning> {
  static constexpr std::array all{"creating", "succeeded", "failed", "deleting"};
};
template <>
struct Names<core::ArrayState> {
  static constexpr std::array all{"running", "succeeded", "failed", "terminated"};
};
template <>
struct Names<core::Work> {
  static constexpr std::array all{"kept", "lost", "requeued"};
};

template <class T>
const char* name_in(T value) {
  const auto index = static_cast<std::size_t>(value);
  TY_CHECK(index < Names<T>::all.size());
  return Names<T>::all[index];
}

template <class T>
bool value_of(std::string_view name, T& into) {
  for (std::size_t index = 0; index < Names<T>::all.size(); ++index) {
    if (name == Names<T>::all[index]) {
      into = static_cast<T>(index);
      return true;
    }
  }
  return false;
}

// One JSON object, written straight to text. A submit spends most of its time in the store; building a json value of
// the spec first was half of that.
class TextWriter {
 public:
  void text(const char* key, const std::string& value) {
    begin(key);
    const bool plain =
        std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; });
    if (plain) {
      x_text.append(1, '"').append(value).append(1, '"');
    } else {
      x_text += dump(value);
    }
  }
  void number(const char* key, std::int64_t value) {
    begin(key);
    x_text += std::to_string(value);
  }
  // A member that is mostly at its default is left out then: readers keep their default.
  template <class T>
  void value(const char* key, const T& value, const T& usual) {
    if (!(value == usual)) verbatim(key, dump(json(value)));
  }
  void verbatim(const char* key, const std::string& json_text) {
    begin(key);
    x_text += json_text;
  }
  std::string take() {
    x_text += x_text.empty() ? "{}" : "}";
    return std::move(x_text);
  }

 private:
  void begin(const char* key) { x_text.append(x_text.empty() ? "{\"" : ",\"").append(key).append("\":"); }
  std::string x_text;
};

// What most jobs leave at its default.
void add_toolkit_members(TextWriter& out, const JobSpec& spec) {
  const std::string none;
  out.value("configFilePath", spec.config_file_path, none);
  out.value("processesPerNode", spec.processes_per_node, 0U);
  if (spec.toolkit == Toolkit::py_torch) out.text("communicationBackend", name_of(spec.communication_backend));
  if (spec.worker_count) out.number("workerCount", *spec.worker_count);
  if (spec.parameter_server_count) out.number("parameterServerCount", *spec.parameter_server_count);
  out.value("masterCommandLineArgs", spec.master_command_line_args, none);
  out.value("workerCommandLineArgs", spec.worker_command_line_args, none);
  out.value("parameterServerCommandLineArgs", spec.parameter_server_command_line_args, none);
}

// The same members as to_json of JobSpec (a test compares). Recovery is written in full: its defaults may change later,
// what was submitted under them must not.
std::string job_spec_json(const JobSpec& spec) {
  static const std::string kUsualRecovery = dump(json(Recovery{}));
  TextWriter out;
  out.number("nodeCount", spec.node_count);
  out.value("minNodeCount", spec.min_node_count, 0U);
  out.value("gpusPerNode", spec.gpus_per_node, 0U);
  out.text("toolkit", name_of(spec.toolkit));
  out.text("commandLine", spec.command_line);
  out.text("pythonScriptFilePath", spec.python_script_file_path);
  out.text("pythonInterpreterPath", spec.python_interpreter_path);
  out.text("commandLineArgs", spec.command_line_args);
  out.number("processCount", spec.process_count);
  out.text("stdOutErrPathPrefix", spec.std_out_err_path_prefix);
  out.text("preparationCommandLine", spec.preparation_command_line);
  out.text("image", spec.image);
  add_toolkit_members(out, spec);
  out.value("container", spec.container, {});
  out.value("fileShares", spec.file_shares, {});
  out.value("blobFileSystems", spec.blob_file_systems, {});
  out.value("inputDirectories", spec.input_directories, {});
  out.value("outputDirectories", spec.output_directories, {});
  out.value("environment", spec.environment, {});
  out.value("secrets", spec.secrets, {});
  out.value("credentials", spec.credentials, {});
  out.value("fileServerMounts", spec.file_server_mounts, {});
  out.value("unmanagedMounts", spec.unmanaged_mounts, {});
  out.number("maxWallClockMs", spec.max_wall_clock_ms);
  out.value("minWallClockMs", spec.min_wall_clock_ms, DurationMs{0});
  out.value("topology", spec.topology, {});
  out.text("priority", name_of(spec.priority));
  out.verbatim("recovery", spec.recovery == Recovery{} ? kUsualRecovery : dump(json(spec.recovery)));
  return out.take();
}

}  // namespace

const char* stored_name(core::JobState state) {
  return name_in(state);
}
const char* stored_name(core::Verdict verdict) {
  return name_in(verdict);
}
const char* stored_name(core::NodeState state) {
  return name_in(state);
}
const char* stored_name(core::VmPriority priority) {
  return name_in(priority);
}
const char* stored_name(core::DeallocationOption option) {
  return name_in(option);
}
const char* stored_name(core::Work work) {
  return name_in(work);
}
const char* stored_name(core::ArrayState state) {
  return name_in(state);
}
const char* stored_name(core::Provisioning state) {
  return name_in(state);
}
bool read_name(std::string_view name, core::JobState& into) {
  return value_of(name, into);
}
bool read_name(std::string_view name, core::Verdict& into) {
  return value_of(name, into);
}
bool read_name(std::string_view name, core::NodeState& into) {
  return value_of(name, into);
}
bool read_name(std::string_view name, core::VmPriority& into) {
  return value_of(name, into);
}
bool read_name(std::string_view name, core::DeallocationOption& into) {
  return value_of(name, into);
}
bool read_name(std::string_view name, core::Provisioning& into) {
  return value_of(name, into);
}
bool read_name(std::string_view name, core::Work& into) {
  return value_of(name, into);
}
bool read_name(std::string_view name, core::ArrayState& into) {
  return value_of(name, into);
}

std::string tags_text(const core::Tags& tags) {
  return tags.empty() ? "{}" : dump(tags);
}

Result<core::Tags> read_tags(const std::string& text) {
  core::Tags tags;
  if (Status status = parse(text, [&](const json& body) { body.get_to(tags); }); !status) return status.error();
  return tags;
}

std::string strings_text(const std::vector<std::string>& strings) {
  return strings.empty() ? "[]" : dump(strings);
}

Result<std::vector<std::string>> read_strings(const std::string& text) {
  std::vector<std::string> strings;
  if (Status status = parse(text, [&](const json& body) { body.get_to(strings); }); !status) return status.error();
  return strings;
}

std::string inventory_text(const Inventory& inventory) {
  return dump(inventory);
}

std::string file_server_body_text(const core::FileServer& row) {
  const core::FileServerSpec& spec = row.spec;
  json body{{"vmSize", spec.vm_size},
            {"diskSizeInGB", spec.disk_size_gb},
            {"diskCount", spec.disk_count},
            {"storageAccountType", spec.storage_account_type},
            {"cachingType", spec.caching_type},
            {"adminUserName", spec.admin_user_name},
            {"adminUserSshPublicKey", spec.admin_user_ssh_public_key}};
  if (row.state_changed_ms != 0) body["stateChangedMs"] = row.state_changed_ms;
  if (!row.node.empty()) {
    body["node"] = row.node;
    body["provisioningState"] = stored_name(row.state);
    body["port"] = row.port;
    if (!row.error.empty()) body["error"] = row.error;
  }
  return dump(body);
}

Status read_file_server_body(const std::string& text, core::FileServer& into) {
  return parse(text, [&](const json& body) {
    core::FileServerSpec& spec = into.spec;
    read(body, "vmSize", spec.vm_size);
    read(body, "diskSizeInGB", spec.disk_size_gb);
    read(body, "diskCount", spec.disk_count);
    read(body, "storageAccountType", spec.storage_account_type);
    read(body, "cachingType", spec.caching_type);
    read(body, "adminUserName", spec.admin_user_name);
    read(body, "adminUserSshPublicKey", spec.admin_user_ssh_public_key);
    read(body, "stateChangedMs", into.state_changed_ms);
    read(body, "node", into.node);
    read(body, "port", into.port);
    read(body, "error", into.error);
    std::string state = stored_name(into.state);
    read(body, "provisioningState", state);
    if (!read_name(state, into.state))
      throw json::other_error::create(501, "unknown provisioningState " + state, &body);
  });
}

std::string cluster_body_text(const core::Cluster& cluster) {
  TextWriter body;
  if (const auto& scale = cluster.spec.auto_scale) {
    body.verbatim("autoScale", dump({{"minimum", scale->minimum},
                                     {"maximum", scale->maximum},
                                     {"initial", scale->initial},
                                     {"idleBeforeScaleDownMs", scale->idle_before_scale_down_ms}}));
    body.number("autoTarget", cluster.auto_target);
  }
  body.value("nodeSetup", cluster.spec.node_setup, NodeSetup{});
  body.value("volumes", cluster.volumes, {});
  if (!cluster.setup_path_suffix.empty()) body.text("setupPathSuffix", cluster.setup_path_suffix);
  return body.take();
}

Status read_cluster_body(const std::string& text, core::Cluster& into) {
  return parse(text, [&](const json& body) {
    if (const auto scale = body.find("autoScale"); scale != body.end()) {
      core::AutoScale& out = into.spec.auto_scale.emplace();
      read(*scale, "minimum", out.minimum);
      read(*scale, "maximum", out.maximum);
      read(*scale, "initial", out.initial);
      read(*scale, "idleBeforeScaleDownMs", out.idle_before_scale_down_ms);
    }
    read(body, "autoTarget", into.auto_target);
    read(body, "nodeSetup", into.spec.node_setup);
    read(body, "volumes", into.volumes);
    read(body, "setupPathSuffix", into.setup_path_suffix);
  });
}

Result<std::vector<std::uint64_t>> read_numbers(const std::string& text) {
  std::vector<std::uint64_t> numbers;
  const Status read = parse(text, [&](const json& body) { body.get_to(numbers); });
  if (!read) return read.error();
  return numbers;
}

std::string workspace_body_text(const core::Workspace& workspace) {
  TextWriter body;
  if (const core::Quota& quota = workspace.quota; quota != core::Quota{}) {
    body.verbatim("quota", dump({{"limit", quota.limit}, {"guaranteed", quota.guaranteed}, {"weight", quota.weight}}));
  }
  return body.take();
}

Status read_workspace_body(const std::string& text, core::Workspace& into) {
  return parse(text, [&](const json& body) {
    const auto quota = body.find("quota");
    if (quota == body.end()) return;
    read(*quota, "limit", into.quota.limit);
    read(*quota, "guaranteed", into.quota.guaranteed);
    read(*quota, "weight", into.quota.weight);
  });
}

std::string node_body_text(const core::Node& node) {
  TextWriter body;
  if (node.setup_run != 0) body.number("setupRun", static_cast<std::int64_t>(node.setup_run));
  if (node.setup_failures != 0) body.number("setupFailures", node.setup_failures);
  if (node.setup_retry_ms != 0) body.number("setupRetryMs", node.setup_retry_ms);
  body.value("setupError", node.setup_error, NodeError{});
  if (const auto& drain = node.drain) {
    json mark{{"why", drain->why}, {"who", drain->who}, {"sinceMs", drain->since_ms}};
    if (drain->cordon) mark["cordon"] = true;
    body.verbatim("drain", dump(mark));
  }
  if (const auto& health = node.health) {
    body.verbatim("health", dump({{"atMs", health->at_ms},
                                  {"passed", health->passed},
                                  {"summary", health->summary},
                                  {"figures", health->figures}}));
  }
  return body.take();
}

Status read_node_body(const std::string& text, core::Node& into) {
  return parse(text, [&](const json& body) {
    read(body, "setupRun", into.setup_run);
    read(body, "setupFailures", into.setup_failures);
    read(body, "setupRetryMs", into.setup_retry_ms);
    read(body, "setupError", into.setup_error);
    if (const auto drain = body.find("drain"); drain != body.end()) {
      core::Drain& out = into.drain.emplace();
      read(*drain, "why", out.why);
      read(*drain, "who", out.who);
      read(*drain, "sinceMs", out.since_ms);
      read(*drain, "cordon", out.cordon);
    }
    if (const auto health = body.find("health"); health != body.end()) {
      core::NodeHealth& out = into.health.emplace();
      read(*health, "atMs", out.at_ms);
      read(*health, "passed", out.passed);
      read(*health, "summary", out.summary);
      read(*health, "figures", out.figures);
    }
  });
}

std::string job_spec_text(const core::Job& job) {
  TextWriter body;
  body.verbatim("spec", job_spec_json(job.spec ? *job.spec : JobSpec{}));
  body.value("mapping", job.mapping, ImageMapping{});
  body.value("volumes", job.volumes, {});
  body.value("warnings", job.warnings, {});
  body.value("rerunOf", job.rerun_of, std::string());
  body.value("runAs", job.run_as, RunAs{});
  body.value("owner", job.owner, std::string());
  return body.take();
}

Status read_job_spec(const std::string& text, core::Job& into) {
  return parse(text, [&](const json& body) {
    body.at("spec").get_ref<const json::object_t&>();  // throws when it is anything else
    into.spec = std::make_shared<const JobSpec>(body.at("spec").get<JobSpec>());
    read(body, "mapping", into.mapping);
    read(body, "volumes", into.volumes);
    read(body, "warnings", into.warnings);
    read(body, "rerunOf", into.rerun_of);
    read(body, "runAs", into.run_as);
    read(body, "owner", into.owner);
  });
}

json hold_json(const core::Hold& hold) {
  return {{"why", hold.why}, {"who", hold.who}, {"sinceMs", hold.since_ms}};
}

std::optional<core::Hold> hold_from(const json& body) {
  const auto found = body.find("hold");
  if (found == body.end()) return std::nullopt;
  core::Hold hold;
  read(*found, "why", hold.why);
  read(*found, "who", hold.who);
  read(*found, "sinceMs", hold.since_ms);
  return hold;
}

json dependencies_json(const std::vector<core::Dependency>& dependencies) {
  json list = json::array();
  for (const core::Dependency& one : dependencies) {
    list.push_back({{"job", one.job}, {"id", one.id.value}, {"after", name_in(one.after)}, {"met", one.met}});
    if (one.array) list.back()["array"] = one.array.value;
  }
  return list;
}

std::vector<core::Dependency> dependencies_from(const json& body) {
  std::vector<core::Dependency> dependencies;
  for (const json& one : body.value("dependencies", json::array())) {
    core::Dependency& out = dependencies.emplace_back();
    read(one, "job", out.job);
    read(one, "id", out.id.value);
    if (!value_of(one.at("after").get<std::string>(), out.after))
      throw json::other_error::create(501, "unknown condition", &one);
    read(one, "met", out.met);
    read(one, "array", out.array.value);
  }
  return dependencies;
}

std::string job_body_text(const core::Job& job) {
  if (job.errors.empty() && job.receipts.empty() && job.last_nodes.empty() && job.image_digest.empty() &&
      job.first_port == 0 && !job.new_priority && !job.hold && job.dependencies.empty() && !job.array &&
      !job.schedule) {
    return "{}";
  }
  json body{{"nodes", job.last_nodes}, {"errors", job.errors}, {"receipts", job.receipts}};
  if (!job.image_digest.empty()) body["imageDigest"] = job.image_digest;
  if (job.first_port != 0) body["firstPort"] = job.first_port;
  if (job.new_priority) body["priority"] = name_of(*job.new_priority);
  if (job.hold) body["hold"] = hold_json(*job.hold);
  if (!job.dependencies.empty()) body["dependencies"] = dependencies_json(job.dependencies);
  if (job.limit_ms != 0) body["limitMs"] = job.limit_ms;
  if (job.array) body["array"] = job.array.value, body["task"] = job.task;
  if (job.schedule) body["schedule"] = job.schedule.value, body["dueMs"] = job.due_ms;
  return dump(body);
}

Status read_job_body(const std::string& text, core::Job& into) {
  return parse(text, [&](const json& body) {
    read(body, "nodes", into.last_nodes);
    read(body, "errors", into.errors);
    read(body, "receipts", into.receipts);
    read(body, "imageDigest", into.image_digest);
    read(body, "firstPort", into.first_port);
    if (const auto priority = body.find("priority"); priority != body.end()) {
      into.new_priority = trainyard::priority_named(priority->get<std::string>());
    }
    into.hold = hold_from(body);
    into.dependencies = dependencies_from(body);
    read(body, "limitMs", into.limit_ms);
    read(body, "array", into.array.value);
    read(body, "task", into.task);
    read(body, "schedule", into.schedule.value);
    read(body, "dueMs", into.due_ms);
  });
}

}  // namespace trainyard::storage
