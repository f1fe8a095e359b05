#include <dlfcn.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/magic.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <sstream>
#include <thread>

#include "agent/doctor/doctor.h"
#include "agent/exec/cgroup.h"
#include "agent/exec/files.h"
#include "agent/exec/limits.h"
#include "agent/probe/inventory.h"

namespace trainyard::agent {
namespace {

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

// The first line that a program prints; empty when it cannot be run.
std::string first_line_of(const char* command) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(::popen(command, "r"), ::pclose);
  if (!pipe) return {};
  char line[256] = "";
  if (std::fgets(line, sizeof line, pipe.get()) == nullptr) return {};
  std::string text = line;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

// Empty: somebody accepts there, within three seconds.
std::string dial(const std::string& target) {
  const auto colon = target.rfind(':');
  if (colon == std::string::npos) return "not HOST:PORT";
  std::string host = target.substr(0, colon);
  if (host.size() > 1 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), target.c_str() + colon + 1, &hints, &found); error != 0) {
    return ::gai_strerror(error);
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> list(found, ::freeaddrinfo);
  const UniqueFd fd(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return std::strerror(errno);
  if (::connect(fd.get(), found->ai_addr, found->ai_addrlen) == 0) return {};
  if (errno != EINPROGRESS) return std::strerror(errno);
  pollfd waiting{fd.get(), POLLOUT, 0};
  if (::poll(&waiting, 1, 3'000) <= 0) return "no answer within 3 seconds";
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0 ? std::string() : std::strerror(error);
}

DiskFacts disk_at(std::string path) {
  DiskFacts disk{.path = path};
  while (path.size() > 1 && !exists(path)) path.resize(std::max<std::size_t>(1, path.rfind('/')));
  struct statfs about {};
  if (::statfs(path.c_str(), &about) != 0) return disk;
  disk.free_bytes = about.f_bavail * static_cast<std::uint64_t>(about.f_bsize);
  disk.total_bytes = about.f_blocks * static_cast<std::uint64_t>(about.f_bsize);
  disk.in_memory = about.f_type == TMPFS_MAGIC || about.f_type == RAMFS_MAGIC;
  constexpr long kCifs = 0xFF534D42L, kSmb2 = 0xFE534D42L, kFuse = 0x65735546L;
  disk.remote =
      about.f_type == NFS_SUPER_MAGIC || about.f_type == kCifs || about.f_type == kSmb2 || about.f_type == kFuse;
  return disk;
}

void look_at_cgroups(MachineFacts& facts) {
  const auto root = find_cgroup2_root();
  if (!root) {
    facts.cgroup2_error = root.error().message;
  } else {
    facts.cgroup2_root = *root;
    // Every cgroup but the root has it, where the kernel knows it.
    const Cgroup trial(*root + "/trainyard-doctor-" + std::to_string(::getpid()));
    if (trial.create()) facts.cgroup_kill = exists(trial.path() + "/cgroup.kill");
    (void)trial.remove();
  }
  facts.memory_controller = controller_kind(facts.cgroup2_root, "memory");
  facts.pids_controller = controller_kind(facts.cgroup2_root, "pids");
  facts.cpu_controller = controller_kind(facts.cgroup2_root, "cpu");
  facts.io_controller = controller_kind(facts.cgroup2_root, "io");
  facts.cpuset_controller = controller_kind(facts.cgroup2_root, "cpuset");
  facts.devices_controller = controller_kind(facts.cgroup2_root, "devices");
}

void look_at_network(const DoctorRequest& request, MachineFacts& facts) {
  facts.address = request.address;
  facts.controller = request.controller;
  facts.controller_error = dial(request.controller);
  const auto probed = probe({request.node_name, "doctor", "", request.address, request.network_cidr, 0});
  if (probed) {
    facts.interface = probed->interface;
    facts.cores = probed->inventory.cores;
    facts.memory_bytes = probed->inventory.memory_bytes;
    const UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq asked{};
    std::snprintf(asked.ifr_name, sizeof asked.ifr_name, "%s", facts.interface.c_str());
    if (::ioctl(socket.get(), SIOCGIFMTU, &asked) == 0) facts.mtu = static_cast<std::uint32_t>(asked.ifr_mtu);
  }
  if (const auto range = read_whole_file("/proc/sys/net/ipv4/ip_local_port_range")) {
    std::istringstream(*range) >> facts.first_local_port >> facts.last_local_port;
  }
  timex clock{};
  const int state = ::adjtimex(&clock);
  if (state >= 0) {
    facts.clock_synchronised = state != TIME_ERROR && (clock.status & STA_UNSYNC) == 0;
    facts.clock_error_seconds = static_cast<double>(clock.maxerror) / 1e6;
  }
}

void look_at_limits(MachineFacts& facts) {
  rlimit limit{};
  facts.memlock_bytes = 0;
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
    facts.memlock_bytes = limit.rlim_max == RLIM_INFINITY ? std::nullopt : std::optional<std::uint64_t>(limit.rlim_max);
  }
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) facts.descriptors = limit.rlim_max;
  facts.shm_bytes = disk_at("/dev/shm").total_bytes;
}

void look_at_programs(const DoctorRequest& request, MachineFacts& facts) {
  facts.mpi = first_line_of("(mpirun.openmpi --version || mpirun --version) 2>/dev/null");
  facts.python = first_line_of("(python3 --version || python --version) 2>/dev/null");
  facts.bash = first_line_of("bash --version 2>/dev/null");
  for (const std::string& program : request.programs) {
    if (!exists(program)) facts.missing_programs.push_back(program);
  }
  facts.check_cpu = exists(request.programs_directory + "/trainyard-check-cpu");
  facts.check_gpu = exists(request.programs_directory + "/trainyard-check-gpu");
  struct stat key {};
  facts.tls_key_private =
      request.tls_key.empty() || (::stat(request.tls_key.c_str(), &key) == 0 && (key.st_mode & 077) == 0);
}

// In a child: what it makes ends with it.
std::string try_namespaces() {
  const pid_t child = ::fork();
  if (child < 0) return std::strerror(errno);
  if (child == 0) {
    const bool made = ::unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC) == 0 &&
                      ::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0;
    ::_exit(made ? 0 : errno);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status == 0 ? std::string() : std::strerror(WEXITSTATUS(status));
}

void look_at_devices(MachineFacts& facts) {
  facts.nvidia_driver = exists("/proc/driver/nvidia/version");
  facts.nouveau = exists("/sys/module/nouveau");
  void* nvml = ::dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL);
  facts.nvml = nvml != nullptr;
  facts.container_toolkit = exists("/etc/cdi/nvidia.yaml") || exists("/var/run/cdi/nvidia.yaml");
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/infiniband", ignored)) {
    facts.infiniband.push_back(entry.path().filename());
  }
  facts.fuse = exists("/dev/fuse");
  facts.nfs_client = exists("/sbin/mount.nfs");
}

}  // namespace

MachineFacts look_at_machine(const DoctorRequest& request) {
  MachineFacts facts;
  facts.root = ::geteuid() == 0;
  facts.node_name = request.node_name;
  facts.isolation = request.isolation;
  facts.namespaces_error = try_namespaces();
  look_at_cgroups(facts);
  look_at_network(request, facts);
  look_at_limits(facts);
  look_at_programs(request, facts);
  for (const std::string& path : {request.spool_dir, request.work_dir, request.run_dir}) {
    facts.disks.push_back(disk_at(path));
  }
  look_at_devices(facts);
  return facts;
}

}  // namespace trainyard::agent
