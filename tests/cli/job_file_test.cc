// Job files and cluster files: what is taken, and that everything else is refused by its path.
#include "batchai/job_file.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "batchai/json_fields.h"

using namespace trainyard;
using namespace trainyard::batchai;

namespace {

const JobFileOptions kOptions{"job.json", "nc6cluster", "mystorageaccount"};

// A good job whose properties end with `more` (",..." or "").
std::string job_with(const std::string& more) {
  return R"({"properties": {"nodeCount": 1, "stdOutErrPathPrefix": "$AZ_BATCHAI_JOB_MOUNT_ROOT/x")" + more + "}}";
}
std::string custom_job_with(const std::string& more) {
  return job_with(R"(, "customToolkitSettings": {"commandLine": "echo hi"})" + more);
}

std::string error_of(const std::string& text, const JobFileOptions& options = kOptions) {
  std::vector<std::string> warnings;
  const auto spec = read_job_file(text, options, warnings);
  return spec ? "no error" : spec.error().message;
}

// Of a file that must be taken.
v1::JobSpec spec_of(const std::string& text, std::vector<std::string>& warnings,
                    const JobFileOptions& options = kOptions) {
  const auto spec = read_job_file(text, options, warnings);
  REQUIRE((spec ? "" : spec.error().message) == "");
  return *spec;
}

// What was ignored, joined; the file must be taken.
std::string warnings_of(const std::string& text) {
  std::vector<std::string> warnings;
  spec_of(text, warnings);
  std::string all;
  for (const std::string& warning : warnings) all += warning + "\n";
  return all;
}

// A file of the tutorial, or nothing with a message where the reference material is not at hand.
std::string tutorial_file(const std::string& name) {
  const char* shared = std::getenv("TRAINYARD_SHARED");
  const std::string folder = shared != nullptr ? shared : TRAINYARD_SOURCE_DIR "/../shared";
  std::ifstream file(folder + "/recipes/_tutorial/" + name, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (text.empty())
    WARN("skipped: " << folder << "/recipes/_tutorial/" << name << " is not here (set TRAINYARD_SHARED)");
  return text;
}

}  // namespace

TEST_CASE("the tutorial's job file is taken as it is") {
  const std::string text = tutorial_file("job.json");
  if (text.empty()) return;
  std::vector<std::string> warnings;
  const auto spec = read_job_file(text, kOptions, warnings);
  REQUIRE((spec ? "" : spec.error().message) == "");
  CHECK(warnings.empty());
  CHECK(spec->cluster() == "nc6cluster");
  CHECK(spec->node_count() == 4);
  CHECK(spec->toolkit() == v1::TOOLKIT_HOROVOD);
  CHECK(spec->python_script_file_path() == "$AZ_BATCHAI_JOB_MOUNT_ROOT/myshare/cifar/cifar_cnn_distributed.py");
  CHECK(spec->command_line_args() == "--dir=$AZ_BATCHAI_JOB_MOUNT_ROOT/myshare/cifar");
  CHECK(spec->std_out_err_path_prefix() == "$AZ_BATCHAI_JOB_MOUNT_ROOT/myshare/cifar");
  REQUIRE(spec->azure_file_shares_size() == 1);
  CHECK(spec->azure_file_shares(0).azure_file_url() == "https://mystorageaccount.file.core.windows.net/myshare");
  CHECK(spec->azure_file_shares(0).relative_mount_path() == "myshare");
  CHECK(spec->job_preparation_command_line() ==
        "apt update; apt install mpi-default-dev mpi-default-bin -y; pip install keras horovod");
  CHECK(spec->image() == "tensorflow/tensorflow:1.8.0-gpu");
}

TEST_CASE("every supported field of a job file arrives") {
  std::vector<std::string> warnings;
  const auto spec = read_job_file(R"({
    "$schema": "x", "comment": "y", "properties": {
      "$comment": "z", "cluster": {"id": "/subscriptions/s/clusters/other"},
      "nodeCount": 2, "schedulingPriority": "HIGH", "stdOutErrPathPrefix": "p",
      "customMpiSettings": {"commandLine": "./a.out", "processCount": 8},
      "mountVolumes": {"azureFileShares": [{"accountName": "<AZURE_BATCHAI_STORAGE_ACCOUNT>",
        "azureFileUrl": "https://a.file.core.windows.net/s", "relativeMountPath": "afs", "fileMode": "0700",
        "directoryMode": "0711", "credentials": {"accountKey": "<AZURE_BATCHAI_STORAGE_KEY>"}}]},
      "inputDirectories": [{"id": "DATA", "path": "in"}],
      "outputDirectories": [{"id": "MODEL", "pathPrefix": "out", "pathSuffix": "models"}],
      "environmentVariables": [{"name": "A", "value": ""}],
      "constraints": {"maxWallClockTime": "1.12:30:15"},
      "dependencies": [{"job": "prepare"}, {"job": "other/check", "condition": "afternotok"},
                       {"array": "sweep", "condition": "afterAny"}],
      "recovery": {"onNodeLoss": "fail", "maxRequeues": 0, "rerunAfter": "gangbroken", "lease": "forever",
                   "gangAbortAfter": "PT5S", "grace": "PT3S"}}})",
                                  JobFileOptions{"job.json", "", "acc"}, warnings);
  CHECK(warnings.empty());
  REQUIRE((spec ? "" : spec.error().message) == "");
  CHECK(spec->cluster() == "/subscriptions/s/clusters/other");
  CHECK(spec->toolkit() == v1::TOOLKIT_CUSTOM_MPI);
  CHECK(spec->command_line() == "./a.out");
  CHECK(spec->process_count() == 8);
  CHECK(spec->scheduling_priority() == v1::PRIORITY_HIGH);
  CHECK(spec->azure_file_shares(0).account_name() == "acc");
  CHECK(spec->azure_file_shares(0).file_mode() == "0700");
  CHECK(spec->azure_file_shares(0).directory_mode() == "0711");
  CHECK(spec->input_directories(0).path() == "in");
  CHECK(spec->output_directories(0).path_suffix() == "models");
  CHECK(spec->environment_variables(0).name() == "A");
  CHECK(spec->max_wall_clock_time().seconds() == ((24 + 12) * 60 + 30) * 60 + 15);
  CHECK(spec->dependencies(0).condition() == v1::Dependency::CONDITION_AFTER_OK);
  CHECK(spec->dependencies(1).job() == "other/check");
  CHECK(spec->dependencies(1).condition() == v1::Dependency::CONDITION_AFTER_NOT_OK);
  CHECK_FALSE(spec->dependencies(1).array());
  CHECK(spec->dependencies(2).job() == "sweep");
  CHECK(spec->dependencies(2).array());
  CHECK(spec->recovery().on_node_loss() == v1::Recovery::ON_NODE_LOSS_FAIL);
  CHECK(spec->recovery().max_requeues() == 0);
  CHECK(spec->recovery().rerun_after() == v1::Recovery::RERUN_AFTER_GANG_BROKEN);
  CHECK(spec->recovery().lease_forever());
  CHECK(spec->recovery().gang_abort_after().seconds() == 5);
  CHECK(spec->recovery().grace().seconds() == 3);
}

TEST_CASE("parts of nodes: so many GPUs of so many nodes, or so many in all") {
  const auto with = [](const std::string& resources) {
    std::vector<std::string> warnings;
    return read_job_file(R"({"properties": {"cluster": {"id": "c"}, "stdOutErrPathPrefix": "p",
        "customToolkitSettings": {"commandLine": "true"}, )" +
                             resources + "}}",
                         JobFileOptions{"job.json", "", ""}, warnings);
  };
  const auto even = with(R"("resources": {"nodes": 2, "gpusPerNode": 4})");
  REQUIRE((even ? "" : even.error().message) == "");
  CHECK(even->node_count() == 2);
  CHECK(even->gpus_per_node() == 4);
  const auto spread = with(R"("resources": {"gpus": 12, "maxPerNode": 8})");
  REQUIRE((spread ? "" : spread.error().message) == "");
  CHECK(spread->node_count() == 2);
  CHECK(spread->gpus_per_node() == 6);
  const auto prime = with(R"("resources": {"gpus": 7, "maxPerNode": 4}, "nodeCount": 7)");
  REQUIRE((prime ? "" : prime.error().message) == "");
  CHECK(prime->gpus_per_node() == 1);
  for (const char* wrong : {R"("resources": {"nodes": 2})", R"("resources": {"gpus": 2})", R"("resources": {})",
                            R"("resources": {"gpus": 2, "maxPerNode": 1, "gpusPerNode": 1})"}) {
    CHECK_THAT(with(wrong).error().message,
               Catch::Contains("properties.resources: must have nodes and gpusPerNode, or gpus and maxPerNode"));
  }
  CHECK_THAT(with(R"("resources": {"nodes": 2, "gpusPerNode": 1}, "nodeCount": 3)").error().message,
             Catch::Contains("properties.nodeCount: is 3, but resources make 2 nodes: leave it out"));
}

TEST_CASE("what a job leaves open: nodes, where they lie, its time, its class") {
  const auto with = [](const std::string& more) {
    std::vector<std::string> warnings;
    return read_job_file(custom_job_with(more), JobFileOptions{"job.json", "c", ""}, warnings);
  };
  const auto job = with(R"(, "resources": {"minNodes": 1}, "schedulingPriority": "Urgent",
      "constraints": {"maxWallClockTime": "PT2H", "minWallClockTime": "PT30M"},
      "topology": {"level": "leaf", "required": true, "blockSize": 1, "within": ["rack=r1", "rack=r2"]})");
  REQUIRE((job ? "" : job.error().message) == "");
  CHECK(job->node_count() == 1);
  CHECK(job->min_node_count() == 1);
  CHECK(job->min_wall_clock_time().seconds() == 1800);
  CHECK(job->priority_class() == "Urgent");
  CHECK(job->topology().level() == "leaf");
  CHECK(job->topology().required());
  CHECK(job->topology().block_size() == 1);
  CHECK(job->topology().within(1) == "rack=r2");
  CHECK(with(R"(, "schedulingPriority": "LOW")")->priority_class().empty());
  const auto wrong = [&](const std::string& more) { return with(more).error().message; };
  CHECK(wrong(R"(, "topology": {"required": "yes"})") ==
        "properties.topology.required: must be true or false, got \"yes\"");
  CHECK(wrong(R"(, "topology": {"within": "rack=r1"})") ==
        "properties.topology.within: must be an array, got \"rack=r1\"");
  CHECK(wrong(R"(, "topology": {"within": [1]})") == "properties.topology.within[0]: must be a string, got 1");
  CHECK(wrong(R"(, "resources": {"gpus": 4, "maxPerNode": 2, "minNodes": 1})") ==
        "properties.resources: has minNodes, which goes with nodes and gpusPerNode");
}

TEST_CASE("what is known and not supported is refused by its exact path, with the reason") {
  const auto refused = [](const std::string& more) { return error_of(custom_job_with(more)); };
  CHECK_THAT(refused(R"(, "secrets": [{"name": "A", "valueSecretReference": {"secretUrl": "u"}}])"),
             Catch::StartsWith("not supported yet: properties.secrets[0].valueSecretReference: there is no key vault"));
  CHECK(refused(R"(, "secrets": [{"name": "A"}])") == "properties.secrets[0].value: is missing");
  CHECK(refused(R"(, "mountVolumes": {"fileServers": [{"relativeMountPath": "nfs"}]})") ==
        "properties.mountVolumes.fileServers[0].fileServer: is missing");
  CHECK(refused(R"(, "mountVolumes": {"unmanagedFileSystems": [{"mountCommand": "mount"}]})") ==
        "properties.mountVolumes.unmanagedFileSystems[0].relativeMountPath: is missing");
  CHECK_THAT(refused(R"(, "mountVolumes": {"azureFileShares": [{"azureFileUrl": "u", "relativeMountPath": "r",
                     "credentials": {"accountKeySecretReference": {"secretUrl": "u"}}}]})"),
             Catch::StartsWith("not supported yet: "
                               "properties.mountVolumes.azureFileShares[0].credentials.accountKeySecretReference: "));
  CHECK_THAT(
      refused(R"(, "containerSettings": {"imageSourceRegistry": {"image": "i",
                     "credentials": {"username": "u", "passwordSecretReference": {}}}})"),
      Catch::StartsWith("not supported yet: "
                        "properties.containerSettings.imageSourceRegistry.credentials.passwordSecretReference: "));
  // Nothing asked for, nothing refused.
  CHECK(refused(R"(, "secrets": null, "mountVolumes": {"fileServers": []})") == "no error");
}

TEST_CASE("secrets are read beside the variables") {
  std::vector<std::string> warnings;
  const v1::JobSpec spec = spec_of(custom_job_with(R"(, "secrets": [{"name": "A", "value": "b $c"}])"), warnings);
  REQUIRE(spec.secrets_size() == 1);
  CHECK(spec.secrets(0).name() == "A");
  CHECK(spec.secrets(0).value() == "b $c");
  CHECK(spec.environment_variables().empty());
  CHECK(warnings.empty());
}

TEST_CASE("unknown keys are ignored with a warning that names them") {
  const auto ignored = [](const std::string& more) { return warnings_of(custom_job_with(more)); };
  CHECK(ignored("").empty());
  CHECK(ignored(R"(, "comment": "a", "$comment": {"b": 1})").empty());
  CHECK(ignored(R"(, "maxCost": 1)") == "properties.maxCost: ignored: no field of that name is known\n");
  CHECK(ignored(R"(, "stdouterrpathprefix": "x")") ==
        "properties.stdouterrpathprefix: ignored: no field of that name is known; did you mean "
        "stdOutErrPathPrefix?\n");
  CHECK(
      ignored(R"(, "mountVolumes": {"azureFileShares": [{"azureFileUrl": "u", "relativeMountPath": "r", "x": 1}]})") ==
      "properties.mountVolumes.azureFileShares[0].x: ignored: no field of that name is known\n");
  CHECK(ignored(R"(, "recovery": {"y": 1})") == "properties.recovery.y: ignored: no field of that name is known\n");
}

TEST_CASE("file servers and users' own mount commands are read") {
  std::vector<std::string> warnings;
  const v1::JobSpec spec = spec_of(custom_job_with(R"(, "mountVolumes": {
      "fileServers": [{"fileServer": {"id": "g/w/nfs"}, "relativeMountPath": "nfs", "sourceDirectory": "sets",
                       "mountOptions": "ro"}],
      "unmanagedFileSystems": [{"mountCommand": "mount -t glusterfs h:/v", "relativeMountPath": "gluster"}]})"),
                                   warnings);
  CHECK(warnings.empty());
  REQUIRE(spec.file_servers_size() == 1);
  CHECK(spec.file_servers(0).file_server() == "g/w/nfs");
  CHECK(spec.file_servers(0).source_directory() == "sets");
  CHECK(spec.file_servers(0).mount_options() == "ro");
  REQUIRE(spec.unmanaged_file_systems_size() == 1);
  CHECK(spec.unmanaged_file_systems(0).mount_command() == "mount -t glusterfs h:/v");
}

TEST_CASE("keys and a registry's password go to the controller") {
  std::vector<std::string> warnings;
  const v1::JobSpec spec = spec_of(custom_job_with(R"(, "mountVolumes": {
      "azureFileShares": [{"azureFileUrl": "u", "relativeMountPath": "r", "credentials": {"accountKey": "c2VjcmV0"}}],
      "azureBlobFileSystems": [{"containerName": "data", "relativeMountPath": "data", "mountOptions": "-o ro",
                                "credentials": {"accountKey": "c2VjcmV0"}}]},
      "containerSettings": {"shmSize": "8g", "imageSourceRegistry": {"image": "i", "serverUrl": "s",
        "credentials": {"username": "u", "password": "p4ss"}}})"),
                                   warnings);
  CHECK(warnings.empty());
  CHECK(spec.azure_file_shares(0).account_key() == "c2VjcmV0");
  CHECK(spec.azure_blob_file_systems(0).account_key() == "c2VjcmV0");
  CHECK(spec.azure_blob_file_systems(0).account_name() == "mystorageaccount");  // the command line's
  CHECK(spec.azure_blob_file_systems(0).container_name() == "data");
  CHECK(spec.azure_blob_file_systems(0).mount_options() == "-o ro");
  CHECK(spec.image_server_url() == "s");
  CHECK(spec.image_user_name() == "u");
  CHECK(spec.image_password() == "p4ss");
  CHECK(spec.shm_size() == "8g");
}

TEST_CASE("a file of 2017 or early 2018 is taken; what became of its old fields is said") {
  std::vector<std::string> warnings;
  const v1::JobSpec spec = spec_of(R"({
    "$schema": "https://raw.githubusercontent.com/Azure/BatchAI/master/schemas/2017-09-01-preview/job.json",
    "location": "eastus", "tags": {"a": "b"}, "name": "j", "type": "Microsoft.BatchAI/Job", "properties": {
      "experimentName": "e", "toolType": "custom", "priority": 7, "nodeCount": 1, "stdOutErrPathPrefix": "p",
      "environmentVariables": [{"name": "EMPTY"}], "constraints": {"maxWallClockTime": "1.00:00:00"},
      "outputDirectories": [{"id": "M", "pathPrefix": "p", "type": "model", "createNew": true}],
      "customToolkitSettings": {"commandLine": "true"}}})",
                                   warnings);
  CHECK(spec.scheduling_priority() == v1::PRIORITY_HIGH);
  CHECK(spec.max_wall_clock_time().seconds() == 24 * 3600);
  CHECK(spec.environment_variables(0).value().empty());
  std::string all;
  for (const std::string& warning : warnings) all += warning + "\n";
  for (const char* field :
       {"location: ignored", "tags: ignored", "name: ignored", "type: ignored", "properties.experimentName: ignored",
        "properties.toolType: ignored", "properties.outputDirectories[0].type: ignored",
        "properties.outputDirectories[0].createNew: ignored",
        "properties.priority: a field of an older API version, taken as schedulingPriority high"}) {
    CAPTURE(all);
    CHECK(all.find(field) != std::string::npos);
  }
  const auto priority = [](const std::string& value) {
    std::vector<std::string> ignored;
    return spec_of(custom_job_with(", \"priority\": " + value), ignored).scheduling_priority();
  };
  CHECK(priority("-1000") == v1::PRIORITY_LOW);
  CHECK(priority("0") == v1::PRIORITY_NORMAL);
  CHECK(error_of(custom_job_with(R"(, "priority": -1001)")) ==
        "properties.priority: must be at least -1000, got -1001");
  CHECK(error_of(custom_job_with(R"(, "priority": 1001)")) == "properties.priority: must be at most 1000, got 1001");
  CHECK(error_of(custom_job_with(R"(, "priority": 1, "schedulingPriority": "low")")) ==
        "properties.priority: is given together with schedulingPriority: give one of them");
}

TEST_CASE("a job has exactly one toolkit") {
  CHECK(error_of(job_with("")) ==
        "properties: has no toolkit: give one of horovodSettings, tensorFlowSettings, pyTorchSettings, "
        "customMpiSettings, customToolkitSettings, chainerSettings, cntkSettings, caffeSettings, caffe2Settings, "
        "torchrunSettings, jaxSettings");
  CHECK_THAT(error_of(job_with(R"(, "mxnetSettings": {})")), Catch::StartsWith("properties: has no toolkit"));
  CHECK(error_of(custom_job_with(R"(, "horovodSettings": {"pythonScriptFilePath": "a.py"})")) ==
        "properties: has more than one toolkit (horovodSettings and customToolkitSettings): a job has exactly one");
  CHECK(error_of(job_with(R"(, "horovodSettings": {})")) ==
        "properties.horovodSettings.pythonScriptFilePath: is missing");
  CHECK(error_of(job_with(R"(, "customToolkitSettings": "run")")) ==
        "properties.customToolkitSettings: must be an object, got \"run\"");
}

TEST_CASE("every toolkit's fields arrive, and wrong ones are named") {
  struct Row {
    const char *settings, *body;
    v1::Toolkit toolkit;
  };
  const Row rows[] = {
      {"horovodSettings", R"({"pythonScriptFilePath": "a.py", "commandLineArgs": "-x", "processCount": 2})",
       v1::TOOLKIT_HOROVOD},
      {"chainerSettings", R"({"pythonScriptFilePath": "a.py", "pythonInterpreterPath": "py", "processCount": 2})",
       v1::TOOLKIT_CHAINER},
      {"cntkSettings", R"({"languageType": "python", "pythonScriptFilePath": "a.py", "processCount": 2})",
       v1::TOOLKIT_CNTK},
      {"cntkSettings", R"({"languageType": "BRAINSCRIPT", "configFilePath": "a.cntk"})", v1::TOOLKIT_CNTK},
      {"cntkSettings", R"({"configFilePath": "a.cntk", "commandLineArgs": "rootDir=."})", v1::TOOLKIT_CNTK},
      {"caffeSettings", R"({"configFilePath": "a.prototxt", "processCount": 1})", v1::TOOLKIT_CAFFE},
      {"caffe2Settings", R"({"pythonScriptFilePath": "a.py", "commandLineArgs": "-x"})", v1::TOOLKIT_CAFFE2},
      {"pyTorchSettings", R"({"pythonScriptFilePath": "a.py", "communicationBackend": "Gloo", "processCount": 2})",
       v1::TOOLKIT_PYTORCH},
      {"tensorFlowSettings", R"({"pythonScriptFilePath": "a.py", "masterCommandLineArgs": "-m",
         "workerCommandLineArgs": "-w", "parameterServerCommandLineArgs": "-p", "workerCount": 2,
         "parameterServerCount": 0})",
       v1::TOOLKIT_TENSORFLOW},
      {"torchrunSettings", R"({"pythonScriptFilePath": "a.py", "processesPerNode": 4})", v1::TOOLKIT_TORCHRUN},
      {"jaxSettings", R"({"pythonScriptFilePath": "a.py", "processesPerNode": 4})", v1::TOOLKIT_JAX}};
  for (const Row& row : rows) {
    CAPTURE(row.settings);
    std::vector<std::string> warnings;
    const auto spec = spec_of(job_with(", \"" + std::string(row.settings) + "\": " + row.body), warnings);
    CHECK(spec.toolkit() == row.toolkit);
    CHECK(warnings.empty());
  }
  std::vector<std::string> warnings;
  const auto tf = spec_of(job_with(", \"tensorFlowSettings\": " + std::string(rows[8].body)), warnings);
  CHECK(tf.worker_count() == 2);
  CHECK(tf.has_parameter_server_count());
  CHECK(tf.parameter_server_command_line_args() == "-p");
  const auto torch = spec_of(job_with(", \"pyTorchSettings\": " + std::string(rows[7].body)), warnings);
  CHECK(torch.communication_backend() == v1::COMMUNICATION_BACKEND_GLOO);

  const auto wrong = [](const std::string& settings, const std::string& body) {
    return error_of(job_with(", \"" + settings + "\": " + body));
  };
  CHECK(wrong("pyTorchSettings", R"({"pythonScriptFilePath": "a", "communicationBackend": "smoke"})") ==
        "properties.pyTorchSettings.communicationBackend: must be one of tcp, gloo, nccl, mpi, got \"smoke\"");
  CHECK(wrong("tensorFlowSettings", R"({"pythonScriptFilePath": "a", "workerCount": 0})") ==
        "properties.tensorFlowSettings.workerCount: must be at least 1, got 0");
  CHECK(wrong("tensorFlowSettings", R"({"pythonScriptFilePath": "a", "parameterServerCount": -1})") ==
        "properties.tensorFlowSettings.parameterServerCount: must be at least 0, got -1");
  CHECK(wrong("cntkSettings", R"({"languageType": "python", "configFilePath": "a"})") ==
        "properties.cntkSettings.languageType: is Python, but configFilePath, which is BrainScript's, is given");
  CHECK(wrong("cntkSettings", R"({"languageType": "brainscript", "pythonScriptFilePath": "a"})") ==
        "properties.cntkSettings.languageType: is BrainScript, but there is no configFilePath");
  CHECK(wrong("cntkSettings", R"({"languageType": "cobol", "pythonScriptFilePath": "a"})") ==
        "properties.cntkSettings.languageType: must be one of BrainScript, Python, got \"cobol\"");
  CHECK(wrong("jaxSettings", R"({"pythonScriptFilePath": "a", "processesPerNode": "two"})") ==
        "properties.jaxSettings.processesPerNode: must be a whole number, got \"two\"");
}

TEST_CASE("wrong values are named with what was found") {
  const auto node_count = [](const std::string& value) {
    return error_of(R"({"properties": {"nodeCount": )" + value + "}}");
  };
  CHECK(node_count("\"four\"") == "properties.nodeCount: must be a whole number, got \"four\"");
  CHECK(node_count("1.5") == "properties.nodeCount: must be a whole number, got 1.5");
  CHECK(node_count("0") == "properties.nodeCount: must be at least 1, got 0");
  CHECK(node_count("-1") == "properties.nodeCount: must be at least 1, got -1");
  CHECK(node_count("99999999999") == "properties.nodeCount: must be at most 2147483647, got 99999999999");
  CHECK(node_count("null") == "properties.nodeCount: is missing");
  CHECK(error_of(custom_job_with(R"(, "environmentVariables": {"A": "b"})")) ==
        "properties.environmentVariables: must be an array, got {\"A\":\"b\"}");
  CHECK(error_of(custom_job_with(R"(, "environmentVariables": [{"name": "A"}])")) ==
        "properties.environmentVariables[0].value: is missing");
  CHECK_THAT(error_of(custom_job_with(R"(, "constraints": {"maxWallClockTime": "7 days"})")),
             Catch::StartsWith("properties.constraints.maxWallClockTime: must be a duration above zero"));
  CHECK(error_of(custom_job_with(R"(, "recovery": {"lease": "never"})")).starts_with("properties.recovery.lease:"));
}

TEST_CASE("a placeholder needs an account, and a job a cluster") {
  const std::string mount = custom_job_with(
      R"(, "mountVolumes": {"azureFileShares": [{"azureFileUrl": "https://<AZURE_BATCHAI_STORAGE_ACCOUNT>.file/s",
          "relativeMountPath": "r"}]})");
  CHECK(error_of(mount, JobFileOptions{"job.json", "c", ""}) ==
        "properties.mountVolumes.azureFileShares[0].azureFileUrl: contains <AZURE_BATCHAI_STORAGE_ACCOUNT>: give "
        "--storage-account-name, or set AZURE_BATCHAI_STORAGE_ACCOUNT");
  CHECK(error_of(custom_job_with(R"(, "mountVolumes": {"azureBlobFileSystems": [{"containerName": "c",
                                   "relativeMountPath": "r"}]})"),
                 JobFileOptions{"job.json", "c", ""}) ==
        "properties.mountVolumes.azureBlobFileSystems[0].accountName: is missing: give it, or --storage-account-name, "
        "or set AZURE_BATCHAI_STORAGE_ACCOUNT");
  CHECK(error_of(custom_job_with(""), JobFileOptions{"job.json", "", ""}) ==
        "no cluster: give --cluster NAME, or properties.cluster.id in job.json");
}

TEST_CASE("malformed files are told with line and column") {
  CHECK_THAT(error_of("{\n  \"properties\": {\n    \"nodeCount\": 4,\n  }\n}\n"),
             Catch::StartsWith("job.json: line 4, column 3: syntax error"));
  CHECK_THAT(error_of(""), Catch::StartsWith("job.json: line 1, column 1: "));
  CHECK(error_of("[1]") == "job.json: must hold a JSON object, got [1]");
  CHECK_THAT(error_of("{\"a\": \"\xff\"}"), Catch::StartsWith("job.json: line 1, column "));
  CHECK(error_of(R"({"properties": {"nodeCount": 1, "nodeCount": 2}})") ==
        "job.json: \"nodeCount\" is given twice in one object");
  CHECK(error_of("{}") == "properties: is missing: a job file is {\"properties\": {\"nodeCount\": ...}}");
  CHECK_THAT(error_of(custom_job_with(R"(, "comment": ")" + std::string(5 * 1024 * 1024, 'x') + "\"")),
             Catch::Contains("4 MB"));
  CHECK_THAT(error_of(custom_job_with(R"(, "environmentVariables": [{"name": "A\u0000", "value": "b"}])")),
             Catch::Contains("NUL"));
}

TEST_CASE("time limits are ISO 8601 or days and a clock") {
  CHECK(parse_time_limit("P7D") == 7LL * 24 * 3600 * 1000);
  CHECK(parse_time_limit("7.00:00:00") == 7LL * 24 * 3600 * 1000);
  CHECK(parse_time_limit("00:00:30") == 30000);
  for (const char* bad :
       {"", "0", "00:00:00", "24:00:00", "1:00:00", "x.00:00:01", "1.1.00:00:01", "PT", "-1.00:00:00"}) {
    CHECK(parse_time_limit(bad) == -1);
  }
}
