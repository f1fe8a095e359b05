// Every field of a job.
#include "tests/edge/model_table.h"

using namespace trainyard;
using namespace trainyard::test;

namespace {

const std::string kJob =
    "cluster: 'c' node_count: 2 toolkit: TOOLKIT_CUSTOM_MPI command_line: 'true' std_out_err_path_prefix: '/logs' ";

std::string python(const std::string& toolkit) {
  return "cluster: 'c' node_count: 2 std_out_err_path_prefix: '/logs' python_script_file_path: 't.py' toolkit: "
         "TOOLKIT_" +
         toolkit + " ";
}

Rows scalars_of_job() {
  return {
      {"cluster",
       "cluster: 'other/place/nc6'",
       "-",
       {{"cluster: ''", "properties.cluster: is missing: give the cluster's name"},
        {"cluster: 'a/b'",
         "properties.cluster: \"a/b\" is not a cluster: give a name, group/workspace/name, or the id"},
        {"cluster: 'a b'", "properties.cluster: \"a b\" is not a name: "},
        {"cluster: 'g/w w/c'", "properties.cluster: \"w w\" is not a name: "},
        {"cluster: '../w/c'", "properties.cluster: \"..\" is not a name: "}},
       {},
       {},
       "\"/subscriptions/trainyard/resourceGroups/other/providers/Microsoft.BatchAI/workspaces/place/clusters/nc6\""},
      {"node_count",
       "node_count: 10000",
       "-",
       {{"node_count: 0", "properties.nodeCount: must be at least 1, got 0"},
        {"node_count: -1", "properties.nodeCount: must be at least 1, got -1"},
        {"node_count: 10001", "properties.nodeCount: must be at most 10000, got 10001"}}},
      {"gpus_per_node",
       "gpus_per_node: 4",
       "0",
       {{"gpus_per_node: -1", "properties.resources.gpusPerNode: must be 0 (whole nodes) to 1024, got -1"},
        {"gpus_per_node: 1025", "properties.resources.gpusPerNode: must be 0 (whole nodes) to 1024, got 1025"}}},
      {"toolkit",
       "toolkit: TOOLKIT_CUSTOM",
       "-",
       {{"toolkit: TOOLKIT_UNSPECIFIED", "properties: names no toolkit; give exactly one of customToolkitSettings, "},
        {"toolkit: 77", "properties: names no toolkit; give exactly one of "}}},
      {"command_line",
       "command_line: 'A=1; b'",
       "-",
       {{"command_line: ''", "properties.customMpiSettings.commandLine: is missing"},
        {"command_line: 'a\\000'", "properties.customMpiSettings.commandLine: must not contain NUL"},
        {"command_line: " + quoted(65537), "properties.customMpiSettings.commandLine: is longer than 65536 bytes"}}},
      {"std_out_err_path_prefix",
       "std_out_err_path_prefix: '$AZ_BATCHAI_JOB_MOUNT_ROOT/s'",
       "-",
       {{"std_out_err_path_prefix: ''", "properties.stdOutErrPathPrefix: is missing"},
        {"std_out_err_path_prefix: 'a\\000'", "properties.stdOutErrPathPrefix: must not contain NUL"},
        {"std_out_err_path_prefix: " + quoted(65537), "properties.stdOutErrPathPrefix: is longer than 65536 bytes"}}},
      {"job_preparation_command_line",
       "job_preparation_command_line: 'pip install x'",
       "\"\"",
       {{"job_preparation_command_line: 'a\\000'", "properties.jobPreparation.commandLine: must not contain NUL"},
        {"job_preparation_command_line: " + quoted(65537),
         "properties.jobPreparation.commandLine: is longer than 65536 bytes"}}},
      {"max_wall_clock_time",
       "max_wall_clock_time { seconds: 90 }",
       "seconds: 604800 ",
       {{"max_wall_clock_time {}", "properties.constraints.maxWallClockTime: must be longer than zero"},
        {"max_wall_clock_time { seconds: -1 }", "properties.constraints.maxWallClockTime: must be longer than zero"},
        {"max_wall_clock_time { seconds: 400000000 }",
         "properties.constraints.maxWallClockTime: must be at most ten years"}}},
      {"scheduling_priority",
       "scheduling_priority: PRIORITY_HIGH",
       "PRIORITY_NORMAL",
       {{"scheduling_priority: 9", "properties.schedulingPriority: is not known: use low, normal or high"}}}};
}

Rows toolkits_of_job() {
  const std::string script = "cluster: 'c' node_count: 2 std_out_err_path_prefix: '/logs' toolkit: TOOLKIT_CNTK ";
  return {
      {"python_script_file_path",
       "python_script_file_path: 'u.py'",
       "-",
       {{"python_script_file_path: ''", "properties.horovodSettings.pythonScriptFilePath: is missing"},
        {"python_script_file_path: 'a\\000'", "properties.horovodSettings.pythonScriptFilePath: must not contain NUL"},
        {"command_line: 'x'", "properties.horovodSettings.commandLine: is no field of this toolkit"}},
       python("HOROVOD")},
      {"python_interpreter_path",
       "python_interpreter_path: '/opt/python'",
       "\"\"",
       {{"python_interpreter_path: 'a\\000'",
         "properties.chainerSettings.pythonInterpreterPath: must not contain NUL"}},
       python("CHAINER")},
      {"command_line_args",
       "command_line_args: '-e 3'",
       "\"\"",
       {{"command_line_args: " + quoted(65537),
         "properties.caffe2Settings.commandLineArgs: is longer than 65536 bytes"}},
       python("CAFFE2")},
      {"process_count",
       "process_count: 8",
       "0",
       {{"process_count: -2", "properties.customMpiSettings.processCount: must be 1 to 1000000, got -2"},
        {"process_count: 1000001", "properties.customMpiSettings.processCount: must be 1 to 1000000, got 1000001"}}},
      {"config_file_path",
       "config_file_path: 'a.cntk'",
       "-",
       {{"", "properties.cntkSettings: names nothing to run: give configFilePath or pythonScriptFilePath"},
        {"config_file_path: 'a' python_script_file_path: 'b'",
         "properties.cntkSettings.configFilePath: is given together with pythonScriptFilePath"},
        {"config_file_path: 'a' python_interpreter_path: 'b'",
         "properties.cntkSettings.pythonInterpreterPath: goes with pythonScriptFilePath only"}},
       script},
      {"communication_backend",
       "communication_backend: COMMUNICATION_BACKEND_NCCL",
       "COMMUNICATION_BACKEND_GLOO",
       {{"communication_backend: 77",
         "properties.pyTorchSettings.communicationBackend: is not known: use tcp, gloo, nccl or mpi"}},
       python("PYTORCH")},
      {"processes_per_node",
       "processes_per_node: 4",
       "0",
       {{"processes_per_node: 257", "properties.torchrunSettings.processesPerNode: must be 1 to 256, got 257"},
        {"processes_per_node: -1", "properties.torchrunSettings.processesPerNode: must be 1 to 256, got -1"}},
       python("TORCHRUN")}};
}

Rows tensor_flow_of_job() {
  return {{"worker_count",
           "worker_count: 3",
           "",
           {{"worker_count: 0", "properties.tensorFlowSettings.workerCount: must be 1 to 4096, got 0"},
            {"worker_count: 512", "properties.tensorFlowSettings.workerCount: makes 513 processes on 2 node(s)"}},
           python("TENSORFLOW")},
          {"parameter_server_count",
           "parameter_server_count: 0",
           "",
           {{"parameter_server_count: 3",
             "properties.tensorFlowSettings.parameterServerCount: must be 0 to 2 (nodeCount), got 3"},
            {"parameter_server_count: -1",
             "properties.tensorFlowSettings.parameterServerCount: must be 0 to 2 (nodeCount), got -1"}},
           python("TENSORFLOW")},
          {"master_command_line_args",
           "master_command_line_args: '-m'",
           "\"\"",
           {{"master_command_line_args: 'a\\000'",
             "properties.tensorFlowSettings.masterCommandLineArgs: must not contain NUL"}},
           python("TENSORFLOW")},
          {"worker_command_line_args",
           "worker_command_line_args: '-w'",
           "\"\"",
           {{"worker_command_line_args: 'a\\000'",
             "properties.tensorFlowSettings.workerCommandLineArgs: must not contain NUL"}},
           python("TENSORFLOW")},
          {"parameter_server_command_line_args",
           "parameter_server_command_line_args: '-p'",
           "\"\"",
           {{"parameter_server_command_line_args: 'a\\000'",
             "properties.tensorFlowSettings.parameterServerCommandLineArgs: must not contain NUL"}},
           python("TENSORFLOW")}};
}

Rows container_of_job() {
  const std::string at = "properties.containerSettings.";
  const std::string image = kJob + "image: 'team/image:1' ";
  return {{"image",
           "image: 'team/image:1'",
           "\"\"",
           {{"image: 'a\\000'", at + "imageSourceRegistry.image: must not contain NUL"},
            {"image: " + quoted(65537), at + "imageSourceRegistry.image: is longer than 65536 bytes"}}},
          {"image_server_url",
           "image_server_url: 'https://r'",
           "\"\"",
           {{"image: '' image_server_url: 'https://r'", at + "imageSourceRegistry.image: is missing"},
            {"image_server_url: 'a\\000'", at + "imageSourceRegistry.serverUrl: must not contain NUL"}},
           image},
          {"image_user_name",
           "image_user_name: 'me'",
           "\"\"",
           {{"image: '' image_user_name: 'me'", at + "imageSourceRegistry.image: is missing"},
            {"image_user_name: 'a\\000'", at + "imageSourceRegistry.credentials.username: must not contain NUL"}},
           image},
          {"image_password",
           "image_user_name: 'me' image_password: 'p4ss'",
           "\"\"",
           {{"image_password: 'p4ss'", at + "imageSourceRegistry.credentials.username: is missing"},
            {"image: '' image_password: 'p4ss'", at + "imageSourceRegistry.image: is missing"},
            {"image_password: 'a\\000'", at + "imageSourceRegistry.credentials.password: must not contain NUL"}},
           image,
           {},
           "\"\""},
          {"shm_size",
           "shm_size: '8g'",
           "\"\"",
           {{"image: '' shm_size: '8g'", at + "imageSourceRegistry.image: is missing"},
            {"shm_size: '8gb'", at + "shmSize: \"8gb\" is not a size like \"512m\" or \"8g\""},
            {"shm_size: '0'", at + "shmSize: \"0\" is not a size"},
            {"shm_size: '-1'", at + "shmSize: \"-1\" is not a size"}},
           image}};
}

Rows directories_of_job() {
  return {
      {"input_directories.id",
       "input_directories { id: 'D_1' path: '/d' }",
       "",
       {{"input_directories { path: '/d' }", "properties.inputDirectories[0].id: is missing"},
        {"input_directories { id: 'a-b' path: '/d' }",
         "properties.inputDirectories[0].id: \"a-b\" must hold letters, digits and '_' only"},
        {"input_directories { id: 'A' path: '/d' } input_directories { id: 'A' path: '/e' }",
         "properties.inputDirectories[1].id: \"A\" is given twice"},
        {many("input_directories {}"), "properties.inputDirectories: has 1001 entries; at most 1000 are allowed"}}},
      {"input_directories.path",
       "input_directories { id: 'D' path: '/d' }",
       "",
       {{"input_directories { id: 'D' }", "properties.inputDirectories[0].path: is missing"},
        {"input_directories { id: 'D' path: 'a\\000' }", "properties.inputDirectories[0].path: must not contain NUL"}}},
      {"output_directories.id",
       "output_directories { id: 'O' path_prefix: '/o' }",
       "",
       {{"output_directories { path_prefix: '/o' }", "properties.outputDirectories[0].id: is missing"},
        {"output_directories { id: '\\303\\244' path_prefix: '/o' }", "properties.outputDirectories[0].id: \""},
        {"output_directories { id: 'stdouterr' path_prefix: '/o' }",
         "properties.outputDirectories[0].id: \"stdouterr\" is the name of the standard output's own"},
        {many("output_directories {}"), "properties.outputDirectories: has 1001 entries; at most 1000 are allowed"}}},
      {"output_directories.path_prefix",
       "output_directories { id: 'O' path_prefix: '/o' }",
       "",
       {{"output_directories { id: 'O' }", "properties.outputDirectories[0].pathPrefix: is missing"}}},
      {"output_directories.path_suffix",
       "output_directories { id: 'O' path_prefix: '/o' path_suffix: 's' }",
       "\"\"",
       {{"output_directories { id: 'O' path_prefix: '/o' path_suffix: '../s' }",
         "properties.outputDirectories[0].pathSuffix: \"../s\" must not contain \"..\""},
        {"output_directories { id: 'O' path_prefix: '/o' path_suffix: '/s' }",
         "properties.outputDirectories[0].pathSuffix: \"/s\" must be relative"}},
       {},
       "output_directories { id: 'O' path_prefix: '/o' }"}};
}

Rows recovery_of_job() {
  const std::string at = "properties.recovery.";
  return {{"recovery.on_node_loss",
           "recovery { on_node_loss: ON_NODE_LOSS_FAIL }",
           "ON_NODE_LOSS_REQUEUE",
           {{"recovery { on_node_loss: 9 }", at + "onNodeLoss: is not known"}}},
          {"recovery.max_requeues", "recovery { max_requeues: 0 }", "1", {}},
          {"recovery.rerun_after",
           "recovery { rerun_after: RERUN_AFTER_GANG_BROKEN }",
           "RERUN_AFTER_FENCED",
           {{"recovery { rerun_after: 9 }", at + "rerunAfter: is not known"}}},
          {"recovery.lease",
           "recovery { lease { seconds: 90 } }",
           "seconds: 3600 ",
           {{"recovery { lease {} }", at + "lease: must be longer than zero"},
            {"recovery { lease { seconds: 400000000 } }", at + "lease: must be at most ten years"},
            {"recovery { lease { seconds: 9 } lease_forever: true }",
             at + "lease: is given together with leaseForever: give one of them"}}},
          {"recovery.lease_forever", "recovery { lease_forever: true }", "false", {}},
          {"recovery.gang_abort_after",
           "recovery { gang_abort_after { seconds: 90 } }",
           "",
           {{"recovery { gang_abort_after { seconds: -1 } }", at + "gangAbortAfter: must be longer than zero"}}},
          {"recovery.notice",
           "recovery { notice { seconds: 90 } }",
           "seconds: 30 ",
           {{"recovery { notice { seconds: -1 } }", at + "notice: must not be negative"}}},
          {"recovery.grace",
           "recovery { grace {} }",
           "seconds: 10 ",
           {{"recovery { grace { seconds: -1 } }", at + "grace: must not be negative"},
            {"recovery { grace { seconds: 400000000 } }", at + "grace: must be at most ten years"}}}};
}

// What it leaves open: how many nodes, which, for how long, in which class.
Rows left_open_by_job() {
  const std::string least = "properties.resources.minNodes: ", topology = "properties.topology: ";
  return {{"min_node_count",
           "min_node_count: 1",
           "0",
           {{"min_node_count: -1", least + "must be from 1 to the 2 nodes, or 0: all of them; got -1"},
            {"min_node_count: 3", least + "must be from 1 to the 2 nodes, or 0: all of them; got 3"},
            {"min_node_count: 1 process_count: 2", least + "goes without counts of processes"}}},
          {"min_wall_clock_time",
           "min_wall_clock_time { seconds: 90 }",
           "",
           {{"min_wall_clock_time {}", "properties.constraints.minWallClockTime: must be longer than zero"},
            {"min_wall_clock_time { seconds: 604801 }",
             "properties.constraints.minWallClockTime: is more than constraints.maxWallClockTime"}}},
          {"topology.level",
           "topology { level: 'leaf' }",
           "",
           {{"topology { level: 'a b' }", topology + "level 'a b' must be of A-Z a-z 0-9 . _ -"}}},
          {"topology.required",
           "topology { level: 'leaf' required: true }",
           "",
           {{"topology { required: true }", topology + "level is missing: "}}},
          {"topology.block_size",
           "topology { level: 'leaf' required: true block_size: 2 }",
           "",
           {{"topology { level: 'leaf' required: true block_size: -1 }",
             "properties.topology.blockSize: must be at least 1, or 0: all nodes"},
            {"topology { level: 'leaf' required: true block_size: 3 }",
             topology + "blockSize 3 does not divide the 2 nodes"},
            {"topology { level: 'leaf' block_size: 2 }", topology + "blockSize needs required: true"}}},
          {"topology.within",
           "topology { within: 'rack=r1' }",
           "",
           {{"topology { within: 'r1' }", topology + "within 'r1' must be LEVEL=NAME, as rack=r1"},
            {[] {
               std::string text = "topology { ";
               for (int n = 0; n < 101; ++n) text += "within: 'rack=r1' ";
               return text + "}";
             }(),
             "properties.topology.within: has more than 100 domains"}}},
          // Which classes there are, the controller's configuration says.
          {"priority_class", "priority_class: 'urgent'", "\"\"", {}, {}, {}, "\"\""}};
}

Rows dependencies_of_job() {
  const std::string at = "properties.dependencies[0].",
                    missing = "must be the name of a job or a job array, or experiment/name";
  return {{"dependencies.job",
           "dependencies { job: 'other/prepare' }",
           "",
           {{"dependencies {}", at + "job: " + missing},
            {"dependencies { job: 'w/e/j' }", at + "job: " + missing},
            {[] {
               std::string text;
               for (int n = 0; n < 101; ++n) text += "dependencies { job: 'a' } ";
               return text;
             }(),
             "properties.dependencies: has more than 100 jobs"}}},
          {"dependencies.condition",
           "dependencies { job: 'a' condition: CONDITION_AFTER_NOT_OK }",
           "CONDITION_AFTER_OK",
           {{"dependencies { job: 'a' condition: 9 }",
             at + "condition: is not known: use afterOk, afterAny or afterNotOk"}},
           {},
           "dependencies { job: 'a' }"},
          {"dependencies.array", "dependencies { job: 'a' array: true }", "false", {}, {}, "dependencies { job: 'a' }"},
          {"dependencies.met", "dependencies { job: 'a' met: true }", "", {}, {}, {}, "false"}};
}

}  // namespace

TEST_CASE("a table of every field of a job: taken, by default, and each bad value with what is said") {
  check_model<v1::JobSpec>(
      {scalars_of_job(), toolkits_of_job(), tensor_flow_of_job(), container_of_job(), directories_of_job(),
       variables("", " ", "", "properties."), recovery_of_job(), dependencies_of_job(), left_open_by_job(),
       shares("", " ", "azure_file_shares.", "properties.mountVolumes."),
       containers("", " ", "azure_blob_file_systems.", "properties.mountVolumes."),
       other_mounts("", " ", "", "properties.mountVolumes.")},
      kJob);
}
