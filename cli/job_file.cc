#include "cli/job_file.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include <vector>

#include "cli/json_fields.h"

namespace trainyard::cli {
namespace {

using google::protobuf::util::TimeUtil;
using Need = Fields::Need;

constexpr const char* kAccountPlaceholder = "<AZURE_BATCHAI_STORAGE_ACCOUNT>";
constexpr const char* kKeyPlaceholder = "<AZURE_BATCHAI_STORAGE_KEY>";
constexpr const char* kToolkits[] = {"horovodSettings", "customMpiSettings", "customToolkitSettings"};

// A placeholder in an account's name or address, filled in from the command line.
std::string with_account(Fields& share, const char* key, Need need, const JobFileOptions& options) {
  std::string text = share.text(key, need);
  for (std::size_t at = text.find(kAccountPlaceholder); at != std::string::npos; at = text.find(kAccountPlaceholder)) {
    if (options.storage_account_name.empty()) {
      share.fail(key, fmt::format("contains {}: give --storage-account-name, or set AZURE_BATCHAI_STORAGE_ACCOUNT",
                                  kAccountPlaceholder));
      return text;
    }
    text.replace(at, std::string(kAccountPlaceholder).size(), options.storage_account_name);
  }
  return text;
}

// Keys are not needed here, so a real one has no business in the file: better said than dropped silently.
void read_credentials(Fields& share) {
  Fields credentials = share.object("credentials");
  const std::string key = credentials.text("accountKey");
  if (!key.empty() && key != kKeyPlaceholder) {
    credentials.refuse("accountKey", "the operator's storage table gives access; remove the key");
  }
  credentials.finish();
}

void read_mounts(Fields& properties, const JobFileOptions& options, v1::JobSpec& spec) {
  Fields mounts = properties.object("mountVolumes");
  mounts.each("azureFileShares", [&](Fields& share) {
    v1::AzureFileShare* out = spec.add_azure_file_shares();
    out->set_account_name(with_account(share, "accountName", Need::optional, options));
    out->set_azure_file_url(with_account(share, "azureFileUrl", Need::required, options));
    out->set_relative_mount_path(share.text("relativeMountPath", Need::required));
    out->set_file_mode(share.text("fileMode"));
    out->set_directory_mode(share.text("directoryMode"));
    read_credentials(share);
  });
  mounts.finish();
}

void read_process_count(Fields& settings, v1::JobSpec& spec) {
  if (const auto count = settings.whole("processCount", 1)) spec.set_process_count(*count);
}

void read_toolkit(Fields& properties, v1::JobSpec& spec) {
  if (properties.has("horovodSettings")) {
    Fields settings = properties.object("horovodSettings");
    spec.set_toolkit(v1::TOOLKIT_HOROVOD);
    spec.set_python_script_file_path(settings.text("pythonScriptFilePath", Need::required));
    spec.set_python_interpreter_path(settings.text("pythonInterpreterPath"));
    spec.set_command_line_args(settings.text("commandLineArgs"));
    read_process_count(settings, spec);
    settings.finish();
  }
  if (properties.has("customMpiSettings")) {
    Fields settings = properties.object("customMpiSettings");
    spec.set_toolkit(v1::TOOLKIT_CUSTOM_MPI);
    spec.set_command_line(settings.text("commandLine", Need::required));
    read_process_count(settings, spec);
    settings.finish();
  }
  if (properties.has("customToolkitSettings")) {
    Fields settings = properties.object("customToolkitSettings");
    spec.set_toolkit(v1::TOOLKIT_CUSTOM);
    spec.set_command_line(settings.text("commandLine", Need::required));
    settings.finish();
  }
}

// After the unsupported fields were refused, so that "pyTorchSettings" is named rather than "no toolkit".
void check_one_toolkit(Fields& properties) {
  std::string given;
  int count = 0;
  for (const char* key : kToolkits) {
    if (!properties.has(key)) continue;
    ++count;
    given += (given.empty() ? "" : " and ") + std::string(key);
  }
  if (count == 0) {
    properties.fail("", "has no toolkit: give one of horovodSettings, customMpiSettings, customToolkitSettings");
  } else if (count > 1) {
    properties.fail("", "has more than one toolkit (" + given + "): a job has exactly one");
  }
}

void read_directories(Fields& properties, v1::JobSpec& spec) {
  properties.each("inputDirectories", [&](Fields& directory) {
    v1::InputDirectory* out = spec.add_input_directories();
    out->set_id(directory.text("id", Need::required));
    out->set_path(directory.text("path", Need::required));
  });
  properties.each("outputDirectories", [&](Fields& directory) {
    v1::OutputDirectory* out = spec.add_output_directories();
    out->set_id(directory.text("id", Need::required));
    out->set_path_prefix(directory.text("pathPrefix", Need::required));
    out->set_path_suffix(directory.text("pathSuffix"));
  });
  properties.each("environmentVariables", [&](Fields& variable) {
    v1::NamedValue* out = spec.add_environment_variables();
    out->set_name(variable.text("name", Need::required));
    out->set_value(variable.text("value"));
    if (!variable.has("value")) variable.fail("value", "is missing");
  });
}

void set_duration(google::protobuf::Duration* out, DurationMs duration) {
  *out = TimeUtil::MillisecondsToDuration(duration);
}

void read_recovery(Fields& properties, v1::JobSpec& spec) {
  if (!properties.has("recovery")) {
    properties.object("recovery");
    return;
  }
  Fields recovery = properties.object("recovery");
  v1::Recovery* out = spec.mutable_recovery();
  out->set_on_node_loss(recovery.one_of(
      "onNodeLoss", {{"requeue", v1::Recovery::ON_NODE_LOSS_REQUEUE}, {"fail", v1::Recovery::ON_NODE_LOSS_FAIL}},
      v1::Recovery::ON_NODE_LOSS_UNSPECIFIED));
  if (const auto most = recovery.whole("maxRequeues", 0)) out->set_max_requeues(static_cast<std::uint32_t>(*most));
  out->set_rerun_after(recovery.one_of(
      "rerunAfter",
      {{"fenced", v1::Recovery::RERUN_AFTER_FENCED}, {"gangBroken", v1::Recovery::RERUN_AFTER_GANG_BROKEN}},
      v1::Recovery::RERUN_AFTER_UNSPECIFIED));
  if (Fields::same_word(recovery.has("lease") ? recovery.text("lease") : "", "forever")) {
    out->set_lease_forever(true);
  } else if (const auto lease = recovery.duration("lease")) {
    set_duration(out->mutable_lease(), *lease);
  }
  if (const auto after = recovery.duration("gangAbortAfter")) set_duration(out->mutable_gang_abort_after(), *after);
  if (const auto grace = recovery.duration("grace")) set_duration(out->mutable_grace(), *grace);
  recovery.finish();
}

// containerSettings, jobPreparation, constraints, cluster: objects of which one field counts so far.
void read_single_fields(Fields& properties, const JobFileOptions& options, v1::JobSpec& spec) {
  if (properties.has("containerSettings")) {
    Fields container = properties.object("containerSettings");
    Fields registry = container.object("imageSourceRegistry", Need::required);
    spec.set_image(registry.text("image", Need::required));
    registry.finish();
    container.finish();
  }
  if (properties.has("jobPreparation")) {
    Fields preparation = properties.object("jobPreparation");
    spec.set_job_preparation_command_line(preparation.text("commandLine", Need::required));
    preparation.finish();
  }
  Fields constraints = properties.object("constraints");
  if (const auto limit = constraints.duration("maxWallClockTime")) {
    set_duration(spec.mutable_max_wall_clock_time(), *limit);
  }
  constraints.finish();
  Fields cluster = properties.object("cluster");
  spec.set_cluster(cluster.text("id"));
  cluster.finish();
  if (!options.cluster.empty()) spec.set_cluster(options.cluster);
  spec.set_scheduling_priority(properties.one_of(
      "schedulingPriority", {{"low", v1::PRIORITY_LOW}, {"normal", v1::PRIORITY_NORMAL}, {"high", v1::PRIORITY_HIGH}},
      v1::PRIORITY_UNSPECIFIED));
}

}  // namespace

Result<v1::JobSpec> read_job_file(const std::string& text, const JobFileOptions& options) {
  const auto parsed = parse_file(text, options.file_name);
  if (!parsed) return parsed.error();
  FirstError error;
  Fields top(&*parsed, "", error);
  if (!top.has("properties"))
    top.fail("properties", "is missing: a job file is {\"properties\": {\"nodeCount\": ...}}");
  Fields properties = top.object("properties");
  top.finish();

  v1::JobSpec spec;
  if (const auto count = properties.whole("nodeCount", 1, Need::required)) spec.set_node_count(*count);
  for (const char* key : kToolkits) properties.object(key);
  read_toolkit(properties, spec);
  spec.set_std_out_err_path_prefix(properties.text("stdOutErrPathPrefix", Need::required));
  read_mounts(properties, options, spec);
  read_single_fields(properties, options, spec);
  read_directories(properties, spec);
  read_recovery(properties, spec);
  properties.finish();
  check_one_toolkit(properties);
  if (!error && spec.cluster().empty()) {
    error = Error{Code::invalid_argument,
                  "no cluster: give --cluster NAME, or properties.cluster.id in " + options.file_name};
  }
  if (error) return Error{error->code, error->message};
  return spec;
}

}  // namespace trainyard::cli
