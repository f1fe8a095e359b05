// Processes that Trainyard starts itself, without mpirun: which there are, on which nodes, with which variables, ports
// and log files. Pure: every node derives the same from the launch it holds; only a task's index goes over the wire.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/exec/toolkits.h"

namespace trainyard::agent {

enum class TaskRole {
  rank,              // pyTorch, torchrun, jax, caffe2: all alike
  master,            // tensorFlow's worker 0
  worker,            // tensorFlow
  parameter_server,  // tensorFlow: never ends by itself; stopped when the others have ended
};

struct Task {
  TaskRole role = TaskRole::rank;
  std::uint32_t index = 0;   // AZ_BATCHAI_TASK_INDEX: within the role (the master is worker 0)
  std::uint32_t member = 0;  // index into launch.members
  std::uint32_t local = 0;   // among the tasks of its role on that node
  std::uint32_t port = 0;    // its own on that node
  std::string name;          // of its log files: "0", "wk-0", "ps-0"
  bool awaited() const { return role != TaskRole::parameter_server; }
};

// True: the head's process is trainyard-tasks, which has the tasks started. False: mpirun, or the command itself.
bool starts_tasks(const JobSpec& spec);
// True: the job is more than one tensorFlow process, so they must be told of each other.
bool is_distributed(const JobSpec& spec);

// In the order in which they are started; a task's place in the list is its number on the wire.
std::vector<Task> tasks_of(const Launch& launch);

// What trainyard-tasks reads: a line per task, "HOST awaited NAME" or "HOST background NAME".
std::string tasks_text(const Launch& launch);

// Ports on this member that must be free before the start.
std::vector<std::uint32_t> ports_of(const Launch& launch, std::uint32_t member);

// Variables of one task beside those of every process of the job.
std::vector<NamedValue> task_variables(const Launch& launch, const std::vector<Task>& tasks, std::size_t number);
// Those that ranks under mpirun get as well: the rendezvous of pyTorchSettings with MPI.
std::vector<NamedValue> rendezvous_variables(const Launch& launch);

// The task's own part of the GPUs, where its framework knows no local rank: tensorFlow and jax.
std::vector<std::string> gpus_of_task(const Launch& launch, const std::vector<Task>& tasks, std::size_t number,
                                      const std::vector<std::string>& gpu_uuids);

// Script for `bash -c` on the task's node.
std::string task_script(const Launch& launch, const Task& task);

}  // namespace trainyard::agent
