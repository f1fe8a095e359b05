#include "cli/cluster_file.h"

#include "cli/json_fields.h"

namespace trainyard::cli {
namespace {

using Need = Fields::Need;

void read_file(const nlohmann::json& parsed, v1::ClusterSpec& spec, bool& has_target, FirstError& error) {
  Fields top(&parsed, "", error);
  Fields properties = top.object("properties", Need::required);
  top.finish();
  spec.set_vm_size(properties.text("vmSize"));
  const bool low = properties.one_of("vmPriority", {{"dedicated", false}, {"lowpriority", true}}, false);
  if (low) properties.refuse("vmPriority", "lowpriority; nodes are dedicated");
  Fields scale = properties.object("scaleSettings");
  if (scale.has("manual")) {
    Fields manual = scale.object("manual");
    if (const auto target = manual.whole("targetNodeCount", 0, Need::required)) spec.set_target_node_count(*target);
    has_target = true;
    spec.set_node_deallocation_option(
        manual.one_of("nodeDeallocationOption",
                      {{"requeue", v1::DEALLOCATION_OPTION_REQUEUE},
                       {"terminate", v1::DEALLOCATION_OPTION_TERMINATE},
                       {"waitforjobcompletion", v1::DEALLOCATION_OPTION_WAIT_FOR_JOB_COMPLETION}},
                      v1::DEALLOCATION_OPTION_UNSPECIFIED));
    manual.finish();
  }
  scale.object("manual");
  scale.finish();
  Fields account = properties.object("userAccountSettings");
  spec.set_admin_user_name(account.text("adminUserName"));
  spec.set_admin_user_ssh_public_key(account.text("adminUserSshPublicKey"));
  account.finish();
  properties.finish();
}

}  // namespace

Result<v1::ClusterSpec> make_cluster_spec(const std::string& text, const std::string& file_name,
                                          const ClusterFlags& flags) {
  v1::ClusterSpec spec;
  bool has_target = false;
  if (!text.empty()) {
    const auto parsed = parse_file(text, file_name);
    if (!parsed) return parsed.error();
    FirstError error;
    read_file(*parsed, spec, has_target, error);
    if (error) return Error{error->code, error->message};
  }
  if (!flags.vm_priority.empty() && !Fields::same_word(flags.vm_priority, "dedicated")) {
    if (Fields::same_word(flags.vm_priority, "lowpriority")) {
      return Error{Code::invalid_argument, "not supported yet: --vm-priority lowpriority; nodes are dedicated"};
    }
    return Error{Code::invalid_argument,
                 "--vm-priority: must be dedicated or lowpriority, got \"" + flags.vm_priority + "\""};
  }
  spec.set_vm_priority(v1::VM_PRIORITY_DEDICATED);
  if (!flags.vm_size.empty()) spec.set_vm_size(flags.vm_size);
  if (spec.vm_size().empty()) {
    return Error{Code::invalid_argument,
                 "no VM size: give --vm-size SIZE (`trainyard node list -o table` shows the sizes there are), or "
                 "properties.vmSize in a --config-file"};
  }
  if (flags.target) {
    if (*flags.target < 0) return Error{Code::invalid_argument, "--target: must be at least 0"};
    spec.set_target_node_count(*flags.target);
    has_target = true;
  }
  if (!has_target) {
    return Error{Code::invalid_argument,
                 "no scale settings: give --target COUNT, or properties.scaleSettings.manual in a --config-file"};
  }
  if (!flags.user_name.empty()) spec.set_admin_user_name(flags.user_name);
  if (!flags.ssh_public_key.empty()) spec.set_admin_user_ssh_public_key(flags.ssh_public_key);
  return spec;
}

std::optional<v1::DeallocationOption> deallocation_option_named(const std::string& name) {
  if (name.empty()) return v1::DEALLOCATION_OPTION_UNSPECIFIED;
  if (Fields::same_word(name, "requeue")) return v1::DEALLOCATION_OPTION_REQUEUE;
  if (Fields::same_word(name, "terminate")) return v1::DEALLOCATION_OPTION_TERMINATE;
  if (Fields::same_word(name, "waitforjobcompletion")) return v1::DEALLOCATION_OPTION_WAIT_FOR_JOB_COMPLETION;
  return std::nullopt;
}

}  // namespace trainyard::cli
