// Every field of a cluster.
#include "tests/edge/model_table.h"

using namespace trainyard;
using namespace trainyard::test;

namespace {

Rows scalars_of_cluster() {
  const std::string scale = "properties.scaleSettings.", user = "properties.userAccountSettings.";
  return {{"vm_size",
           "vm_size: 'Standard_NC6'",
           "-",
           {{"vm_size: ''", "properties.vmSize: is missing"},
            {"vm_size: 'a b'", "properties.vmSize: \"a b\" is not a name"}}},
          {"vm_priority",
           "vm_priority: VM_PRIORITY_LOWPRIORITY",
           "VM_PRIORITY_DEDICATED",
           {{"vm_priority: 9", "properties.vmPriority: is not known: use dedicated or lowpriority"}}},
          {"target_node_count",
           "target_node_count: 10000",
           "0",
           {{"target_node_count: -1", scale + "manual.targetNodeCount: must be 0 to 10000, got -1"},
            {"target_node_count: 10001", scale + "manual.targetNodeCount: must be 0 to 10000, got 10001"},
            {"target_node_count: 1 auto_scale {}",
             "properties.scaleSettings: has manual and autoScale: give one of them"}}},
          {"node_deallocation_option",
           "node_deallocation_option: DEALLOCATION_OPTION_WAIT_FOR_JOB_COMPLETION",
           "DEALLOCATION_OPTION_REQUEUE",
           {{"node_deallocation_option: 9",
             scale + "manual.nodeDeallocationOption: is not known: use requeue, terminate"}}},
          {"admin_user_name",
           "admin_user_name: 'ann'",
           "\"\"",
           {{"admin_user_name: " + quoted(65), user + "adminUserName: is longer than 64 characters"},
            {"admin_user_name: 'a\\000'", user + "adminUserName: must not contain NUL"}}},
          {"admin_user_ssh_public_key",
           "admin_user_ssh_public_key: 'ssh-rsa A'",
           "\"\"",
           {{"admin_user_ssh_public_key: " + quoted(16385), user + "adminUserSshPublicKey: is longer than 16384"},
            {"admin_user_ssh_public_key: 'a\\000'", user + "adminUserSshPublicKey: must not contain NUL"}}}};
}

Rows auto_scale_of_cluster() {
  const std::string at = "properties.scaleSettings.autoScale.";
  const auto scale = [](const std::string& inner) { return "auto_scale { " + inner + " }"; };
  const std::string most = scale("maximum_node_count: 4");
  return {{"auto_scale.minimum_node_count",
           scale("minimum_node_count: 1 maximum_node_count: 4"),
           "0",
           {{scale("minimum_node_count: -1"), at + "minimumNodeCount: must be 0 to 10000, got -1"},
            {scale("minimum_node_count: 5 maximum_node_count: 4"),
             at + "minimumNodeCount: is 5, more than the maximumNodeCount 4"}},
           {},
           most},
          {"auto_scale.maximum_node_count",
           most,
           "-",
           {{scale("maximum_node_count: 10001"), at + "maximumNodeCount: must be 0 to 10000, got 10001"}}},
          {"auto_scale.initial_node_count",
           scale("maximum_node_count: 4 initial_node_count: 2"),
           "0",
           {{scale("maximum_node_count: 4 initial_node_count: 5"),
             at + "initialNodeCount: is 5, more than the maximumNodeCount 4"}},
           {},
           most},
          {"auto_scale.idle_time_before_scale_down",
           scale("idle_time_before_scale_down { seconds: 30 }"),
           "seconds: 300 ",
           {{scale("idle_time_before_scale_down {}"), at + "idleTimeBeforeScaleDown: must be 1 second to 365 days"},
            {scale("idle_time_before_scale_down { seconds: 40000000 }"),
             at + "idleTimeBeforeScaleDown: must be 1 second to 365 days"}},
           {},
           most}};
}

constexpr const char* kTask = "node_setup { setup_task { command_line: 'c' std_out_err_path_prefix: 'p' } } ";

Rows task_of_cluster() {
  const std::string at = "properties.nodeSetup.setupTask.";
  const auto task = [](const std::string& inner) { return "node_setup { setup_task { " + inner + " } }"; };
  const std::string least = "vm_size: 's' " + std::string(kTask);
  const auto suffix = task("std_out_err_path_suffix: 'x'");
  return {{"node_setup.setup_task.command_line",
           task("command_line: 'install'"),
           "-",
           {{task("command_line: ''"), at + "commandLine: is missing"},
            {task("command_line: 'a\\000'"), at + "commandLine: must not contain NUL"},
            {task("command_line: " + quoted(65537)), at + "commandLine: is longer than 65536 characters"}},
           least},
          {"node_setup.setup_task.std_out_err_path_prefix",
           task("std_out_err_path_prefix: '$AZ_BATCHAI_MOUNT_ROOT/afs'"),
           "-",
           {{task("std_out_err_path_prefix: ''"), at + "stdOutErrPathPrefix: is missing: where should its output go?"},
            {task("std_out_err_path_prefix: 'a\\000'"), at + "stdOutErrPathPrefix: must not contain NUL"}},
           least},
          {"node_setup.setup_task.std_out_err_path_suffix",  // the controller's; its answers have it
           task("std_out_err_path_suffix: ''"),
           "\"\"",
           {{suffix, at + "stdOutErrPathSuffix: is read-only: the controller makes it"}},
           least},
          {"node_setup.setup_task.time_limit",
           task("time_limit { seconds: 60 }"),
           "seconds: 3600 ",
           {{task("time_limit { seconds: -1 }"), at + "timeLimit: must be 1 second to 365 days"},
            {task("time_limit {}"), at + "timeLimit: must be 1 second to 365 days"}},
           least}};
}

}  // namespace

TEST_CASE("a table of every field of a cluster: taken, by default, and each bad value with what is said") {
  const std::string open = "node_setup { ", close = " } ", volumes = "properties.nodeSetup.mountVolumes.";
  // A set-up task that has what it needs, and the list in it.
  const std::string task = "node_setup { setup_task { command_line: 'c' std_out_err_path_prefix: 'p' ";
  check_model<v1::ClusterSpec>({scalars_of_cluster(), auto_scale_of_cluster(), task_of_cluster(),
                                variables(task, " } } ", "node_setup.setup_task.", "properties.nodeSetup.setupTask."),
                                shares(open, close, "node_setup.azure_file_shares.", volumes),
                                containers(open, close, "node_setup.azure_blob_file_systems.", volumes),
                                other_mounts(open, close, "node_setup.", volumes)},
                               "vm_size: 's' ");
}
