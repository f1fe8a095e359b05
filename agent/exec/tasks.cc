#include "agent/exec/tasks.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

namespace trainyard::agent {
namespace {

std::string host_and_port(const Launch& launch, const Task& task) {
  return launch.members[task.member].address + ":" + std::to_string(task.port);
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
  return text;
}

// Ranks in blocks, one after the other: the first nodes get one more where they do not divide.
std::vector<Task> ranks_of(const Launch& launch, std::uint32_t count) {
  std::vector<Task> tasks;
  const auto nodes = static_cast<std::uint32_t>(launch.members.size());
  for (std::uint32_t member = 0; member < nodes; ++member) {
    const std::uint32_t here = count / nodes + (member < count % nodes ? 1 : 0);
    for (std::uint32_t local = 0; local < here; ++local) {
      Task task;
      task.index = static_cast<std::uint32_t>(tasks.size());
      task.member = member;
      task.local = local;
      task.port = launch.first_port + local;
      task.name = std::to_string(task.index);
      tasks.push_back(std::move(task));
    }
  }
  return tasks;
}

// Parameter servers first, so that workers find them; both go round the nodes.
std::vector<Task> tensor_flow_tasks(const Launch& launch) {
  const JobSpec& spec = launch.spec;
  const auto nodes = static_cast<std::uint32_t>(launch.members.size());
  const bool distributed = is_distributed(spec);
  const std::uint32_t servers = distributed ? spec.parameter_server_count.value_or(1) : 0;
  const std::uint32_t workers = distributed ? spec.worker_count.value_or(spec.node_count) : 1;
  std::vector<Task> tasks;
  std::map<std::uint32_t, std::uint32_t> ports;  // used so far on a node
  const auto add = [&](TaskRole role, std::uint32_t index, const char* prefix) {
    Task task;
    task.role = role;
    task.index = index;
    task.member = index % nodes;
    task.local = index / nodes;
    task.port = launch.first_port + ports[task.member]++;
    task.name = prefix + std::to_string(index);
    tasks.push_back(std::move(task));
  };
  for (std::uint32_t i = 0; i < servers; ++i) add(TaskRole::parameter_server, i, "ps-");
  for (std::uint32_t i = 0; i < workers; ++i) add(i == 0 ? TaskRole::master : TaskRole::worker, i, "wk-");
  return tasks;
}

void add_tensor_flow(const Launch& launch, const std::vector<Task>& tasks, const Task& task,
                     std::vector<NamedValue>& variables) {
  std::vector<std::string> servers, workers;
  for (const Task& other : tasks) {
    (other.role == TaskRole::parameter_server ? servers : workers).push_back(host_and_port(launch, other));
  }
  variables.push_back({"AZ_BATCHAI_PS_HOSTS", joined(servers)});
  variables.push_back({"AZ_BATCHAI_WORKER_HOSTS", joined(workers)});
  variables.push_back({"AZ_BATCHAI_TASK_TYPE", task.role == TaskRole::parameter_server ? "ps"
                                               : task.role == TaskRole::master         ? "master"
                                                                                       : "worker"});
  if (!is_distributed(launch.spec)) return;  // without TF_CONFIG, TensorFlow works alone
  // As TensorFlow reads it: the chief is not among the workers, whose indices begin at 0.
  nlohmann::ordered_json cluster;
  cluster["chief"] = {workers.front()};
  if (workers.size() > 1) cluster["worker"] = std::vector<std::string>(workers.begin() + 1, workers.end());
  if (!servers.empty()) cluster["ps"] = servers;
  nlohmann::ordered_json own;
  own["type"] = task.role == TaskRole::parameter_server ? "ps" : task.role == TaskRole::master ? "chief" : "worker";
  own["index"] = task.role == TaskRole::worker ? task.index - 1 : task.index;
  nlohmann::ordered_json config;
  config["cluster"] = std::move(cluster);
  config["task"] = std::move(own);
  config["environment"] = "cloud";
  variables.push_back({"TF_CONFIG", config.dump()});
}

// What torch.distributed's env:// reads, and torchrun sets.
void add_torch(const Launch& launch, const std::vector<Task>& tasks, const Task& task,
               std::vector<NamedValue>& variables) {
  const auto here =
      std::count_if(tasks.begin(), tasks.end(), [&](const Task& other) { return other.member == task.member; });
  variables.push_back({"RANK", std::to_string(task.index)});
  variables.push_back({"WORLD_SIZE", std::to_string(tasks.size())});
  variables.push_back({"LOCAL_RANK", std::to_string(task.local)});
  variables.push_back({"LOCAL_WORLD_SIZE", std::to_string(here)});
  variables.push_back({"GROUP_RANK", std::to_string(task.member)});
  variables.push_back({"NODE_RANK", std::to_string(task.member)});
  variables.push_back({"GROUP_WORLD_SIZE", std::to_string(launch.members.size())});
}

}  // namespace

bool starts_tasks(const JobSpec& spec) {
  switch (spec.toolkit) {
    case Toolkit::caffe2:
    case Toolkit::tensor_flow:
    case Toolkit::torchrun:
    case Toolkit::jax:
      return true;
    case Toolkit::py_torch:
      return spec.communication_backend != CommunicationBackend::mpi;
    default:
      return false;
  }
}

bool is_distributed(const JobSpec& spec) {
  return spec.node_count > 1 || spec.worker_count || spec.parameter_server_count ||
         !spec.worker_command_line_args.empty() || !spec.parameter_server_command_line_args.empty();
}

std::vector<Task> tasks_of(const Launch& launch) {
  const JobSpec& spec = launch.spec;
  if (!starts_tasks(spec) || launch.members.empty()) return {};
  const auto nodes = static_cast<std::uint32_t>(launch.members.size());
  switch (spec.toolkit) {
    case Toolkit::tensor_flow:
      return tensor_flow_tasks(launch);
    case Toolkit::torchrun:
    case Toolkit::jax:
      return ranks_of(launch, nodes * std::max(1U, spec.processes_per_node));
    case Toolkit::py_torch:
      return ranks_of(launch, spec.process_count != 0 ? spec.process_count : nodes);
    default:
      return ranks_of(launch, nodes);
  }
}

std::string tasks_text(const Launch& launch) {
  std::string text;
  for (const Task& task : tasks_of(launch)) {
    text += launch.members[task.member].address + (task.awaited() ? " awaited " : " background ") + task.name + "\n";
  }
  return text;
}

std::vector<std::uint32_t> ports_of(const Launch& launch, std::uint32_t member) {
  std::vector<std::uint32_t> ports;
  const std::vector<Task> tasks = tasks_of(launch);
  // Of equal ranks only the first waits at a port that others know.
  const bool all = launch.spec.toolkit == Toolkit::tensor_flow && is_distributed(launch.spec);
  const bool one = launch.spec.toolkit == Toolkit::py_torch || launch.spec.toolkit == Toolkit::torchrun ||
                   launch.spec.toolkit == Toolkit::jax;
  if (all) {
    for (const Task& task : tasks) {
      if (task.member == member) ports.push_back(task.port);
    }
  } else if (one && member == 0) {
    ports.push_back(launch.first_port);
  }
  return ports;
}

std::vector<NamedValue> rendezvous_variables(const Launch& launch) {
  if (launch.members.empty()) return {};
  const std::string address = launch.members[0].address, port = std::to_string(launch.first_port);
  std::vector<NamedValue> variables{
      {"AZ_BATCH_MASTER_NODE", address + ":" + port}, {"MASTER_ADDR", address}, {"MASTER_PORT", port}};
  if (launch.spec.toolkit == Toolkit::py_torch) {
    constexpr const char* kNames[] = {"tcp", "gloo", "nccl", "mpi"};
    variables.push_back({"AZ_BATCHAI_PYTORCH_INIT_METHOD", "tcp://" + address + ":" + port});
    variables.push_back(
        {"AZ_BATCHAI_PYTORCH_BACKEND", kNames[static_cast<std::size_t>(launch.spec.communication_backend)]});
  }
  return variables;
}

std::vector<NamedValue> task_variables(const Launch& launch, const std::vector<Task>& tasks, std::size_t number) {
  const Task& task = tasks.at(number);
  std::vector<NamedValue> variables{{"AZ_BATCHAI_TASK_INDEX", std::to_string(task.index)}};
  switch (launch.spec.toolkit) {
    case Toolkit::tensor_flow:
      add_tensor_flow(launch, tasks, task, variables);
      break;
    case Toolkit::py_torch:
    case Toolkit::torchrun: {
      const auto rendezvous = rendezvous_variables(launch);
      variables.insert(variables.end(), rendezvous.begin(), rendezvous.end());
      add_torch(launch, tasks, task, variables);
      break;
    }
    case Toolkit::jax:
      // What jax.distributed.initialize() reads; scripts may pass them on as its arguments.
      variables.push_back(
          {"JAX_COORDINATOR_ADDRESS", launch.members[0].address + ":" + std::to_string(launch.first_port)});
      variables.push_back({"JAX_NUM_PROCESSES", std::to_string(tasks.size())});
      variables.push_back({"JAX_PROCESS_ID", std::to_string(task.index)});
      break;
    default:
      break;
  }
  return variables;
}

std::vector<std::string> gpus_of_task(const Launch& launch, const std::vector<Task>& tasks, std::size_t number,
                                      const std::vector<std::string>& gpu_uuids) {
  const Task& task = tasks.at(number);
  if (task.role == TaskRole::parameter_server) return {};
  if (launch.spec.toolkit != Toolkit::tensor_flow && launch.spec.toolkit != Toolkit::jax) return gpu_uuids;
  std::size_t sharing = 0;
  for (const Task& other : tasks) sharing += other.member == task.member && other.awaited() ? 1 : 0;
  const std::size_t each = gpu_uuids.size() / sharing;
  if (sharing == 1 || each == 0) return gpu_uuids;
  const auto first = gpu_uuids.begin() + static_cast<std::ptrdiff_t>(each * task.local);
  return {first, first + static_cast<std::ptrdiff_t>(each)};
}

std::string task_script(const Launch& launch, const Task& task) {
  const JobSpec& spec = launch.spec;
  std::string arguments = spec.command_line_args;
  if (task.role == TaskRole::master) arguments = spec.master_command_line_args;
  if (task.role == TaskRole::worker) arguments = spec.worker_command_line_args;
  if (task.role == TaskRole::parameter_server) arguments = spec.parameter_server_command_line_args;
  return in_work_directory(python_script(launch, arguments));
}

}  // namespace trainyard::agent
