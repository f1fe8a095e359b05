// From a launch to processes, files and variables. Pure: the same launch gives the same lines; tests compare them.
#pragma once

#include <string>
#include <vector>

#include "common/model.h"

namespace trainyard::agent {

// Where things of one attempt are on this node. Job mounts and directories are the same paths on every node.
struct HoldingPaths {
  std::string job_mount_root;    // AZ_BATCHAI_JOB_MOUNT_ROOT
  std::string mount_root;        // AZ_BATCHAI_MOUNT_ROOT (cluster mounts; an empty directory so far)
  std::string job_temp;          // AZ_BATCHAI_JOB_TEMP
  std::string job_temp_dir;      // AZ_BATCHAI_JOB_TEMP_DIR: parent of all job temps
  std::string shared_job_temp;   // AZ_BATCHAI_SHARED_JOB_TEMP
  std::string hostfile;          // AZ_BATCHAI_MPI_HOST_FILE
  std::string home;              // HOME of the job's user: ~/.bashrc written by the preparation is seen by all phases
  std::string socket;            // of the launcher: trainyard-rsh asks the agent here
  std::string rsh_program;       // absolute path of trainyard-rsh
};

struct NodeFacts {
  std::string network_cidr;    // of the cluster's interface
  std::string interface;       // its name, e.g. "eth0"
  std::uint32_t gpu_count = 0;
};

// The environment of every process of the attempt, in the order in which later values may refer to earlier ones.
// Values may hold $VAR references: they are expanded on the node by bash (undefined ones to nothing).
std::vector<NamedValue> job_environment(const Launch& launch, std::uint32_t member, const std::vector<std::string>& gpu_uuids,
                                        const HoldingPaths& paths, const NodeFacts& facts);

// AZ_BATCHAI_MPI_HOST_FILE: "10.0.0.4 slots=2" per node, head first.
std::string hostfile_text(const Launch& launch);

// Script for `bash`: sources ~/.bashrc, expands, runs. The head's process (mpirun line or the command itself).
std::string head_script(const Launch& launch, const HoldingPaths& paths, const NodeFacts& facts);
// Script for jobPreparation; empty when there is none (image mapping applied).
std::string preparation_script(const Launch& launch);

// $AZ_BATCHAI_* and other references of `text` replaced from `environment`; undefined ones become nothing.
std::string expand_variables(const std::string& text, const std::vector<NamedValue>& environment);

// Names in the stdouterr directory (Batch AI's): "execution.log" or "execution-<node>.log", ...
struct OutputNames { std::string execution_log, prep_stdout, prep_stderr, head_stdout, head_stderr; };
OutputNames output_names(const Launch& launch, std::uint32_t member);

}  // namespace trainyard::agent
