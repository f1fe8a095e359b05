// The agent's configuration: one JSON file, flags of the same names override it. Checked as a whole before anything
// starts; messages name the key.
#pragma once

#include <string>
#include <vector>

#include "agent/exec/limits.h"
#include "common/result.h"
#include "common/time.h"

namespace trainyard::agent {

struct TlsFiles {
  std::string certificate, key, ca;
  friend bool operator==(const TlsFiles&, const TlsFiles&) = default;
};

struct Config {
  std::string controller = "127.0.0.1:7470";
  std::string node_name;  // default: the host's name
  std::string flavour;    // VM size as in --vm-size
  std::string topology;   // its place in the operator's tree of nodes, e.g. "rack=r1/leaf=l2"; empty: in none
  std::string pool = "default";
  std::string address = "127.0.0.1";
  std::string network_cidr;  // default: of the interface that has `address`
  std::string spool_dir = "/var/lib/trainyard/spool";
  std::string work_dir = "/var/lib/trainyard/work";
  // Sockets and MPI's session files of running jobs: the same path on every node, best in memory (they are many and
  // small).
  std::string run_dir = "/run/trainyard";
  std::string cgroup_parent = "trainyard";
  std::uint32_t pretend_gpus = 0;
  // A storage node: file servers that Trainyard makes have their files below this directory, which must exist (on a
  // disk of its own, best). Empty: it is none.
  std::string file_server_directory;
  std::uint32_t file_server_port = 2049;  // of the first one; the next ones take the next free ports
  // What each job may use on this node; 0: no limit, -1: the default. Memory: all but a twentieth, at least 512 MB,
  // which are the system's. Processes: three quarters of the kernel's highest process id. Both only with v2's
  // controllers. Log: of each output of a process.
  std::int64_t memory_limit_mb = -1, process_limit = -1, log_limit_mb = 1024;
  // Whether a job that takes a part of the node has cores of its own, near its GPUs, and memory in proportion to them:
  // of memory_limit_mb or, also with v1's controllers, of its default.
  bool part_limits = true;
  // What a job that has the whole node may use at any time, however idle it is; a part has its share. Of processors:
  // per cent of one. 0, empty: no limit.
  std::int64_t cpu_limit_percent = 0;
  std::vector<DiskLimit> disk_limits;
  // How jobs are kept from the machine and from each other: "full" (namespaces of their own, few capabilities), "user"
  // (where namespaces are not permitted) or "none". Whom they run as is the controller's word in any case.
  std::string isolation = "full";
  // What runs containers: auto (the first of docker, podman, enroot, apptainer and charliecloud that is there), one of
  // these, or none. The socket of an engine; its own configuration says which registries it trusts.
  std::string container_runtime = "auto", container_socket;
  std::string container_auth_file;               // of docker's form: for images of jobs that bring no credentials
  std::string container_image_dir;               // of charliecloud, enroot and apptainer; default: images in spool_dir
  std::int64_t image_cache_gb = 0;               // of images pulled for jobs, as far as no job uses them; 0: no limit
  DurationMs image_pull_limit_ms = 20 * 60'000;  // below the controller's prepare_limit_ms
  TlsFiles tls;
  bool insecure_lab = false;
  DurationMs heartbeat_ms = 5'000;
  DurationMs reconnect_max_ms = 3'000;
  DurationMs counters_every_ms = 15'000;
  DurationMs gpus_every_ms = 10'000;          // how often the GPUs are looked at
  DurationMs doctor_every_ms = 300'000;       // how often `trainyard-agent doctor` looks at the machine; 0: never
  DurationMs volume_check_every_ms = 15'000;  // whether servers of volumes in use still answer; 0: never
};

// Unknown keys are refused by name.
Status read_config(const std::string& path, Config& config);
Status check_config(const Config& config);
// Names of those that differ and that a running agent cannot change.
std::vector<std::string> needs_restart(const Config& running, const Config& wanted);

}  // namespace trainyard::agent
