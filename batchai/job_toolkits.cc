#include "batchai/job_toolkits.h"

#include <string>

namespace trainyard::batchai {
namespace {

using Need = Fields::Need;

struct Named {
  const char* key;
  v1::Toolkit toolkit;
};
constexpr Named kToolkits[] = {{"horovodSettings", v1::TOOLKIT_HOROVOD},
                               {"tensorFlowSettings", v1::TOOLKIT_TENSORFLOW},
                               {"pyTorchSettings", v1::TOOLKIT_PYTORCH},
                               {"customMpiSettings", v1::TOOLKIT_CUSTOM_MPI},
                               {"customToolkitSettings", v1::TOOLKIT_CUSTOM},
                               {"chainerSettings", v1::TOOLKIT_CHAINER},
                               {"cntkSettings", v1::TOOLKIT_CNTK},
                               {"caffeSettings", v1::TOOLKIT_CAFFE},
                               {"caffe2Settings", v1::TOOLKIT_CAFFE2},
                               {"torchrunSettings", v1::TOOLKIT_TORCHRUN},
                               {"jaxSettings", v1::TOOLKIT_JAX}};

void read_process_count(Fields& settings, v1::JobSpec& spec) {
  if (const auto count = settings.whole("processCount", 1)) spec.set_process_count(*count);
}

void read_python(Fields& settings, v1::JobSpec& spec, Need script) {
  spec.set_python_script_file_path(settings.text("pythonScriptFilePath", script));
  spec.set_python_interpreter_path(settings.text("pythonInterpreterPath"));
}

void read_per_node(Fields& settings, v1::JobSpec& spec) {
  read_python(settings, spec, Need::required);
  spec.set_command_line_args(settings.text("commandLineArgs"));
  if (const auto count = settings.whole("processesPerNode", 1)) spec.set_processes_per_node(*count);
}

void read_py_torch(Fields& settings, v1::JobSpec& spec) {
  read_python(settings, spec, Need::required);
  spec.set_command_line_args(settings.text("commandLineArgs"));
  read_process_count(settings, spec);
  spec.set_communication_backend(settings.one_of("communicationBackend",
                                                 {{"tcp", v1::COMMUNICATION_BACKEND_TCP},
                                                  {"gloo", v1::COMMUNICATION_BACKEND_GLOO},
                                                  {"nccl", v1::COMMUNICATION_BACKEND_NCCL},
                                                  {"mpi", v1::COMMUNICATION_BACKEND_MPI}},
                                                 v1::COMMUNICATION_BACKEND_UNSPECIFIED));
}

void read_tensor_flow(Fields& settings, v1::JobSpec& spec) {
  read_python(settings, spec, Need::required);
  spec.set_master_command_line_args(settings.text("masterCommandLineArgs"));
  spec.set_worker_command_line_args(settings.text("workerCommandLineArgs"));
  spec.set_parameter_server_command_line_args(settings.text("parameterServerCommandLineArgs"));
  if (const auto count = settings.whole("workerCount", 1)) spec.set_worker_count(*count);
  if (const auto count = settings.whole("parameterServerCount", 0)) spec.set_parameter_server_count(*count);
}

// cntk and caffe: a configuration or a script. cntk's languageType only says which, so it must agree.
void read_script_or_configuration(Fields& settings, v1::JobSpec& spec) {
  if (spec.toolkit() == v1::TOOLKIT_CNTK) {
    const bool brain_script = settings.has("configFilePath");
    const bool said = settings.one_of("languageType", {{"BrainScript", true}, {"Python", false}}, brain_script);
    if (said != brain_script) {
      settings.fail("languageType", said ? "is BrainScript, but there is no configFilePath"
                                         : "is Python, but configFilePath, which is BrainScript's, is given");
    }
  }
  spec.set_config_file_path(settings.text("configFilePath"));
  read_python(settings, spec, Need::optional);
  spec.set_command_line_args(settings.text("commandLineArgs"));
  read_process_count(settings, spec);
}

void read_settings(Fields& settings, v1::JobSpec& spec) {
  switch (spec.toolkit()) {
    case v1::TOOLKIT_CUSTOM:
      spec.set_command_line(settings.text("commandLine", Need::required));
      return;
    case v1::TOOLKIT_CUSTOM_MPI:
      spec.set_command_line(settings.text("commandLine", Need::required));
      return read_process_count(settings, spec);
    case v1::TOOLKIT_CNTK:
    case v1::TOOLKIT_CAFFE:
      return read_script_or_configuration(settings, spec);
    case v1::TOOLKIT_PYTORCH:
      return read_py_torch(settings, spec);
    case v1::TOOLKIT_TENSORFLOW:
      return read_tensor_flow(settings, spec);
    case v1::TOOLKIT_TORCHRUN:
    case v1::TOOLKIT_JAX:
      return read_per_node(settings, spec);
    default:  // horovod, chainer; caffe2, which has one process per node
      read_python(settings, spec, Need::required);
      spec.set_command_line_args(settings.text("commandLineArgs"));
      if (spec.toolkit() != v1::TOOLKIT_CAFFE2) read_process_count(settings, spec);
  }
}

Json or_null(const std::string& text) {
  return text.empty() ? Json(nullptr) : Json(text);
}

Json count_or_null(std::int32_t count) {
  return count > 0 ? Json(count) : Json(nullptr);
}

const char* backend_name(v1::CommunicationBackend backend) {
  switch (backend) {
    case v1::COMMUNICATION_BACKEND_TCP:
      return "tcp";
    case v1::COMMUNICATION_BACKEND_NCCL:
      return "nccl";
    case v1::COMMUNICATION_BACKEND_MPI:
      return "mpi";
    default:
      return "gloo";
  }
}

Json shown_settings(const v1::JobSpec& spec) {
  const v1::Toolkit toolkit = spec.toolkit();
  if (toolkit == v1::TOOLKIT_CUSTOM) return {{"commandLine", spec.command_line()}};
  if (toolkit == v1::TOOLKIT_CUSTOM_MPI) {
    return {{"commandLine", spec.command_line()}, {"processCount", count_or_null(spec.process_count())}};
  }
  Json out = {{"pythonInterpreterPath", or_null(spec.python_interpreter_path())},
              {"pythonScriptFilePath", or_null(spec.python_script_file_path())}};
  if (toolkit == v1::TOOLKIT_TENSORFLOW) {
    out["masterCommandLineArgs"] = or_null(spec.master_command_line_args());
    out["workerCommandLineArgs"] = or_null(spec.worker_command_line_args());
    out["parameterServerCommandLineArgs"] = or_null(spec.parameter_server_command_line_args());
    out["workerCount"] = spec.has_worker_count() ? Json(spec.worker_count()) : Json(nullptr);
    out["parameterServerCount"] =
        spec.has_parameter_server_count() ? Json(spec.parameter_server_count()) : Json(nullptr);
    return out;
  }
  out["commandLineArgs"] = or_null(spec.command_line_args());
  if (toolkit == v1::TOOLKIT_CAFFE2) return out;
  if (toolkit == v1::TOOLKIT_TORCHRUN || toolkit == v1::TOOLKIT_JAX) {
    out["processesPerNode"] = count_or_null(spec.processes_per_node());
    return out;
  }
  out["processCount"] = count_or_null(spec.process_count());
  if (toolkit == v1::TOOLKIT_PYTORCH) out["communicationBackend"] = backend_name(spec.communication_backend());
  if (toolkit == v1::TOOLKIT_CNTK || toolkit == v1::TOOLKIT_CAFFE) {
    out["configFilePath"] = or_null(spec.config_file_path());
  }
  if (toolkit == v1::TOOLKIT_CNTK) out["languageType"] = spec.config_file_path().empty() ? "Python" : "BrainScript";
  return out;
}

}  // namespace

void read_toolkit(Fields& properties, v1::JobSpec& spec) {
  std::string given, all;
  int count = 0;
  for (const Named& named : kToolkits) {
    all += (all.empty() ? "" : ", ") + std::string(named.key);
    Fields settings = properties.object(named.key);
    if (!properties.has(named.key)) continue;
    given += (given.empty() ? "" : " and ") + std::string(named.key);
    if (++count > 1) continue;
    spec.set_toolkit(named.toolkit);
    read_settings(settings, spec);
    settings.finish();
  }
  if (count == 0) properties.fail("", "has no toolkit: give one of " + all);
  if (count > 1) properties.fail("", "has more than one toolkit (" + given + "): a job has exactly one");
}

void add_toolkits(const v1::JobSpec& spec, Json& out) {
  for (const Named& named : kToolkits) {
    out[named.key] = named.toolkit == spec.toolkit() ? shown_settings(spec) : Json(nullptr);
  }
}

}  // namespace trainyard::batchai
