#include "agent/exec/toolkits.h"

#include <algorithm>

#include "agent/exec/mpirun.h"

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
bool is_reserved(const std::string& name) {
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
  variables.set("USER", "root");
  variables.set("LOGNAME", "root");
  variables.set("SHELL", "/bin/bash");
  variables.set("LANG", "C.UTF-8");
  variables.set("TMPDIR", paths.job_temp);
  variables.set("AZ_BATCHAI_JOB_MOUNT_ROOT", paths.job_mount_root);
  variables.set("AZ_BATCHAI_MOUNT_ROOT", paths.mount_root);
  variables.set("AZ_BATCHAI_JOB_TEMP", paths.job_temp);
  variables.set("AZ_BATCHAI_JOB_TEMP_DIR", paths.job_temp_dir);
  variables.set("AZ_BATCHAI_SHARED_JOB_TEMP", paths.shared_job_temp);
  variables.set("AZ_BATCHAI_JOB_WORK_DIR", paths.job_temp);
  variables.set("AZ_BATCHAI_MPI_HOST_FILE", paths.hostfile);
  variables.set("AZ_BATCH_HOST_LIST", host_list(launch));
  return variables;
}

void add_directories(Variables& variables, const Launch& launch) {
  const auto expanded = [&](const std::string& text) { return expand_variables(text, variables.list()); };
  variables.set("AZ_BATCHAI_STDOUTERR_DIR",
                joined(joined(expanded(launch.spec.std_out_err_path_prefix), launch.segment), "stdouterr"));
  for (const auto& input : launch.spec.input_directories) {
    variables.set("AZ_BATCHAI_INPUT_" + input.id, expanded(input.path));
  }
  for (const auto& output : launch.spec.output_directories) {
    const std::string directory = joined(joined(expanded(output.path_prefix), launch.segment), "outputs");
    variables.set("AZ_BATCHAI_OUTPUT_" + output.id, joined(directory, expanded(output.path_suffix)));
  }
}

void add_devices(Variables& variables, const std::vector<std::string>& gpu_uuids, const NodeFacts& facts) {
  const std::string count = std::to_string(gpu_uuids.size());
  variables.set("AZ_BATCHAI_NUM_GPUS", count);
  variables.set("AZ_BATCHAI_NUM_GPUS_PER_NODE", count);
  std::string real;
  for (const auto& uuid : gpu_uuids) {
    if (facts.pretend_gpus.count(uuid) == 0) real += (real.empty() ? "" : ",") + uuid;
  }
  // Pretend ones are unknown to CUDA. Where a node has real ones and the job none of them, it must see none.
  if (!real.empty() || (facts.gpu_count > facts.pretend_gpus.size() && gpu_uuids.empty())) {
    variables.set("CUDA_VISIBLE_DEVICES", real);
  }
  if (!facts.interface.empty()) {
    variables.set("GLOO_SOCKET_IFNAME", facts.interface);
    variables.set("NCCL_SOCKET_IFNAME", facts.interface);
  }
}

// Settings made by the preparation in ~/.bashrc are seen by all phases and ranks.
const char kSourceProfile[] = "[ -f ~/.bashrc ] && source ~/.bashrc\n";
const char kEnterWorkDirectory[] = "cd \"$AZ_BATCHAI_JOB_WORK_DIR\" || exit 1\n";

// What each rank's bash runs.
std::string rank_script(const Launch& launch) {
  const JobSpec& spec = launch.spec;
  if (spec.toolkit == Toolkit::custom_mpi) return kSourceProfile + spec.command_line;
  std::string interpreter =
      spec.python_interpreter_path.empty() ? launch.mapping.python_interpreter : spec.python_interpreter_path;
  std::string script = kSourceProfile;
  if (interpreter.empty()) {
    script +=
        "trainyard_python=$(command -v python || command -v python3) || "
        "{ echo 'trainyard: neither python nor python3 is installed on this node' >&2; exit 127; }\n";
    interpreter = "\"$trainyard_python\"";
  }
  // Script and arguments as the user wrote them: bash expands and splits them here, on the rank's node.
  script += "exec " + interpreter + " " + spec.python_script_file_path;
  if (!spec.command_line_args.empty()) script += " " + spec.command_line_args;
  return script;
}

}  // namespace

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

std::vector<NamedValue> job_environment(const Launch& launch, std::uint32_t member,
                                        const std::vector<std::string>& gpu_uuids, const HoldingPaths& paths,
                                        const NodeFacts& facts) {
  Variables variables = base_variables(launch, paths);
  variables.set("AZ_BATCHAI_TASK_INDEX", std::to_string(member));
  if (!facts.cluster.empty()) {
    variables.set("AZ_BATCHAI_CLUSTER_NAME", facts.cluster.substr(facts.cluster.rfind('/') + 1));
  }
  add_directories(variables, launch);
  add_devices(variables, gpu_uuids, facts);
  for (const auto& variable : mpirun_environment(paths, facts)) variables.set(variable.name, variable.value);
  variables.set("TRAINYARD_SOCKET", paths.socket);
  variables.set("TRAINYARD_JOB", std::to_string(paths.id.job.value));
  variables.set("TRAINYARD_ATTEMPT", std::to_string(paths.id.attempt));
  if (member < launch.members.size()) variables.set("TRAINYARD_NODE", launch.members[member].node_name);
  for (const auto& variable : launch.spec.environment) {
    if (!is_reserved(variable.name)) variables.set(variable.name, expand_variables(variable.value, variables.list()));
  }
  return variables.list();
}

std::string stdouterr_directory(const Launch& launch, const HoldingPaths& paths) {
  Variables variables = base_variables(launch, paths);
  add_directories(variables, launch);
  return value_of("AZ_BATCHAI_STDOUTERR_DIR", variables.list());
}

std::vector<std::string> output_directories(const Launch& launch, const HoldingPaths& paths) {
  Variables variables = base_variables(launch, paths);
  add_directories(variables, launch);
  std::vector<std::string> directories;
  for (const auto& output : launch.spec.output_directories) {
    directories.push_back(value_of("AZ_BATCHAI_OUTPUT_" + output.id, variables.list()));
  }
  return directories;
}

std::string hostfile_text(const Launch& launch) {
  const std::string slots = std::to_string(rank_layout(launch).per_node);
  std::string text;
  for (const auto& member : launch.members) text += member.address + " slots=" + slots + "\n";
  return text;
}

std::string head_script(const Launch& launch, const HoldingPaths& paths, const NodeFacts& facts) {
  std::string script = std::string(kSourceProfile) + kEnterWorkDirectory;
  if (launch.spec.toolkit == Toolkit::custom) return script + launch.spec.command_line;
  script +=
      "trainyard_mpirun=$(command -v mpirun.openmpi || command -v mpirun) || "
      "{ echo 'trainyard: Open MPI (mpirun) is not installed on this node' >&2; exit 127; }\n"
      "exec \"$trainyard_mpirun\"";
  for (const auto& argument : mpirun_arguments(rank_layout(launch), paths, facts))
    script += " " + shell_quote(argument);
  return script + " bash -c " + shell_quote(rank_script(launch));
}

std::string preparation_script(const Launch& launch) {
  const std::string& command =
      launch.mapping.preparation ? *launch.mapping.preparation : launch.spec.preparation_command_line;
  if (command.empty()) return {};
  return std::string(kSourceProfile) + kEnterWorkDirectory + command;
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

}  // namespace trainyard::agent
