#include "proto/toolkit_convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

namespace trainyard {
namespace {

constexpr std::int32_t kMaxProcesses = 1'000'000;
constexpr std::size_t kMaxText = 64 * 1024;

// What a toolkit's settings object may hold.
struct Settings {
  v1::Toolkit wire;
  Toolkit toolkit;
  const char* name;
  std::set<std::string> fields;
};

const std::set<std::string>& python_mpi() {
  static const std::set<std::string> fields{"pythonScriptFilePath", "pythonInterpreterPath", "commandLineArgs",
                                            "processCount"};
  return fields;
}

std::set<std::string> with(std::set<std::string> fields, const std::string& more) {
  fields.insert(more);
  return fields;
}

const std::vector<Settings>& all_settings() {
  static const std::vector<Settings> table{
      {v1::TOOLKIT_CUSTOM, Toolkit::custom, "customToolkitSettings", {"commandLine"}},
      {v1::TOOLKIT_CUSTOM_MPI, Toolkit::custom_mpi, "customMpiSettings", {"commandLine", "processCount"}},
      {v1::TOOLKIT_HOROVOD, Toolkit::horovod, "horovodSettings", python_mpi()},
      {v1::TOOLKIT_CHAINER, Toolkit::chainer, "chainerSettings", python_mpi()},
      {v1::TOOLKIT_CNTK, Toolkit::cntk, "cntkSettings", with(python_mpi(), "configFilePath")},
      {v1::TOOLKIT_CAFFE, Toolkit::caffe, "caffeSettings", with(python_mpi(), "configFilePath")},
      {v1::TOOLKIT_CAFFE2,
       Toolkit::caffe2,
       "caffe2Settings",
       {"pythonScriptFilePath", "pythonInterpreterPath", "commandLineArgs"}},
      {v1::TOOLKIT_PYTORCH, Toolkit::py_torch, "pyTorchSettings", with(python_mpi(), "communicationBackend")},
      {v1::TOOLKIT_TENSORFLOW,
       Toolkit::tensor_flow,
       "tensorFlowSettings",
       {"pythonScriptFilePath", "pythonInterpreterPath", "masterCommandLineArgs", "workerCommandLineArgs",
        "parameterServerCommandLineArgs", "workerCount", "parameterServerCount"}},
      {v1::TOOLKIT_TORCHRUN,
       Toolkit::torchrun,
       "torchrunSettings",
       {"pythonScriptFilePath", "pythonInterpreterPath", "commandLineArgs", "processesPerNode"}},
      {v1::TOOLKIT_JAX,
       Toolkit::jax,
       "jaxSettings",
       {"pythonScriptFilePath", "pythonInterpreterPath", "commandLineArgs", "processesPerNode"}}};
  return table;
}

const Settings* settings_of(v1::Toolkit wire) {
  for (const Settings& settings : all_settings()) {
    if (settings.wire == wire) return &settings;
  }
  return nullptr;
}

using Texts = std::vector<std::pair<const char*, const std::string*>>;
Texts texts_of(const v1::JobSpec& message) {
  return {{"commandLine", &message.command_line()},
          {"pythonScriptFilePath", &message.python_script_file_path()},
          {"pythonInterpreterPath", &message.python_interpreter_path()},
          {"commandLineArgs", &message.command_line_args()},
          {"configFilePath", &message.config_file_path()},
          {"masterCommandLineArgs", &message.master_command_line_args()},
          {"workerCommandLineArgs", &message.worker_command_line_args()},
          {"parameterServerCommandLineArgs", &message.parameter_server_command_line_args()}};
}

// Fields of other toolkits are refused; texts must be carried by a command line.
Status check_fields(const v1::JobSpec& message, const Settings& settings) {
  std::vector<std::pair<std::string, bool>> given;
  for (const auto& [field, text] : texts_of(message)) {
    if (const Status status = check_text(settings.name + std::string(".") + field, *text); !status) return status;
    given.emplace_back(field, !text->empty());
  }
  given.emplace_back("processCount", message.process_count() != 0);
  given.emplace_back("processesPerNode", message.processes_per_node() != 0);
  given.emplace_back("workerCount", message.has_worker_count());
  given.emplace_back("parameterServerCount", message.has_parameter_server_count());
  given.emplace_back("communicationBackend", message.communication_backend() != v1::COMMUNICATION_BACKEND_UNSPECIFIED);
  for (const auto& [field, is_set] : given) {
    if (is_set && !settings.fields.contains(field)) {
      return invalid(settings.name + ("." + field), "is no field of this toolkit");
    }
  }
  return {};
}

// The program: a command, a script, or one of script and configuration.
Status check_program(const v1::JobSpec& message, const Settings& settings) {
  const std::string prefix = settings.name + std::string(".");
  if (settings.fields.contains("commandLine")) {
    return message.command_line().empty() ? Status(invalid(prefix + "commandLine", "is missing")) : Status();
  }
  const bool script = !message.python_script_file_path().empty(), config = !message.config_file_path().empty();
  if (!settings.fields.contains("configFilePath")) {
    return script ? Status() : Status(invalid(prefix + "pythonScriptFilePath", "is missing"));
  }
  if (script && config) {
    return invalid(prefix + "configFilePath", "is given together with pythonScriptFilePath: give one of them");
  }
  if (!script && !config) {
    return invalid(settings.name, "names nothing to run: give configFilePath or pythonScriptFilePath");
  }
  if (config && !message.python_interpreter_path().empty()) {
    return invalid(prefix + "pythonInterpreterPath",
                   "goes with pythonScriptFilePath only, and configFilePath is given");
  }
  return {};
}

Status check_range(const std::string& field, std::int64_t value, std::int64_t least, std::int64_t most,
                   const std::string& why = "") {
  if (value >= least && value <= most) return {};
  return invalid(field, fmt::format("must be {} to {}{}, got {}", least, most, why, value));
}

// Processes that Trainyard starts itself, without mpirun, have limits of their own.
Status check_task_counts(const std::string& field, std::uint64_t count, std::uint32_t nodes) {
  const std::uint64_t most = std::min<std::uint64_t>(kMaxTasks, std::uint64_t{kTaskPorts} * nodes);
  if (count <= most) return {};
  return invalid(field,
                 fmt::format("makes {} processes on {} node(s); without MPI at most {} per node and {} in all are "
                             "started",
                             count, nodes, kTaskPorts, kMaxTasks));
}

Status check_counts(const v1::JobSpec& message, const JobSpec& spec, const std::string& prefix) {
  if (message.process_count() != 0) {
    if (const Status in = check_range(prefix + "processCount", message.process_count(), 1, kMaxProcesses); !in)
      return in;
  }
  if (message.processes_per_node() != 0) {
    const Status in = check_range(prefix + "processesPerNode", message.processes_per_node(), 1, kTaskPorts);
    if (!in) return in;
  }
  if (message.min_node_count() != 0 &&
      (message.process_count() != 0 || message.has_worker_count() || message.has_parameter_server_count())) {
    return invalid("resources.minNodes", "goes without counts of processes: these follow from the nodes that it gets");
  }
  if (message.has_worker_count()) {
    const Status in = check_range(prefix + "workerCount", message.worker_count(), 1, kMaxTasks);
    if (!in) return in;
  }
  if (message.has_parameter_server_count()) {
    const Status in = check_range(prefix + "parameterServerCount", message.parameter_server_count(), 0, spec.node_count,
                                  " (nodeCount)");
    if (!in) return in;
  }
  const std::uint64_t nodes = spec.node_count;
  switch (spec.toolkit) {
    case Toolkit::py_torch:
      if (spec.communication_backend == CommunicationBackend::mpi) return {};
      if (message.process_count() != 0 && message.process_count() < message.node_count()) {
        return invalid(
            prefix + "processCount",
            fmt::format("is {}, less than nodeCount {}: {} node(s) would have nothing to do", message.process_count(),
                        message.node_count(), message.node_count() - message.process_count()));
      }
      return check_task_counts(
          prefix + "processCount",
          message.process_count() != 0 ? static_cast<std::uint64_t>(message.process_count()) : nodes, spec.node_count);
    case Toolkit::tensor_flow:
      return check_task_counts(
          prefix + "workerCount",
          spec.worker_count.value_or(spec.node_count) + std::uint64_t{spec.parameter_server_count.value_or(1)},
          spec.node_count);
    case Toolkit::torchrun:
    case Toolkit::jax:
      return check_task_counts(prefix + "processesPerNode", nodes * std::max(1U, spec.processes_per_node),
                               spec.node_count);
    case Toolkit::caffe2:
      return check_task_counts("nodeCount", nodes, spec.node_count);
    default:
      return {};
  }
}

Result<CommunicationBackend> backend_from_proto(const std::string& prefix, v1::CommunicationBackend backend) {
  switch (backend) {
    case v1::COMMUNICATION_BACKEND_UNSPECIFIED:
    case v1::COMMUNICATION_BACKEND_GLOO:
      return CommunicationBackend::gloo;
    case v1::COMMUNICATION_BACKEND_TCP:
      return CommunicationBackend::tcp;
    case v1::COMMUNICATION_BACKEND_NCCL:
      return CommunicationBackend::nccl;
    case v1::COMMUNICATION_BACKEND_MPI:
      return CommunicationBackend::mpi;
    default:
      return invalid(prefix + "communicationBackend", "is not known: use tcp, gloo, nccl or mpi");
  }
}

v1::CommunicationBackend backend_to_proto(CommunicationBackend backend) {
  switch (backend) {
    case CommunicationBackend::tcp:
      return v1::COMMUNICATION_BACKEND_TCP;
    case CommunicationBackend::gloo:
      return v1::COMMUNICATION_BACKEND_GLOO;
    case CommunicationBackend::nccl:
      return v1::COMMUNICATION_BACKEND_NCCL;
    case CommunicationBackend::mpi:
      break;
  }
  return v1::COMMUNICATION_BACKEND_MPI;
}

}  // namespace

Error invalid(std::string_view field, std::string_view text) {
  return {Code::invalid_argument, fmt::format("properties.{}: {}", field, text)};
}

Status check_text(std::string_view field, const std::string& text) {
  if (text.size() > kMaxText) return invalid(field, fmt::format("is longer than {} bytes", kMaxText));
  if (text.find('\0') != text.npos) return invalid(field, "must not contain NUL");
  return {};
}

Status toolkit_from_proto(const v1::JobSpec& message, JobSpec& spec) {
  const Settings* settings = settings_of(message.toolkit());
  if (settings == nullptr) {
    std::string names;
    for (const Settings& known : all_settings()) names += (names.empty() ? "" : ", ") + std::string(known.name);
    return Error{Code::invalid_argument, "properties: names no toolkit; give exactly one of " + names};
  }
  const std::string prefix = settings->name + std::string(".");
  if (const Status status = check_fields(message, *settings); !status) return status;
  if (const Status status = check_program(message, *settings); !status) return status;
  const auto backend = backend_from_proto(prefix, message.communication_backend());
  if (!backend) return backend.error();
  spec.toolkit = settings->toolkit;
  spec.command_line = message.command_line();
  spec.python_script_file_path = message.python_script_file_path();
  spec.python_interpreter_path = message.python_interpreter_path();
  spec.command_line_args = message.command_line_args();
  spec.config_file_path = message.config_file_path();
  spec.process_count = static_cast<std::uint32_t>(message.process_count());
  spec.processes_per_node = static_cast<std::uint32_t>(message.processes_per_node());
  spec.communication_backend = *backend;
  if (message.has_worker_count()) spec.worker_count = static_cast<std::uint32_t>(message.worker_count());
  if (message.has_parameter_server_count()) {
    spec.parameter_server_count = static_cast<std::uint32_t>(message.parameter_server_count());
  }
  spec.master_command_line_args = message.master_command_line_args();
  spec.worker_command_line_args = message.worker_command_line_args();
  spec.parameter_server_command_line_args = message.parameter_server_command_line_args();
  return check_counts(message, spec, prefix);
}

void toolkit_to_proto(const JobSpec& spec, v1::JobSpec& message) {
  for (const Settings& settings : all_settings()) {
    if (settings.toolkit == spec.toolkit) message.set_toolkit(settings.wire);
  }
  message.set_command_line(spec.command_line);
  message.set_python_script_file_path(spec.python_script_file_path);
  message.set_python_interpreter_path(spec.python_interpreter_path);
  message.set_command_line_args(spec.command_line_args);
  message.set_config_file_path(spec.config_file_path);
  message.set_process_count(static_cast<std::int32_t>(spec.process_count));
  message.set_processes_per_node(static_cast<std::int32_t>(spec.processes_per_node));
  if (spec.toolkit == Toolkit::py_torch)
    message.set_communication_backend(backend_to_proto(spec.communication_backend));
  if (spec.worker_count) message.set_worker_count(static_cast<std::int32_t>(*spec.worker_count));
  if (spec.parameter_server_count) {
    message.set_parameter_server_count(static_cast<std::int32_t>(*spec.parameter_server_count));
  }
  message.set_master_command_line_args(spec.master_command_line_args);
  message.set_worker_command_line_args(spec.worker_command_line_args);
  message.set_parameter_server_command_line_args(spec.parameter_server_command_line_args);
}

}  // namespace trainyard
