// From a launch to processes, files and variables. Pure: the same launch gives the same lines; tests compare them.
#pragma once

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/model.h"

namespace trainyard::agent {

// Where things of one attempt are on this node. Job mounts and directories are the same paths on every node.
struct HoldingPaths {
  std::string job_mount_root;   // AZ_BATCHAI_JOB_MOUNT_ROOT
  std::string mount_root;       // AZ_BATCHAI_MOUNT_ROOT (cluster mounts; an empty directory so far)
  std::string job_temp;         // AZ_BATCHAI_JOB_TEMP
  std::string job_temp_dir;     // AZ_BATCHAI_JOB_TEMP_DIR: parent of all job temps
  std::string shared_job_temp;  // AZ_BATCHAI_SHARED_JOB_TEMP of a job on one node
  std::string hostfile;         // AZ_BATCHAI_MPI_HOST_FILE
  std::string tasks_file;       // what trainyard-tasks reads
  std::string home;             // HOME of the job's user: ~/.bashrc written by the preparation is seen by all phases
  std::string rank_logs;        // mpirun's --output-filename: what each rank wrote, on its own node
  std::string run;              // MPI's session files
  std::string socket;           // of the launcher: trainyard-rsh asks the agent here
  std::string rsh_program;      // absolute path of trainyard-rsh
  std::string tasks_program;    // absolute path of trainyard-tasks
  AttemptId id;                 // TRAINYARD_JOB, TRAINYARD_ATTEMPT
};

struct NodeFacts {
  std::string network_cidr;  // of the cluster's interface
  std::string interface;     // its name, e.g. "eth0"
  std::uint32_t gpu_count = 0;
  std::uint32_t cores = 0;             // 0: unknown; of a job that has a part of the node: its own
  bool part = false;                   // the job has a part of the node
  std::vector<Fabric> fabrics;         // InfiniBand and RoCE adapters
  std::set<std::string> pretend_gpus;  // uuids that are configured, not real: never in CUDA_VISIBLE_DEVICES
  std::string cluster;                 // Orders::cluster; AZ_BATCHAI_CLUSTER_NAME is its last part
};

// The environment of every process of the attempt on this member, complete and with all references expanded (a value
// may refer to earlier ones; undefined references become nothing). Each name occurs once. With `task` (a number of
// tasks_of), that of this task.
std::vector<NamedValue> job_environment(const Launch& launch, std::uint32_t member,
                                        const std::vector<std::string>& gpu_uuids, const HoldingPaths& paths,
                                        const NodeFacts& facts, std::optional<std::size_t> task = std::nullopt);

// Of what runs on a node as root, in no job: set-up tasks and commands.
std::vector<NamedValue> root_environment(const std::string& node_name);

// Directories of the job on its shares, expanded: AZ_BATCHAI_STDOUTERR_DIR and those of the AZ_BATCHAI_OUTPUT_<id>.
std::string stdouterr_directory(const Launch& launch, const HoldingPaths& paths);
std::vector<std::string> output_directories(const Launch& launch, const HoldingPaths& paths);
// AZ_BATCHAI_SHARED_JOB_TEMP: of a job on several nodes a directory of the attempt on the share (of the job or its
// cluster) that has its stdouterr, or else on the job's first share; empty where there is none. Of a job on one node
// that node's own.
std::string shared_job_temp(const Launch& launch, const HoldingPaths& paths);

// AZ_BATCHAI_MPI_HOST_FILE: "10.0.0.4 slots=2" per node, head first.
std::string hostfile_text(const Launch& launch);

// Script for `bash -c`: sources ~/.bashrc, expands, runs. The head's process (mpirun line or the command itself).
std::string head_script(const Launch& launch, const HoldingPaths& paths, const NodeFacts& facts);
// Whether mpirun starts the job's processes.
bool runs_under_mpi(const Launch& launch);
// Script for jobPreparation; empty when there is none (image mapping applied).
std::string preparation_script(const Launch& launch);

// Settings made by the preparation in ~/.bashrc are seen by all phases and ranks.
std::string with_profile(const std::string& script);
// The same, in AZ_BATCHAI_JOB_WORK_DIR.
std::string in_work_directory(const std::string& script);
// "exec <interpreter> <script> <arguments>": bash expands and splits them on the node where they run.
std::string python_script(const Launch& launch, const std::string& arguments);

// Script for `bash -c` on a peer: runs a launch request's command (an orted) in the attempt's work directory.
std::string launch_script(const std::string& shell_command);

// One word for a POSIX shell, whatever `text` holds.
std::string shell_quote(const std::string& text);

// $AZ_BATCHAI_* and other references of `text` replaced from `environment`; undefined ones become nothing.
std::string expand_variables(const std::string& text, const std::vector<NamedValue>& environment);

// Names in the stdouterr directory (Batch AI's): "execution.log" or "execution-<node>.log", ...
struct OutputNames {
  std::string execution_log, prep_stdout, prep_stderr, head_stdout, head_stderr;
};
OutputNames output_names(const Launch& launch, std::uint32_t member);
// "stdout-wk-0.txt" of a task's name "wk-0".
std::string task_output_name(const char* stream, const std::string& task_name);

}  // namespace trainyard::agent
