// `trainyard-agent doctor`: is this machine fit to be a node? Looking (look.cc: reads files, asks the kernel, starts
// `mpirun --version`, dials the controller; seconds at most) is apart from judging (judge.cc: pure), so that every rule
// can be tested without a machine that breaks it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace trainyard::agent {

// What is looked at, out of the agent's configuration.
struct DoctorRequest {
  std::string node_name, address, network_cidr, controller;
  std::string spool_dir, work_dir, run_dir;
  std::string tls_key;                // empty: no TLS
  std::string isolation = "full";     // of jobs, as configured
  std::vector<std::string> programs;  // absolute paths, which must be there
  std::string programs_directory;     // where the health checks are, where they are
};

struct DiskFacts {
  std::string path;
  std::uint64_t free_bytes = 0, total_bytes = 0;
  bool in_memory = false;
  bool remote = false;  // NFS, SMB or FUSE
};

// Everything the rules look at. Empty, 0 or nullopt: not found.
struct MachineFacts {
  bool root = false;
  std::string node_name;
  std::string cgroup2_root, cgroup2_error;
  bool cgroup_kill = false;
  std::string memory_controller, pids_controller;                 // "v2", "v1" or empty
  std::string cpu_controller, io_controller, devices_controller;  // likewise; devices: v1 or empty
  std::string cpuset_controller;
  std::string interface;  // that has the address
  std::uint32_t mtu = 0;
  std::string address, controller, controller_error;  // error empty: it can be dialled
  std::uint32_t first_local_port = 0, last_local_port = 0;
  std::optional<bool> clock_synchronised;
  double clock_error_seconds = 0;
  std::optional<std::uint64_t> memlock_bytes;  // nullopt: unlimited
  std::uint64_t descriptors = 0;               // hard limit
  std::uint64_t shm_bytes = 0, memory_bytes = 0;
  std::vector<DiskFacts> disks;   // of spool, work and run directory
  std::string mpi, python, bash;  // first line of --version
  std::vector<std::string> missing_programs;
  bool check_cpu = false, check_gpu = false;  // the programs of `trainyard node check`
  bool tls_key_private = true;
  std::string isolation = "full", namespaces_error;  // error empty: namespaces can be made
  bool nvidia_driver = false, nvml = false, nouveau = false, container_toolkit = false;
  std::vector<std::string> infiniband;
  bool fuse = false, nfs_client = false;
  std::uint32_t cores = 0;
};

struct Finding {
  enum class State { ok, note, trouble, broken };
  std::string check;
  State state = State::ok;
  std::string found;
  std::string advice;  // what to do; empty when ok
};

MachineFacts look_at_machine(const DoctorRequest& request);
// One line per rule, in a fixed order. `broken`: the agent does not work like this; `trouble`: jobs will run into it.
std::vector<Finding> judge(const MachineFacts& facts);

std::string findings_table(const std::vector<Finding>& findings);
std::string findings_json(const std::vector<Finding>& findings);
// 0: nothing is broken; 1: something is.
int doctor_exit_code(const std::vector<Finding>& findings);

}  // namespace trainyard::agent
