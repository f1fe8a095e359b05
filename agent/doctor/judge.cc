#include <fmt/format.h>

#include <algorithm>

#include "agent/doctor/doctor.h"

namespace trainyard::agent {
namespace {

using State = Finding::State;

constexpr std::uint64_t kMb = 1024 * 1024, kGb = 1024 * kMb;
// Ports that jobs' processes listen at (controller/core: first_port_of).
constexpr std::uint32_t kFirstJobPort = 20'000, kLastJobPort = 20'000 + 46 * 256 - 1;

std::string bytes_text(std::uint64_t bytes) {
  return bytes >= kGb ? fmt::format("{:.1f} GiB", static_cast<double>(bytes) / kGb)
                      : fmt::format("{} MiB", bytes / kMb);
}

Finding finding(const char* check, bool good, State otherwise, std::string found, std::string advice) {
  return {check, good ? State::ok : otherwise, std::move(found), good ? std::string() : std::move(advice)};
}

// ---- What the agent itself needs ----

Finding judge_isolation(const MachineFacts& facts) {
  if (facts.isolation == "full") {
    const bool possible = facts.namespaces_error.empty();
    return finding("isolation", possible, State::broken,
                   possible ? "full" : "full, but namespaces are not permitted: " + facts.namespaces_error,
                   "jobs cannot be prepared: run the agent with CAP_SYS_ADMIN, or set \"isolation\": \"user\"");
  }
  return finding("isolation", false, State::trouble, facts.isolation,
                 "jobs see each other's processes and temporary files: set \"isolation\": \"full\"");
}

// What keeps jobs apart that have parts of this node; all of it can be missing.
Finding judge_shares(const MachineFacts& facts) {
  const auto name = [](const std::string& kind) { return kind.empty() ? std::string("none") : kind; };
  const bool weighed = !facts.cpu_controller.empty() && !facts.io_controller.empty();
  return finding(
      "shares", weighed, State::note,
      fmt::format("cpu: {}, io: {}, devices: {}, cores: {}", name(facts.cpu_controller), name(facts.io_controller),
                  facts.devices_controller.empty() ? "by the sandbox only" : facts.devices_controller,
                  facts.cpuset_controller.empty() ? "by affinity only" : facts.cpuset_controller),
      "jobs that share this node (gpusPerNode) compete freely for what has no controller; boot with "
      "systemd.unified_cgroup_hierarchy=1, or mount the controllers of v1");
}

void judge_agent(const MachineFacts& facts, std::vector<Finding>& out) {
  out.push_back(finding("user", facts.root, State::broken, facts.root ? "root" : "not root",
                        "run the agent as root: it mounts volumes and makes cgroups"));
  out.push_back(finding("cgroup v2", !facts.cgroup2_root.empty(), State::broken,
                        facts.cgroup2_root.empty() ? facts.cgroup2_error : facts.cgroup2_root,
                        "mount it: mount -t cgroup2 none /sys/fs/cgroup/unified; with systemd, set Delegate=yes"));
  out.push_back(finding("cgroup.kill", facts.cgroup_kill, State::note, facts.cgroup_kill ? "there" : "missing",
                        "a kernel of 5.14 or newer ends a job at once; here it is frozen and killed one by one"));
  const bool limited = !facts.memory_controller.empty() && !facts.pids_controller.empty();
  out.push_back(
      finding("limits", limited, State::trouble,
              fmt::format("memory: {}, pids: {}", facts.memory_controller.empty() ? "none" : facts.memory_controller,
                          facts.pids_controller.empty() ? "none" : facts.pids_controller),
              "without these controllers a job can take all memory or processes of the node: boot with "
              "systemd.unified_cgroup_hierarchy=1, or mount the controllers of v1"));
  out.push_back(judge_shares(facts));
  out.push_back(judge_isolation(facts));
  std::string missing;
  for (const std::string& program : facts.missing_programs) missing += (missing.empty() ? "" : ", ") + program;
  out.push_back(finding("programs", missing.empty(), State::broken,
                        missing.empty() ? "all there" : "missing: " + missing,
                        "they belong beside trainyard-agent: install it again"));
  const bool checks = facts.check_cpu && (facts.check_gpu || !facts.nvidia_driver);
  out.push_back(finding(
      "health checks", checks, State::note,
      fmt::format("cpu: {}, gpu: {}", facts.check_cpu ? "there" : "missing", facts.check_gpu ? "there" : "missing"),
      "`trainyard node check` cannot measure this node: trainyard-check-cpu and trainyard-check-gpu are "
      "built where Open MPI, nvcc and NCCL are found, and belong beside trainyard-agent"));
  out.push_back(
      finding("controller", facts.controller_error.empty(), State::broken,
              facts.controller + (facts.controller_error.empty() ? " answers" : ": " + facts.controller_error),
              "is it running, is the address right, and does a firewall let this machine dial it?"));
  out.push_back(finding("TLS key", facts.tls_key_private, State::broken,
                        facts.tls_key_private ? "private" : "can be read by other users", "chmod 0600 the key"));
}

// ---- Network ----

void judge_network(const MachineFacts& facts, std::vector<Finding>& out) {
  out.push_back(finding(
      "address", !facts.interface.empty(), State::broken,
      facts.interface.empty() ? facts.address + " is on no interface" : facts.address + " on " + facts.interface,
      "set `address` to this machine's address on the cluster's network"));
  if (!facts.interface.empty()) {
    out.push_back(finding("MTU", facts.mtu >= 1500, State::trouble, fmt::format("{}", facts.mtu),
                          "below 1500 large MPI messages can hang when the nodes differ: set the same MTU on all"));
  }
  const bool loopback = facts.address.starts_with("127.");
  out.push_back(finding("other nodes", !loopback, State::note, loopback ? "address is loopback" : "can be reached",
                        "jobs on several nodes need an address that the other nodes reach"));
  const bool overlap = facts.first_local_port <= kLastJobPort && facts.last_local_port >= kFirstJobPort;
  out.push_back(finding("local ports", !overlap, State::trouble,
                        fmt::format("{}-{}", facts.first_local_port, facts.last_local_port),
                        fmt::format("they overlap with {}-{}, where jobs' processes listen: "
                                    "sysctl -w net.ipv4.ip_local_port_range='32768 60999'",
                                    kFirstJobPort, kLastJobPort)));
  const bool plain = facts.node_name.find('_') == std::string::npos;
  out.push_back(finding("node name", plain, State::note, facts.node_name,
                        "Open MPI does not like '_' in host names; Trainyard gives it addresses, a user's own mpirun "
                        "may not"));
  const bool skewed = !facts.clock_synchronised.value_or(true) || facts.clock_error_seconds > 1;
  out.push_back(finding("clock", !skewed, State::trouble,
                        !facts.clock_synchronised ? std::string("not known")
                        : *facts.clock_synchronised
                            ? fmt::format("synchronised, within {:.3f} s", facts.clock_error_seconds)
                            : std::string("not synchronised"),
                        "run chrony or systemd-timesyncd: times in logs and on shares are wrong otherwise"));
}

// ---- What jobs need ----

void judge_jobs(const MachineFacts& facts, std::vector<Finding>& out) {
  const bool open_mpi_4 =
      facts.mpi.find("(Open MPI) 4.") != std::string::npos || facts.mpi.find("(OpenRTE) 4.") != std::string::npos;
  out.push_back(finding("MPI", open_mpi_4, facts.mpi.empty() ? State::trouble : State::note,
                        facts.mpi.empty() ? "no mpirun" : facts.mpi,
                        facts.mpi.empty() ? "install openmpi-bin: horovod, chainer and customMpi jobs need it"
                                          : "Trainyard is tested with Open MPI 4 and Hydra"));
  out.push_back(finding("python", !facts.python.empty(), State::note, facts.python.empty() ? "none" : facts.python,
                        "install python3, unless every job brings its own interpreter"));
  out.push_back(finding("bash", !facts.bash.empty(), State::broken, facts.bash.empty() ? "none" : facts.bash,
                        "install bash: command lines of jobs run in it"));
  const bool enough_descriptors = facts.descriptors >= 65'536;
  out.push_back(finding("open files", enough_descriptors, State::note, fmt::format("{}", facts.descriptors),
                        "many ranks open many files: LimitNOFILE=131072 in the unit"));
  const bool locked = !facts.memlock_bytes;
  out.push_back(finding("locked memory", locked || facts.infiniband.empty(), State::trouble,
                        locked ? "unlimited" : bytes_text(*facts.memlock_bytes),
                        "InfiniBand registers memory: LimitMEMLOCK=infinity in the unit"));
  const bool enough_shm = facts.shm_bytes >= std::min<std::uint64_t>(facts.memory_bytes / 4, 8 * kGb);
  out.push_back(finding("/dev/shm", enough_shm, State::trouble, bytes_text(facts.shm_bytes),
                        "data loaders and NCCL exchange data there: mount -o remount,size=50% /dev/shm"));
  out.push_back(finding("FUSE", facts.fuse, State::note, facts.fuse ? "/dev/fuse" : "missing",
                        "modprobe fuse: volumes by rclone, s3fs and sshfs need it"));
  out.push_back(finding("NFS client", facts.nfs_client, State::note, facts.nfs_client ? "there" : "missing",
                        "install nfs-common: volumes on file servers need it"));
}

void judge_disks(const MachineFacts& facts, std::vector<Finding>& out) {
  const char* names[] = {"spool disk", "work disk", "run directory"};
  for (std::size_t i = 0; i < facts.disks.size() && i < 3; ++i) {
    const DiskFacts& disk = facts.disks[i];
    const std::string found = fmt::format("{}: {} of {} free{}", disk.path, bytes_text(disk.free_bytes),
                                          bytes_text(disk.total_bytes), disk.in_memory ? ", in memory" : "");
    if (i == 2) {
      out.push_back(finding(names[i], disk.in_memory, State::trouble, found,
                            "put run_dir on a tmpfs: secrets of jobs lie there, and MPI's session files"));
    } else if (disk.remote) {
      out.push_back({names[i], State::broken, found + ", on a network file system",
                     "it must be a local disk: the agent must not hang with a server"});
    } else {
      const bool room = disk.free_bytes >= 2 * kGb && disk.free_bytes >= disk.total_bytes / 50;
      out.push_back(
          finding(names[i], room, State::trouble, found, "free some space: logs and job directories go there"));
    }
  }
}

// ---- Accelerators ----

void judge_gpus(const MachineFacts& facts, std::vector<Finding>& out) {
  if (!facts.nvidia_driver) {
    out.push_back(finding("NVIDIA driver", !facts.nouveau, State::trouble,
                          facts.nouveau ? "nouveau is loaded" : "none: no GPUs of NVIDIA",
                          "blacklist nouveau and install NVIDIA's driver"));
  } else {
    out.push_back(finding("NVIDIA driver", facts.nvml, State::trouble,
                          facts.nvml ? "loaded, libnvidia-ml answers" : "loaded, but libnvidia-ml.so.1 is missing",
                          "install the driver's user libraries of the same version"));
    out.push_back(finding("container toolkit", facts.container_toolkit, State::note,
                          facts.container_toolkit ? "CDI description found" : "no CDI description",
                          "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml: containers get GPUs by it"));
  }
  std::string adapters;
  for (const std::string& adapter : facts.infiniband) adapters += (adapters.empty() ? "" : ", ") + adapter;
  out.push_back({"InfiniBand", State::ok, adapters.empty() ? "none: jobs talk by TCP" : adapters, ""});
}

}  // namespace

std::vector<Finding> judge(const MachineFacts& facts) {
  std::vector<Finding> findings;
  judge_agent(facts, findings);
  judge_network(facts, findings);
  judge_jobs(facts, findings);
  judge_disks(facts, findings);
  judge_gpus(facts, findings);
  return findings;
}

int doctor_exit_code(const std::vector<Finding>& findings) {
  const bool broken = std::any_of(findings.begin(), findings.end(),
                                  [](const Finding& one) { return one.state == Finding::State::broken; });
  return broken ? 1 : 0;
}

}  // namespace trainyard::agent
