// Every field of a job that belongs to a toolkit, a container or a volume: what is taken, what stands for nothing
// given, and what is said of each kind of bad value.
#include "proto/toolkit_convert.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <map>

#include "common/model_json.h"
#include "proto/job_convert.h"

using namespace trainyard;

namespace {

const core::WorkspaceRef kHome{"g", "w"};

// A job of the toolkit with what it needs, and nothing more.
v1::JobSpec job_of(v1::Toolkit toolkit, int nodes = 2) {
  v1::JobSpec spec;
  spec.set_cluster("c");
  spec.set_node_count(nodes);
  spec.set_toolkit(toolkit);
  spec.set_std_out_err_path_prefix("/logs");
  if (toolkit == v1::TOOLKIT_CUSTOM || toolkit == v1::TOOLKIT_CUSTOM_MPI) {
    spec.set_command_line("true");
  } else {
    spec.set_python_script_file_path("train.py");
  }
  return spec;
}

std::string error_of(const v1::JobSpec& spec) {
  const auto job = from_proto(spec, kHome);
  return job ? "" : job.error().message;
}

using Change = std::function<void(v1::JobSpec&)>;
std::string error_of(v1::Toolkit toolkit, const Change& change, int nodes = 2) {
  v1::JobSpec spec = job_of(toolkit, nodes);
  change(spec);
  return error_of(spec);
}

struct ToolkitRow {
  v1::Toolkit toolkit;
  Toolkit ours;
  const char *settings, *tool_type;
  std::vector<std::string> fields;  // beside the program itself
};

const std::vector<std::string> kPython{"pythonInterpreterPath", "commandLineArgs"};
const ToolkitRow kRows[] = {
    {v1::TOOLKIT_CUSTOM, Toolkit::custom, "customToolkitSettings", "custom", {}},
    {v1::TOOLKIT_CUSTOM_MPI, Toolkit::custom_mpi, "customMpiSettings", "custommpi", {"processCount"}},
    {v1::TOOLKIT_HOROVOD,
     Toolkit::horovod,
     "horovodSettings",
     "horovod",
     {"pythonInterpreterPath", "commandLineArgs", "processCount"}},
    {v1::TOOLKIT_CHAINER,
     Toolkit::chainer,
     "chainerSettings",
     "chainer",
     {"pythonInterpreterPath", "commandLineArgs", "processCount"}},
    {v1::TOOLKIT_CNTK,
     Toolkit::cntk,
     "cntkSettings",
     "cntk",
     {"pythonInterpreterPath", "commandLineArgs", "processCount"}},
    {v1::TOOLKIT_CAFFE,
     Toolkit::caffe,
     "caffeSettings",
     "caffe",
     {"pythonInterpreterPath", "commandLineArgs", "processCount"}},
    {v1::TOOLKIT_CAFFE2, Toolkit::caffe2, "caffe2Settings", "caffe2", kPython},
    {v1::TOOLKIT_PYTORCH,
     Toolkit::py_torch,
     "pyTorchSettings",
     "pytorch",
     {"pythonInterpreterPath", "commandLineArgs", "processCount", "communicationBackend"}},
    {v1::TOOLKIT_TENSORFLOW,
     Toolkit::tensor_flow,
     "tensorFlowSettings",
     "tensorflow",
     {"pythonInterpreterPath", "masterCommandLineArgs", "workerCommandLineArgs", "parameterServerCommandLineArgs",
      "workerCount", "parameterServerCount"}},
    {v1::TOOLKIT_TORCHRUN,
     Toolkit::torchrun,
     "torchrunSettings",
     "torchrun",
     {"pythonInterpreterPath", "commandLineArgs", "processesPerNode"}},
    {v1::TOOLKIT_JAX,
     Toolkit::jax,
     "jaxSettings",
     "jax",
     {"pythonInterpreterPath", "commandLineArgs", "processesPerNode"}}};

// Each field with a value that every toolkit that has it takes.
const std::map<std::string, Change>& fields() {
  static const std::map<std::string, Change> table{
      {"pythonInterpreterPath", [](auto& s) { s.set_python_interpreter_path("/opt/python"); }},
      {"commandLineArgs", [](auto& s) { s.set_command_line_args("--epochs 3"); }},
      {"processCount", [](auto& s) { s.set_process_count(4); }},
      {"processesPerNode", [](auto& s) { s.set_processes_per_node(2); }},
      {"communicationBackend", [](auto& s) { s.set_communication_backend(v1::COMMUNICATION_BACKEND_NCCL); }},
      {"masterCommandLineArgs", [](auto& s) { s.set_master_command_line_args("--master"); }},
      {"workerCommandLineArgs", [](auto& s) { s.set_worker_command_line_args("--worker"); }},
      {"parameterServerCommandLineArgs", [](auto& s) { s.set_parameter_server_command_line_args("--ps"); }},
      {"workerCount", [](auto& s) { s.set_worker_count(3); }},
      {"parameterServerCount", [](auto& s) { s.set_parameter_server_count(0); }}};
  return table;
}

}  // namespace

TEST_CASE("each toolkit takes its own fields, refuses the others' by name, and comes back as it was given") {
  for (const ToolkitRow& row : kRows) {
    CAPTURE(row.settings);
    v1::JobSpec spec = job_of(row.toolkit);
    for (const std::string& field : row.fields) fields().at(field)(spec);
    const auto job = from_proto(spec, kHome);
    REQUIRE((job ? "" : job.error().message) == "");
    CHECK(job->spec.toolkit == row.ours);
    CHECK(name_of(job->spec.toolkit) == std::string(row.tool_type));
    v1::JobSpec shown;
    to_proto(job->spec, "g/w/c", shown);
    const auto again = from_proto(shown, kHome);
    REQUIRE(again.ok());
    CHECK(again->spec == job->spec);
    const auto stored = from_json_text<JobSpec>(to_json_text(job->spec));
    REQUIRE(stored.ok());
    CHECK(*stored == job->spec);
    for (const auto& [field, set] : fields()) {
      if (std::find(row.fields.begin(), row.fields.end(), field) != row.fields.end()) continue;
      CHECK(error_of(row.toolkit, set) ==
            "properties." + std::string(row.settings) + "." + field + ": is no field of this toolkit");
    }
  }
}

TEST_CASE("what a toolkit needs is asked for by name") {
  for (const ToolkitRow& row : kRows) {
    CAPTURE(row.settings);
    const std::string prefix = "properties." + std::string(row.settings);
    const std::string message = error_of(row.toolkit, [](auto& s) {
      s.clear_command_line();
      s.clear_python_script_file_path();
    });
    if (row.ours == Toolkit::cntk || row.ours == Toolkit::caffe) {
      CHECK(message == prefix + ": names nothing to run: give configFilePath or pythonScriptFilePath");
    } else if (row.ours == Toolkit::custom || row.ours == Toolkit::custom_mpi) {
      CHECK(message == prefix + ".commandLine: is missing");
    } else {
      CHECK(message == prefix + ".pythonScriptFilePath: is missing");
    }
  }
  CHECK(error_of(v1::TOOLKIT_UNSPECIFIED, [](auto&) {
        }).starts_with("properties: names no toolkit; give exactly one of "));
}

TEST_CASE("nothing given: Batch AI's defaults") {
  const auto job = from_proto(job_of(v1::TOOLKIT_PYTORCH), kHome);
  REQUIRE(job.ok());
  CHECK(job->spec.process_count == 0);  // nodeCount
  CHECK(job->spec.communication_backend == CommunicationBackend::gloo);
  const auto tensor_flow = from_proto(job_of(v1::TOOLKIT_TENSORFLOW), kHome);
  REQUIRE(tensor_flow.ok());
  CHECK_FALSE(tensor_flow->spec.worker_count.has_value());
  CHECK_FALSE(tensor_flow->spec.parameter_server_count.has_value());
  // A row that an earlier version stored has none of the newer keys.
  const auto old = from_json_text<JobSpec>(R"({"nodeCount":2,"toolkit":"horovod","processCount":4})");
  REQUIRE(old.ok());
  CHECK(old->communication_backend == CommunicationBackend::gloo);
  CHECK(old->blob_file_systems.empty());
}

TEST_CASE("a configuration file goes with cntk and caffe, instead of a script") {
  const Change config = [](auto& s) {
    s.clear_python_script_file_path();
    s.set_config_file_path("a.cntk");
  };
  CHECK(error_of(v1::TOOLKIT_CNTK, config) == "");
  CHECK(error_of(v1::TOOLKIT_CAFFE, config) == "");
  CHECK(error_of(v1::TOOLKIT_CNTK, [](auto& s) { s.set_config_file_path("a"); }) ==
        "properties.cntkSettings.configFilePath: is given together with pythonScriptFilePath: give one of them");
  CHECK(error_of(v1::TOOLKIT_CAFFE,
                 [&](auto& s) {
                   config(s);
                   s.set_python_interpreter_path("python3");
                 }) ==
        "properties.caffeSettings.pythonInterpreterPath: goes with pythonScriptFilePath only, and configFilePath is "
        "given");
  CHECK(error_of(v1::TOOLKIT_HOROVOD, [](auto& s) { s.set_config_file_path("a"); }) ==
        "properties.horovodSettings.configFilePath: is no field of this toolkit");
}

TEST_CASE("counts are held against their limits") {
  const auto tf = [](const Change& change) { return error_of(v1::TOOLKIT_TENSORFLOW, change); };
  CHECK(tf([](auto& s) { s.set_worker_count(0); }) ==
        "properties.tensorFlowSettings.workerCount: must be 1 to 4096, got 0");
  CHECK(tf([](auto& s) { s.set_worker_count(-1); }) ==
        "properties.tensorFlowSettings.workerCount: must be 1 to 4096, got -1");
  CHECK(tf([](auto& s) { s.set_worker_count(512); }) ==
        "properties.tensorFlowSettings.workerCount: makes 513 processes on 2 node(s); without MPI at most 256 per node "
        "and 4096 in all are started");
  CHECK(tf([](auto& s) { s.set_parameter_server_count(3); }) ==
        "properties.tensorFlowSettings.parameterServerCount: must be 0 to 2 (nodeCount), got 3");
  CHECK(error_of(v1::TOOLKIT_HOROVOD, [](auto& s) { s.set_process_count(-2); }) ==
        "properties.horovodSettings.processCount: must be 1 to 1000000, got -2");
  CHECK(error_of(v1::TOOLKIT_PYTORCH, [](auto& s) { s.set_process_count(1); }) ==
        "properties.pyTorchSettings.processCount: is 1, less than nodeCount 2: 1 node(s) would have nothing to do");
  CHECK(error_of(v1::TOOLKIT_PYTORCH, [](auto& s) {
          s.set_process_count(513);
        }).starts_with("properties.pyTorchSettings.processCount: makes 513 processes on 2 node(s)"));
  CHECK(error_of(v1::TOOLKIT_PYTORCH, [](auto& s) {
          s.set_process_count(5000);
          s.set_communication_backend(v1::COMMUNICATION_BACKEND_MPI);
        }) == "");
  CHECK(error_of(v1::TOOLKIT_JAX, [](auto& s) { s.set_processes_per_node(257); }) ==
        "properties.jaxSettings.processesPerNode: must be 1 to 256, got 257");
  CHECK(error_of(
            v1::TOOLKIT_TORCHRUN, [](auto& s) { s.set_processes_per_node(200); }, 30)
            .starts_with("properties.torchrunSettings.processesPerNode: makes 6000 processes"));
  CHECK(error_of(
            v1::TOOLKIT_CAFFE2, [](auto&) {}, 5000)
            .starts_with("properties.nodeCount: makes 5000 processes"));
  CHECK(error_of(v1::TOOLKIT_PYTORCH, [](auto& s) {
          s.set_communication_backend(static_cast<v1::CommunicationBackend>(77));
        }) == "properties.pyTorchSettings.communicationBackend: is not known: use tcp, gloo, nccl or mpi");
  CHECK(tf([](auto& s) { s.set_worker_command_line_args(std::string("a\0b", 3)); }) ==
        "properties.tensorFlowSettings.workerCommandLineArgs: must not contain NUL");
  CHECK(tf([](auto& s) { s.set_master_command_line_args(std::string(65537, 'x')); }) ==
        "properties.tensorFlowSettings.masterCommandLineArgs: is longer than 65536 bytes");
}

TEST_CASE("blob containers are mounted like shares") {
  v1::JobSpec spec = job_of(v1::TOOLKIT_CUSTOM);
  auto& blob = *spec.add_azure_blob_file_systems();
  blob.set_account_name("acc");
  blob.set_container_name("data");
  blob.set_relative_mount_path("./data/");
  blob.set_mount_options("-o allow_other");
  const auto job = from_proto(spec, kHome);
  REQUIRE((job ? "" : job.error().message) == "");
  CHECK(job->spec.blob_file_systems.at(0) == BlobMount{"acc", "data", "data", "-o allow_other"});
  const auto broken = [&](const std::function<void(v1::AzureBlobFileSystem&)>& change) {
    v1::JobSpec other = spec;
    change(*other.mutable_azure_blob_file_systems(0));
    return error_of(other);
  };
  const std::string field = "properties.mountVolumes.azureBlobFileSystems[0].";
  CHECK(broken([](auto& b) { b.clear_account_name(); }) == field + "accountName: is missing");
  CHECK(broken([](auto& b) { b.clear_container_name(); }) == field + "containerName: is missing");
  CHECK(broken([](auto& b) { b.set_container_name("a/b"); }).starts_with(field + "containerName: "));
  CHECK(broken([](auto& b) { b.set_relative_mount_path("../x"); }).starts_with(field + "relativeMountPath: "));
  CHECK(broken([](auto& b) { b.set_mount_options(std::string("\0", 1)); }) ==
        field + "mountOptions: must not contain NUL");
  auto& share = *spec.add_azure_file_shares();
  share.set_azure_file_url("https://acc.file.core.windows.net/s");
  share.set_relative_mount_path("data/s");
  CHECK(error_of(spec) == field + "relativeMountPath: \"data\" overlaps with the mount at \"data/s\"");
}

TEST_CASE("container settings are checked and kept, without a password") {
  v1::JobSpec spec = job_of(v1::TOOLKIT_CUSTOM);
  spec.set_image("private.example/team/image:1");
  spec.set_image_server_url("https://private.example");
  spec.set_image_user_name("me");
  for (const char* size : {"8g", "512M", "67108864", "1k", "3b"}) {
    spec.set_shm_size(size);
    CHECK(error_of(spec) == "");
  }
  const auto job = from_proto(spec, kHome);
  CHECK(job->spec.container == ContainerOptions{"https://private.example", "me", "3b"});
  for (const char* size : {"g", "8gb", "-1", "1.5g", "0", "8 g", "99999999999999999g"}) {
    spec.set_shm_size(size);
    CHECK(error_of(spec).starts_with("properties.containerSettings.shmSize: \""));
  }
  spec.set_shm_size("8g");
  spec.clear_image();
  CHECK(error_of(spec) == "properties.containerSettings.imageSourceRegistry.image: is missing");
}
