#include "batchai/cluster_file.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>

#include "batchai/json_fields.h"
#include "batchai/mount_fields.h"
#include "batchai/secret_fields.h"

namespace trainyard::batchai {
namespace {

using google::protobuf::util::TimeUtil;
using Need = Fields::Need;

Error usage(const std::string& message) {
  return {Code::invalid_argument, message};
}

void read_scale(Fields scale, v1::ClusterSpec& spec, bool& has_scale) {
  if (scale.has("manual") && scale.has("autoScale")) scale.fail("", "has manual and autoScale: give one of them");
  has_scale = scale.has("manual") || scale.has("autoScale");
  Fields manual = scale.object("manual");
  if (const auto target = manual.whole("targetNodeCount", 0, scale.has("manual") ? Need::required : Need::optional)) {
    spec.set_target_node_count(*target);
  }
  spec.set_node_deallocation_option(
      manual.one_of("nodeDeallocationOption",
                    {{"requeue", v1::DEALLOCATION_OPTION_REQUEUE},
                     {"terminate", v1::DEALLOCATION_OPTION_TERMINATE},
                     {"waitforjobcompletion", v1::DEALLOCATION_OPTION_WAIT_FOR_JOB_COMPLETION}},
                    v1::DEALLOCATION_OPTION_UNSPECIFIED));
  manual.finish();
  if (scale.has("autoScale")) {
    Fields automatic = scale.object("autoScale");
    v1::AutoScaleSettings& out = *spec.mutable_auto_scale();
    out.set_minimum_node_count(automatic.whole("minimumNodeCount", 0, Need::required).value_or(0));
    out.set_maximum_node_count(automatic.whole("maximumNodeCount", 0, Need::required).value_or(0));
    out.set_initial_node_count(automatic.whole("initialNodeCount", 0).value_or(0));
    if (const auto idle = automatic.duration("idleTimeBeforeScaleDown")) {
      *out.mutable_idle_time_before_scale_down() = TimeUtil::MillisecondsToDuration(*idle);
    }
    automatic.finish();
  }
  scale.object("autoScale");
  scale.finish();
}

void read_task(Fields task, v1::SetupTask& out) {
  out.set_command_line(task.text("commandLine", Need::required));
  out.set_std_out_err_path_prefix(task.text("stdOutErrPathPrefix", Need::required));
  if (const auto limit = task.duration("timeLimit")) {
    *out.mutable_time_limit() = TimeUtil::MillisecondsToDuration(*limit);
  }
  task.each("environmentVariables", [&](Fields& variable) {
    v1::NamedValue& named = *out.add_environment_variables();
    named.set_name(variable.text("name", Need::required));
    named.set_value(variable.text("value"));
    if (!variable.has("value")) variable.fail("value", "is missing");
  });
  read_secrets(task, *out.mutable_secrets());
  task.drop({"stdOutErrPathSuffix"}, "the controller makes it");
  task.drop({"runElevated"}, "the task always runs as root");
  task.finish();
}

void read_node_setup(Fields setup, const StorageAccount& account, v1::NodeSetup& out) {
  if (setup.has("setupTask")) read_task(setup.object("setupTask"), *out.mutable_setup_task());
  setup.object("setupTask");
  read_mounts(setup.object("mountVolumes"), account, mounts_of(out));
  setup.drop({"performanceCountersSettings"},
             "there is no Application Insights on-prem; counters of every node are always kept, see `trainyard node "
             "counters` and "
             "`trainyard cluster counters`");
  setup.finish();
}

void read_file(const nlohmann::json& parsed, const StorageAccount& account, v1::ClusterSpec& spec, bool& has_scale,
               FirstError& error, std::vector<std::string>& warnings) {
  Fields top(&parsed, "", error, &warnings);
  Fields properties = top.object("properties", Need::required);
  top.drop({"location", "tags"}, "only a workspace has it");
  top.finish();
  spec.set_vm_size(properties.text("vmSize"));
  spec.set_vm_priority(properties.one_of(
      "vmPriority", {{"dedicated", v1::VM_PRIORITY_DEDICATED}, {"lowpriority", v1::VM_PRIORITY_LOWPRIORITY}},
      v1::VM_PRIORITY_DEDICATED));
  read_scale(properties.object("scaleSettings"), spec, has_scale);
  Fields account_settings = properties.object("userAccountSettings");
  spec.set_admin_user_name(account_settings.text("adminUserName"));
  spec.set_admin_user_ssh_public_key(account_settings.text("adminUserSshPublicKey"));
  account_settings.drop({"adminUserPassword"}, "no account is made on nodes, and it is sent nowhere");
  account_settings.finish();
  if (properties.has("nodeSetup")) {
    read_node_setup(properties.object("nodeSetup"), account, *spec.mutable_node_setup());
  }
  properties.object("nodeSetup");
  Fields machine = properties.object("virtualMachineConfiguration");
  Fields image = machine.object("imageReference");
  if (image.has("virtualMachineImageId")) {
    image.refuse("virtualMachineImageId", "the nodes' system is the operator's; install what is needed in a setupTask");
  }
  image.text("virtualMachineImageId");
  image.drop({"publisher", "offer", "sku", "version"}, "the nodes' system is the operator's");
  image.finish();
  machine.finish();
  properties.drop({"subnet"}, "the nodes' network is the operator's");
  properties.finish();
}

// --target, --min and --max, in Batch AI's way: an equal minimum and maximum is a manual target.
std::optional<Error> scale_flags(const ClusterFlags& flags, v1::ClusterSpec& spec, bool& has_scale) {
  if (flags.minimum.has_value() != flags.maximum.has_value()) return usage("--min and --max: give both or none");
  if (flags.target && *flags.target < 0) return usage("--target: must be at least 0");
  if (flags.idle_seconds && !flags.minimum && !spec.has_auto_scale()) {
    return usage("--idle-seconds-before-scaledown: needs --min and --max");
  }
  if (!flags.minimum && !flags.target) {
    if (flags.idle_seconds) {
      auto scale = make_auto_scale(spec.auto_scale().minimum_node_count(), spec.auto_scale().maximum_node_count(),
                                   flags.idle_seconds);
      if (!scale) return scale.error();
      *spec.mutable_auto_scale()->mutable_idle_time_before_scale_down() = scale->idle_time_before_scale_down();
    }
    return std::nullopt;
  }
  has_scale = true;
  if (flags.minimum && *flags.minimum != *flags.maximum) {
    auto scale = make_auto_scale(*flags.minimum, *flags.maximum, flags.idle_seconds);
    if (!scale) return scale.error();
    if (flags.target.value_or(0) > *flags.maximum) return usage("--target: is more than --max");
    spec.set_target_node_count(0);
    spec.set_node_deallocation_option(v1::DEALLOCATION_OPTION_UNSPECIFIED);
    *spec.mutable_auto_scale() = *scale;
    spec.mutable_auto_scale()->set_initial_node_count(flags.target.value_or(0));
    return std::nullopt;
  }
  if (flags.minimum && *flags.minimum < 0) return usage("--min: must be at least 0");
  spec.clear_auto_scale();
  spec.set_target_node_count(flags.minimum ? *flags.minimum : *flags.target);
  return std::nullopt;
}

std::optional<Error> setup_flags(const ClusterFlags& flags, v1::ClusterSpec& spec) {
  if (flags.setup_task.empty() != flags.setup_task_output.empty()) {
    return usage("--setup-task and --setup-task-output: give both or none");
  }
  if (!flags.setup_task.empty()) {
    v1::SetupTask& task = *spec.mutable_node_setup()->mutable_setup_task();
    task.set_command_line(flags.setup_task);
    task.set_std_out_err_path_prefix(flags.setup_task_output);
  }
  const MountFlags mounts{flags.afs_name, flags.afs_mount_path, flags.bfs_name, flags.bfs_mount_path,
                          flags.nfs,      flags.nfs_mount_path};
  // The set-up is made only when there is something to say.
  if (mounts.empty()) return std::nullopt;
  return add_mounts(mounts, {flags.storage_account_name, flags.storage_account_key},
                    mounts_of(*spec.mutable_node_setup()));
}

std::optional<Error> priority_flag(const ClusterFlags& flags, v1::ClusterSpec& spec) {
  if (flags.vm_priority.empty()) return std::nullopt;
  if (Fields::same_word(flags.vm_priority, "dedicated")) {
    spec.set_vm_priority(v1::VM_PRIORITY_DEDICATED);
  } else if (Fields::same_word(flags.vm_priority, "lowpriority")) {
    spec.set_vm_priority(v1::VM_PRIORITY_LOWPRIORITY);
  } else {
    return usage("--vm-priority: must be dedicated or lowpriority, got \"" + flags.vm_priority + "\"");
  }
  return std::nullopt;
}

}  // namespace

Result<v1::ClusterSpec> make_cluster_spec(const std::string& text, const std::string& file_name,
                                          const ClusterFlags& flags, std::vector<std::string>& warnings) {
  v1::ClusterSpec spec;
  spec.set_vm_priority(v1::VM_PRIORITY_DEDICATED);
  bool has_scale = false;
  if (!text.empty()) {
    const auto parsed = parse_file(text, file_name);
    if (!parsed) return parsed.error();
    FirstError error;
    read_file(*parsed, {flags.storage_account_name, flags.storage_account_key}, spec, has_scale, error, warnings);
    if (error) return Error{error->code, error->message};
  }
  if (const auto error = priority_flag(flags, spec)) return *error;
  if (!flags.vm_size.empty()) spec.set_vm_size(flags.vm_size);
  if (spec.vm_size().empty()) {
    return usage(
        "no VM size: give --vm-size SIZE (`trainyard node list -o table` shows the sizes there are), or "
        "properties.vmSize in a --config-file");
  }
  if (const auto error = scale_flags(flags, spec, has_scale)) return *error;
  if (!has_scale) {
    return usage(
        "no scale settings: give --target COUNT, or --min and --max, or properties.scaleSettings in a --config-file");
  }
  if (const auto error = setup_flags(flags, spec)) return *error;
  if (!flags.user_name.empty()) spec.set_admin_user_name(flags.user_name);
  if (!flags.ssh_public_key.empty()) spec.set_admin_user_ssh_public_key(flags.ssh_public_key);
  return spec;
}

Result<v1::AutoScaleSettings> make_auto_scale(std::int32_t minimum, std::int32_t maximum,
                                              std::optional<std::int32_t> idle_seconds) {
  if (minimum < 0) return usage("--min: must be at least 0");
  if (maximum < minimum) return usage("--max: must be at least --min");
  if (idle_seconds && *idle_seconds < 1) return usage("--idle-seconds-before-scaledown: must be at least 1");
  v1::AutoScaleSettings scale;
  scale.set_minimum_node_count(minimum);
  scale.set_maximum_node_count(maximum);
  if (idle_seconds) scale.mutable_idle_time_before_scale_down()->set_seconds(*idle_seconds);
  return scale;
}

std::optional<v1::DeallocationOption> deallocation_option_named(const std::string& name) {
  if (name.empty()) return v1::DEALLOCATION_OPTION_UNSPECIFIED;
  if (Fields::same_word(name, "requeue")) return v1::DEALLOCATION_OPTION_REQUEUE;
  if (Fields::same_word(name, "terminate")) return v1::DEALLOCATION_OPTION_TERMINATE;
  if (Fields::same_word(name, "waitforjobcompletion")) return v1::DEALLOCATION_OPTION_WAIT_FOR_JOB_COMPLETION;
  return std::nullopt;
}

bool is_image_alias(const std::string& text) {
  if (Fields::same_word(text, "UbuntuLTS") || Fields::same_word(text, "UbuntuDSVM")) return true;
  return std::count(text.begin(), text.end(), ':') == 3 && text.find("::") == std::string::npos &&
         text.front() != ':' && text.back() != ':';
}

}  // namespace trainyard::batchai
