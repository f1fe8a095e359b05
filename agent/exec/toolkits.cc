#include "agent/exec/toolkits.h"

#include <algorithm>

#include "agent/exec/mpirun.h"
#include "agent/exec/progress.h"
#include "agent/exec/tasks.h"
#include "common/variables.h"

namespace trainyard::agent {
namespace {

// A list of variables in which a later value of a name replaces an earlier one.
class Variables {
 public:
  void set(const std::string& name, const std::string& value) {
    for (auto& variable : x_list) {
      if (variable.name == name) {
        variable.value = value;
        return;
      }
    }
    x_list.push_back({name, value});
  }
  const std::vector<NamedValue>& list() const { return x_list; }

 private:
  std::vector<NamedValue> x_list;
};

bool starts_with(const std::string& text, const char* prefix) {
  return text.rfind(prefix, 0) == 0;
}

// Ours: a job that changed them could not be launched, or could speak for another one.
// The two of a job array's tasks come with the job.
bool is_reserved(const std::string& name) {
  if (name == kTaskIndexVariable || name == kTaskCountVariable) return false;
  return starts_with(name, "TRAINYARD_") || starts_with(name, "OMPI_MCA_plm") ||
         starts_with(name, "OMPI_MCA_orte_tmpdir_base") || name.empty() || name.find('=') != std::string::npos;
}

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_name_part(char c) {
  return is_name_start(c) || (c >= '0' && c <= '9');
}

std::string value_of(const std::string& name, const std::vector<NamedValue>& environment) {
  const auto found = std::find_if(environment.rbegin(), environment.rend(),
                                  [&](const NamedValue& variable) { return variable.name == name; });
  return found == environment.rend() ? std::string() : found->value;
}

std::string joined(const std::string& directory, const std::string& rest) {
  if (rest.empty()) return directory;
  if (directory.empty() || directory.back() == '/') return directory + rest;
  return directory + "/" + rest;
}

std::string host_list(const Launch& launch) {
  std::string list;
  for (const auto& member : launch.members) list += (list.empty() ? "" : ",") + member.address;
  return list;
}

// What holds for every process of the attempt on every node, before anything that refers to it.
Variables base_variables(const Launch& launch, const HoldingPaths& paths) {
  Variables variables;
  variables.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  variables.set("HOME", paths.home);
  // The user id need not have a name on the node.
  const char* user = launch.run_as.uid == 0 ? "root" : "job";
  variables.set("USER", user);
  variables.set("LOGNAME", user);
  variables.set("SHELL", "/bin/bash");
  variables.set("LANG", "C.UTF-8");
  variables.set("TMPDIR", paths.job_temp);
  variables.set("AZ_BATCHAI_JOB_MOUNT_ROOT", paths.job_mount_root);
  variables.set("AZ_BATCHAI_MOUNT_ROOT", paths.mount_root);
  variables.set("AZ_BATCHAI_JOB_TEMP", paths.job_temp);
  variables.set("AZ_BATCHAI_JOB_TEMP_DIR", paths.job_temp_dir);
  variables.set("AZ_BATCHAI_JOB_WORK_DIR", paths.job_temp);
  variables.set("AZ_BATCHAI_MPI_HOST_FILE", paths.hostfile);
  variables.set("AZ_BATCH_HOST_LIST", host_list(launch));
  if (launch.members.size() <= 1) variables.set("AZ_BATCHAI_SHARED_JOB_TEMP", paths.shared_job_temp);
  if (!launch.members.empty()) {
    variables.set("AZ_BATCHAI_JOB_MASTER_NODE_IP", launch.members[0].address);
    variables.set("AZ_BATCHAI_MPI_MASTER_NODE", launch.members[0].address);
  }
  return variables;
}

// Where the nodes of the attempt meet: see the header. Empty for one node too.
std::string shared_temp_of(const Launch& launch, const HoldingPaths& paths, const std::string& std_out_err_prefix) {
  if (launch.members.size() <= 1) return {};
  const std::string below = launch.segment + "/shared/" + std::to_string(paths.id.attempt);
  for (const auto& volume : launch.volumes) {
    const std::string mount = joined(paths.job_mount_root, volume.relative_mount_path);
    if ((std_out_err_prefix + "/").rfind(mount + "/", 0) == 0) return joined(std_out_err_prefix, below);
  }
  // The cluster's volumes are the same on all of its nodes.
  if (!paths.mount_root.empty() && std_out_err_prefix.rfind(paths.mount_root + "/", 0) == 0) {
    return joined(std_out_err_prefix, below);
  }
  if (launch.volumes.empty()) return {};
  return joined(joined(paths.job_mount_root, launch.volumes[0].relative_mount_path), below);
}

void add_directories(Variables& variables, const Launch& launch, const HoldingPaths& paths) {
  const auto expanded = [&](const std::string& text) { return expand_variables(text, variables.list()); };
  const std::string prefix = expanded(launch.spec.std_out_err_path_prefix);
  variables.set("AZ_BATCHAI_STDOUTERR_DIR", joined(joined(prefix, launch.segment), "stdouterr"));
  if (const std::string shared = shared_temp_of(launch, paths, prefix); !shared.empty()) {
    variables.set("AZ_BATCHAI_SHARED_JOB_TEMP", shared);
  }
  for (const auto& input : launch.spec.input_directories) {
    variables.set("AZ_BATCHAI_INPUT_" + input.id, expanded(input.path));
  }
  for (const auto& output : launch.spec.output_directories) {
    const std::string directory = joined(joined(expanded(output.path_prefix), launch.segment), "outputs");
    variables.set("AZ_BATCHAI_OUTPUT_" + output.id, joined(directory, expanded(output.path_suffix)));
    // Every attempt of a job has the same directories: what the one before left is found there.
    if (paths.id.attempt > 1) {
      variables.set("AZ_BATCHAI_PREV_OUTPUT_" + output.id,
                    value_of("AZ_BATCHAI_OUTPUT_" + output.id, variables.list()));
    }
  }
}

// `of_job`: all of the job's GPUs here; `visible`: those that the process may use.
void add_devices(Variables& variables, const std::vector<std::string>& of_job, const std::vector<std::string>& visible,
                 const NodeFacts& facts) {
  const std::string count = std::to_string(of_job.size());
  variables.set("AZ_BATCHAI_NUM_GPUS", count);
  variables.set("AZ_BATCHAI_NUM_GPUS_PER_NODE", count);
  std::string real;
  for (const auto& uuid : visible) {
    if (facts.pretend_gpus.count(uuid) == 0) real += (real.empty() ? "" : ",") + uuid;
  }
  // Pretend ones are unknown to CUDA. Where a node has real ones and the job none of them, it must see none.
  if (!real.empty() || (facts.gpu_count > facts.pretend_gpus.size() && visible.empty())) {
    variables.set("CUDA_VISIBLE_DEVICES", real);
  }
  if (!facts.interface.empty()) {
    variables.set("GLOO_SOCKET_IFNAME", facts.interface);
    variables.set("NCCL_SOCKET_IFNAME", facts.interface);
  }
}

// "mlx5_0:1,mlx5_1:1"
std::string adapters_of(const NodeFacts& facts) {
  std::string text;
  for (const Fabric& fabric : facts.fabrics) {
    text += (text.empty() ? "" : ",") + fabric.name + ":" + std::to_string(fabric.port);
  }
  return text;
}

// Each node tells its own adapters: their names may differ from node to node.
void add_fabrics(Variables& variables, const NodeFacts& facts) {
  if (facts.fabrics.empty()) return variables.set("NCCL_IB_DISABLE", "1");
  variables.set("NCCL_IB_HCA", "=" + adapters_of(facts));  // "=": these and no others that begin so
  variables.set("UCX_NET_DEVICES", adapters_of(facts));
}

const char kSourceProfile[] = "[ -f ~/.bashrc ] && source ~/.bashrc\n";
const char kEnterWorkDirectory[] = "cd \"$AZ_BATCHAI_JOB_WORK_DIR\" || exit 1\n";

// The toolkit's program, as each rank's bash runs it.
std::string program_script(const Launch& launch) {
  const JobSpec& spec = launch.spec;
  if (spec.toolkit == Toolkit::custom || spec.toolkit == Toolkit::custom_mpi) return spec.command_line;
  if (spec.config_file_path.empty()) return python_script(launch, spec.command_line_args);
  const std::string option = spec.toolkit == Toolkit::cntk ? "cntk configFile=" : "caffe train --solver=";
  const std::string arguments = spec.command_line_args.empty() ? std::string() : " " + spec.command_line_args;
  return "exec " + option + spec.config_file_path + arguments;
}

// What each rank's bash runs.
std::string rank_script(const Launch& launch) {
  std::string rank;
  if (launch.spec.toolkit == Toolkit::py_torch) {
    rank = "export AZ_BATCHAI_TASK_INDEX=\"${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}\"\n";
  }
  return with_profile(rank + program_script(launch));
}

}  // namespace

bool runs_under_mpi(const Launch& launch) {
  if (starts_tasks(launch.spec)) return false;
  switch (launch.spec.toolkit) {
    case Toolkit::custom_mpi:
    case Toolkit::horovod:
    case Toolkit::chainer:
    case Toolkit::py_torch:
      return true;
    case Toolkit::cntk:
    case Toolkit::caffe:
      return rank_layout(launch).ranks > 1;
    default:
      return false;
  }
}

std::string expand_variables(const std::string& text, const std::vector<NamedValue>& environment) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != '$' || i + 1 == text.size()) {
      out += text[i++];
      continue;
    }
    const bool braced = text[i + 1] == '{';
    const std::size_t start = i + (braced ? 2 : 1);
    std::size_t end = start;
    if (end < text.size() && is_name_start(text[end])) {
      while (end < text.size() && is_name_part(text[end])) ++end;
    }
    // Anything that is not $NAME or ${NAME} stays as it is.
    if (end == start || (braced && (end == text.size() || text[end] != '}'))) {
      out += text[i++];
      continue;
    }
    out += value_of(text.substr(start, end - start), environment);
    i = end + (braced ? 1 : 0);
  }
  return out;
}

std::string shell_quote(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

std::string with_profile(const std::string& script) {
  return kSourceProfile + script;
}

std::string in_work_directory(const std::string& script) {
  return std::string(kSourceProfile) + kEnterWorkDirectory + script;
}

std::string python_script(const Launch& launch, const std::string& arguments) {
  const JobSpec& spec = launch.spec;
  std::string interpreter =
      spec.python_interpreter_path.empty() ? launch.mapping.python_interpreter : spec.python_interpreter_path;
  std::string script;
  if (interpreter.empty()) {
    script =
        "trainyard_python=$(command -v python || command -v python3) || "
        "{ echo 'trainyard: neither python nor python3 is installed on this node' >&2; exit 127; }\n";
    interpreter = "\"$trainyard_python\"";
  }
  script += "exec " + interpreter + " " + spec.python_script_file_path;
  if (!arguments.empty()) script += " " + arguments;
  return script;
}

std::vector<NamedValue> job_environment(const Launch& launch, std::uint32_t member,
                                        const std::vector<std::string>& gpu_uuids, const HoldingPaths& paths,
                                        const NodeFacts& facts, std::optional<std::size_t> task) {
  Variables variables = base_variables(launch, paths);
  variables.set("AZ_BATCHAI_TASK_INDEX", std::to_string(member));
  if (!facts.cluster.empty()) {
    variables.set("AZ_BATCHAI_CLUSTER_NAME", facts.cluster.substr(facts.cluster.rfind('/') + 1));
  }
  add_directories(variables, launch, paths);
  std::vector<std::string> visible = gpu_uuids;
  std::vector<NamedValue> of_toolkit;
  if (task) {
    const std::vector<Task> tasks = tasks_of(launch);
    visible = gpus_of_task(launch, tasks, *task, gpu_uuids);
    of_toolkit = task_variables(launch, tasks, *task);
  } else if (launch.spec.toolkit == Toolkit::py_torch) {
    of_toolkit = rendezvous_variables(launch);
  }
  add_devices(variables, gpu_uuids, visible, facts);
  for (const auto& variable : of_toolkit) variables.set(variable.name, variable.value);
  add_fabrics(variables, facts);
  for (const auto& variable : mpirun_environment(paths, facts)) variables.set(variable.name, variable.value);
  variables.set("TRAINYARD_SOCKET", paths.socket);
  variables.set("TRAINYARD_JOB", std::to_string(paths.id.job.value));
  variables.set("TRAINYARD_ATTEMPT", std::to_string(paths.id.attempt));
  variables.set("TRAINYARD_PROGRESS_FILE", progress_file(paths));
  // Where trainyard-check-cpu and -gpu are.
  variables.set("TRAINYARD_PROGRAMS", paths.tasks_program.substr(0, paths.tasks_program.rfind('/')));
  if (member < launch.members.size()) variables.set(kNodeVariable, launch.members[member].node_name);
  for (const auto& variable : launch.spec.environment) {
    if (!is_reserved(variable.name)) variables.set(variable.name, expand_variables(variable.value, variables.list()));
  }
  return variables.list();
}

std::vector<NamedValue> root_environment(const std::string& node_name) {
  return {{"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
          {"HOME", "/root"},
          {"USER", "root"},
          {"LOGNAME", "root"},
          {"SHELL", "/bin/bash"},
          {"LANG", "C.UTF-8"},
          {kNodeVariable, node_name}};
}

std::string stdouterr_directory(const Launch& launch, const HoldingPaths& paths) {
  Variables variables = base_variables(launch, paths);
  add_directories(variables, launch, paths);
  return value_of("AZ_BATCHAI_STDOUTERR_DIR", variables.list());
}

std::vector<std::string> output_directories(const Launch& launch, const HoldingPaths& paths) {
  Variables variables = base_variables(launch, paths);
  add_directories(variables, launch, paths);
  std::vector<std::string> directories;
  for (const auto& output : launch.spec.output_directories) {
    directories.push_back(value_of("AZ_BATCHAI_OUTPUT_" + output.id, variables.list()));
  }
  return directories;
}

std::string shared_job_temp(const Launch& launch, const HoldingPaths& paths) {
  Variables variables = base_variables(launch, paths);
  add_directories(variables, launch, paths);
  return value_of("AZ_BATCHAI_SHARED_JOB_TEMP", variables.list());
}

std::string hostfile_text(const Launch& launch) {
  const std::string slots = std::to_string(rank_layout(launch).per_node);
  std::string text;
  for (const auto& member : launch.members) text += member.address + " slots=" + slots + "\n";
  return text;
}

std::string head_script(const Launch& launch, const HoldingPaths& paths, const NodeFacts& facts) {
  // Not the user's profile for our own program: a mistake in it is for the tasks to show.
  if (starts_tasks(launch.spec))
    return "exec " + shell_quote(paths.tasks_program) + " " + shell_quote(paths.tasks_file);
  if (!runs_under_mpi(launch)) return in_work_directory(program_script(launch));
  return in_work_directory(mpirun_script(launch, paths, facts, "bash -c " + shell_quote(rank_script(launch))));
}

std::string preparation_script(const Launch& launch) {
  const std::string& command =
      launch.mapping.preparation ? *launch.mapping.preparation : launch.spec.preparation_command_line;
  if (command.empty()) return {};
  return in_work_directory(command);
}

std::string launch_script(const std::string& shell_command) {
  return kEnterWorkDirectory + shell_command;
}

OutputNames output_names(const Launch& launch, std::uint32_t member) {
  std::string of_node;
  if (launch.members.size() > 1 && member < launch.members.size()) of_node = "-" + launch.members[member].node_name;
  return {"execution" + of_node + ".log", "stdout-job_prep" + of_node + ".txt", "stderr-job_prep" + of_node + ".txt",
          "stdout.txt", "stderr.txt"};
}

std::string task_output_name(const char* stream, const std::string& task_name) {
  return std::string(stream) + "-" + task_name + ".txt";
}

}  // namespace trainyard::agent
