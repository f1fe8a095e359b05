// Job files and cluster files: what is taken, and that everything else is refused by its path.
#include "cli/job_file.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "cli/json_fields.h"

using namespace trainyard;
using namespace trainyard::cli;

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
  const auto spec = read_job_file(text, options);
  return spec ? "no error" : spec.error().message;
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
  const auto spec = read_job_file(text, kOptions);
  REQUIRE((spec ? "" : spec.error().message) == "");
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
      "recovery": {"onNodeLoss": "fail", "maxRequeues": 0, "rerunAfter": "gangbroken", "lease": "forever",
                   "gangAbortAfter": "PT5S", "grace": "PT3S"}}})",
                                  JobFileOptions{"job.json", "", "acc"});
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
  CHECK(spec->recovery().on_node_loss() == v1::Recovery::ON_NODE_LOSS_FAIL);
  CHECK(spec->recovery().max_requeues() == 0);
  CHECK(spec->recovery().rerun_after() == v1::Recovery::RERUN_AFTER_GANG_BROKEN);
  CHECK(spec->recovery().lease_forever());
  CHECK(spec->recovery().gang_abort_after().seconds() == 5);
  CHECK(spec->recovery().grace().seconds() == 3);
}

TEST_CASE("what is not supported yet is refused by its exact path") {
  const auto refused = [](const std::string& more) { return error_of(custom_job_with(more)); };
  CHECK(refused(R"(, "secrets": [])") == "not supported yet: properties.secrets");
  CHECK(refused(R"(, "mountVolumes": {"fileServers": []})") ==
        "not supported yet: properties.mountVolumes.fileServers");
  CHECK(
      refused(R"(, "mountVolumes": {"azureFileShares": [{"azureFileUrl": "u", "relativeMountPath": "r", "x": 1}]})") ==
      "not supported yet: properties.mountVolumes.azureFileShares[0].x");
  CHECK(refused(R"(, "mountVolumes": {"azureFileShares": [{"azureFileUrl": "u", "relativeMountPath": "r",
                     "credentials": {"accountKey": "c2VjcmV0"}}]})") ==
        "not supported yet: properties.mountVolumes.azureFileShares[0].credentials.accountKey: the operator's storage "
        "table gives access; remove the key");
  CHECK(refused(R"(, "containerSettings": {"shmSize": "8g", "imageSourceRegistry": {"image": "i"}})") ==
        "not supported yet: properties.containerSettings.shmSize");
  CHECK(refused(R"(, "containerSettings": {"imageSourceRegistry": {"image": "i", "serverUrl": "s"}})") ==
        "not supported yet: properties.containerSettings.imageSourceRegistry.serverUrl");
  CHECK(refused(R"(, "pyTorchSettings": {})") == "not supported yet: properties.pyTorchSettings");
  CHECK(refused(R"(, "constraints": {"maxCost": 1})") == "not supported yet: properties.constraints.maxCost");
  CHECK(refused(R"(, "recovery": {"x": 1})") == "not supported yet: properties.recovery.x");
  CHECK(refused(R"(, "stdouterrpathprefix": "x")") ==
        "not supported yet: properties.stdouterrpathprefix: did you mean stdOutErrPathPrefix?");
  CHECK(error_of(job_with(R"(, "tensorFlowSettings": {})")) == "not supported yet: properties.tensorFlowSettings");
  CHECK(error_of(job_with(R"(, "mxnetSettings": {})")) == "not supported yet: properties.mxnetSettings");
  CHECK(error_of(R"({"location": "x", "properties": {}})") == "not supported yet: location");
  CHECK(refused(R"(, "secrets": null)") == "no error");
}

TEST_CASE("a job has exactly one toolkit") {
  CHECK(error_of(job_with("")) ==
        "properties: has no toolkit: give one of horovodSettings, customMpiSettings, customToolkitSettings");
  CHECK(error_of(custom_job_with(R"(, "horovodSettings": {"pythonScriptFilePath": "a.py"})")) ==
        "properties: has more than one toolkit (horovodSettings and customToolkitSettings): a job has exactly one");
  CHECK(error_of(job_with(R"(, "horovodSettings": {})")) ==
        "properties.horovodSettings.pythonScriptFilePath: is missing");
  CHECK(error_of(job_with(R"(, "customToolkitSettings": "run")")) ==
        "properties.customToolkitSettings: must be an object, got \"run\"");
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
  CHECK(error_of(custom_job_with(R"(, "schedulingPriority": "urgent")")) ==
        "properties.schedulingPriority: must be one of low, normal, high, got \"urgent\"");
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
