// Where the things of one attempt are on this node, by its name "<store>-j<job>-a<attempt>", and of one run of the
// cluster's set-up, by "<store>-s<run>". The job directory is the same path on every node, and so is the set-up's
// (there is one run at a time); everything is found again by a restarted agent from the name alone.
#pragma once

#include <boost/asio/io_context.hpp>
#include <string>
#include <vector>

#include "agent/containers/runtime.h"
#include "agent/core/agent_core.h"
#include "agent/exec/limits.h"
#include "agent/exec/toolkits.h"
#include "agent/volumes/mounter.h"
#include "secrets/node_key.h"

namespace trainyard::agent {

// How far jobs are kept from the machine and from each other. Their user is the job's in any case.
enum class Isolation {
  full,  // namespaces of the holding's own, few capabilities
  user,  // few capabilities only: for machines where namespaces are not permitted
  none,
};

// What every executor needs of the agent. Owned by the loop; outlives the executors.
struct ExecutorContext {
  boost::asio::io_context& io;
  std::string node_name;
  std::string spool_dir, work_dir, run_dir;
  std::string cgroup_base, cgroup_parent;  // absolute: <cgroup2 root>/<cgroup_parent>
  std::vector<std::string> helper_argv;    // the words that start a helper
  std::string shim_program, rsh_program, tasks_program, exec_program, gpus_program, container_program;
  RuntimeSettings containers;  // kind "none": nothing here runs containers
  NodeFacts facts;
  // Of a storage node; no directory: it is none.
  std::string address, file_server_directory, ganesha_program;
  std::uint32_t file_server_port = 2049;
  Controllers controllers;
  LimitSettings limits;  // of each job that has the whole node; a part has of `disks` and `cpu_percent` its share
  // Of jobs that take parts: what they have together of memory (0: no limit), and the machine's GPUs as last looked at,
  // with the cores that go with each.
  std::uint64_t parts_memory_bytes = 0;
  std::vector<Gpu> gpus;
  std::uint64_t log_limit_bytes = 0;  // of each output of a process; 0: none
  Isolation isolation = Isolation::full;
  std::vector<std::string> hidden;        // what jobs must not see, beside the agent's directories
  const secrets::NodeKey* key = nullptr;  // to which secrets for this node are sealed
  Mounter* mounter = nullptr;
  DurationMs volume_check_every_ms = 15'000;  // whether volumes in use still answer; 0: never
};

// Where the mounts are that jobs share.
MountPlaces shared_mounts(const ExecutorContext& context);

// Where the shims look for the lease.
inline std::string lease_path(const ExecutorContext& context) {
  return context.spool_dir + "/lease";
}

struct Place {
  std::string name;
  std::string spool;   // shims, logs on their way, markers
  std::string job;     // mounts, temp, home, ...
  std::string run;     // launcher's socket, MPI's session files
  std::string cgroup;  // holds job/ (the payload), shim/ and sandbox/

  std::string job_cgroup() const { return cgroup + "/job"; }
  std::string sandbox_cgroup() const { return cgroup + "/sandbox"; }  // of the process that keeps the sandbox
  std::string sandbox() const { return spool + "/sandbox"; }
  std::string tmp() const { return job + "/private/tmp"; }  // /tmp and /var/tmp in the sandbox
  std::string var_tmp() const { return job + "/private/var-tmp"; }
  std::string secrets() const { return run + "/secrets"; }
  std::string log(const std::string& which) const { return spool + "/logs/" + which; }
  std::string marker(const std::string& which) const { return spool + "/" + which + ".done"; }
};

std::string name_of_attempt(const std::string& store_generation, AttemptId id);
std::string name_of_setup(const std::string& store_generation, std::uint64_t run);
bool is_setup_name(const std::string& name);
// The parent of AZ_BATCHAI_MOUNT_ROOT.
std::string cluster_directory(const ExecutorContext& context);
// Makes AZ_BATCHAI_MOUNT_ROOT: jobs may look into it also where their cluster mounts nothing.
Status make_mount_root(const ExecutorContext& context);
Limits limits_of(const ExecutorContext& context, const Place& place, LimitSettings settings);
Place place_of(const ExecutorContext& context, const std::string& name);
HoldingPaths paths_of(const ExecutorContext& context, const Place& place, AttemptId id);

// Names of attempts and set-ups that left anything on this node: directories, cgroups, mounts.
std::vector<std::string> names_found(const ExecutorContext& context);

// Local directories of the agent's own; never on a share.
Status make_local_directories(const std::vector<std::string>& paths);
bool path_exists(const std::string& path);
void touch(const std::string& path);

// "<agent> helper" or the helper program, then `words`.
std::vector<std::string> helper_command(const ExecutorContext& context, const std::vector<std::string>& words);

}  // namespace trainyard::agent
