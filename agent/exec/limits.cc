#include "agent/exec/limits.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <sstream>

#include "agent/exec/device_filter.h"
#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

// A name with its value in a file of lines "name value"; 0 without.
std::uint64_t value_in(const std::string& path, const std::string& name) {
  const auto text = read_whole_file(path);
  if (!text) return 0;
  std::istringstream words(*text);
  for (std::string key, value; words >> key >> value;) {
    if (key == name) return std::strtoull(value.c_str(), nullptr, 10);
  }
  return 0;
}

std::uint64_t number_in(const std::string& path) {
  const auto text = read_whole_file(path);
  return text ? std::strtoull(text->c_str(), nullptr, 10) : 0;
}

Status write_control(const std::string& path, const std::string& value) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (file.valid() && ::write(file.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size())) return {};
  return system_error("cannot write " + value + " to " + path, errno);
}

// The mount of a v1 controller, with this process's own place below it: groups are made beside what limits us.
std::string directory_of_v1(const std::string& controller) {
  const auto mounts = mount_table();
  const auto own = read_whole_file("/proc/self/cgroup");
  if (!mounts || !own) return {};
  std::string mount_point;
  for (const MountEntry& mount : *mounts) {
    const bool has_it = ("," + mount.options + ",").find("," + controller + ",") != std::string::npos;
    if (mount.type == "cgroup" && has_it) mount_point = mount.point;
  }
  if (mount_point.empty()) return {};
  std::istringstream memberships(*own);
  for (std::string line; std::getline(memberships, line);) {
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = "," + line.substr(first + 1, second - first - 1) + ",";
    if (names.find("," + controller + ",") == std::string::npos) continue;
    const std::string place = mount_point + line.substr(second + 1);
    if (::access(place.c_str(), W_OK) == 0) return place == mount_point + "/" ? mount_point : place;
  }
  return ::access(mount_point.c_str(), W_OK) == 0 ? mount_point : std::string();
}

bool has_word(const std::string& path, const std::string& word) {
  const auto text = read_whole_file(path);
  if (!text) return false;
  std::istringstream words(*text);
  for (std::string found; words >> found;) {
    if (found == word) return true;
  }
  return false;
}

// For all of `path`'s parents below a cgroup2 mount, and itself.
bool enable_v2(const std::string& path, const std::string& controller) {
  std::vector<std::string> chain;
  for (std::string at = path; ::access((at + "/cgroup.subtree_control").c_str(), F_OK) == 0;) {
    chain.push_back(at);
    const auto slash = at.rfind('/');
    if (slash == std::string::npos || slash == 0) break;
    at.resize(slash);
  }
  for (auto at = chain.rbegin(); at != chain.rend(); ++at) {
    if (!has_word(*at + "/cgroup.controllers", controller)) return false;
    if (has_word(*at + "/cgroup.subtree_control", controller)) continue;
    if (!write_control(*at + "/cgroup.subtree_control", "+" + controller)) return false;
  }
  return !chain.empty();
}

Status make_group(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return {};
  return system_error("cannot create cgroup " + path, errno);
}

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

// Weights count against the neighbours' only. Of disks the highest is 1000, whatever the number of GPUs.
std::uint64_t io_weight(const LimitSettings& settings) {
  return std::max<std::uint64_t>(1, std::uint64_t{1000} * settings.gpus / std::max(settings.gpus, settings.node_gpus));
}

// The file's name says which scheduler of disks the kernel has; a kernel without any has no file, and nothing to weigh.
Status write_io_weight(const std::string& group, const LimitSettings& settings) {
  const std::string weight = std::to_string(io_weight(settings));
  for (const char* file : {"/io.bfq.weight", "/io.weight", "/blkio.bfq.weight", "/blkio.weight"}) {
    // CFQ's lowest is 10.
    const bool cfq = std::string(file) == "/blkio.weight";
    if (exists(group + file)) return write_control(group + file, cfq && weight.size() == 1 ? "10" : weight);
  }
  return {};
}

// Where groups of v1 can be.
std::set<std::string> group_parents(const Controllers& controllers) {
  std::set<std::string> parents{controllers.memory_v1, controllers.pids_v1,    controllers.cpu_v1,
                                controllers.blkio_v1,  controllers.devices_v1, controllers.cpuset_v1};
  parents.erase("");
  return parents;
}

std::string parent_of(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

// "254:0" of a whole disk; its parts have no limits of their own.
Result<std::string> number_of_disk(const std::string& device) {
  struct stat about {};
  if (::stat(device.c_str(), &about) != 0 || !S_ISBLK(about.st_mode)) {
    return Error{Code::invalid_argument, device + " is no disk: name one as /dev/nvme0n1"};
  }
  const std::string number = std::to_string(major(about.st_rdev)) + ":" + std::to_string(minor(about.st_rdev));
  if (exists("/sys/dev/block/" + number + "/partition")) {
    return Error{Code::invalid_argument, device + " is a part of a disk: name the whole one"};
  }
  return number;
}

// The kernel's own default.
constexpr std::uint64_t kCpuPeriodUs = 100'000;

std::uint64_t cpu_quota_us(const LimitSettings& settings) {
  return std::max<std::uint64_t>(1'000, settings.cpu_percent * (kCpuPeriodUs / 100));  // the kernel takes no less
}

Status limit_cpu_v1(const std::string& group, const LimitSettings& settings) {
  Status done = make_group(group);
  if (done) done = write_control(group + "/cpu.cfs_period_us", std::to_string(kCpuPeriodUs));
  return done ? write_control(group + "/cpu.cfs_quota_us", std::to_string(cpu_quota_us(settings))) : done;
}

Status limit_disk_v1(const std::string& group, const DiskLimit& disk) {
  const auto number = number_of_disk(disk.device);
  if (!number) return number.error();
  Status done = make_group(group);
  for (const auto& [file, most] : {std::pair{"/blkio.throttle.read_bps_device", disk.read_bytes},
                                   std::pair{"/blkio.throttle.write_bps_device", disk.write_bytes},
                                   std::pair{"/blkio.throttle.read_iops_device", disk.reads},
                                   std::pair{"/blkio.throttle.write_iops_device", disk.writes}}) {
    if (done && most != 0) done = write_control(group + file, *number + " " + std::to_string(most));
  }
  return done;
}

Status limit_disk_v2(const std::string& cgroup, const DiskLimit& disk) {
  const auto number = number_of_disk(disk.device);
  if (!number) return number.error();
  std::string line = *number;
  for (const auto& [key, most] : {std::pair{" rbps=", disk.read_bytes}, std::pair{" wbps=", disk.write_bytes},
                                  std::pair{" riops=", disk.reads}, std::pair{" wiops=", disk.writes}}) {
    if (most != 0) line += key + std::to_string(most);
  }
  return write_control(cgroup + "/io.max", line);
}

}  // namespace

Controllers find_controllers(const std::string& cgroup_base, const std::string& prefix) {
  Controllers found;
  found.prefix = prefix;
  found.memory_v2 = enable_v2(cgroup_base, "memory");
  found.pids_v2 = enable_v2(cgroup_base, "pids");
  found.cpu_v2 = enable_v2(cgroup_base, "cpu");
  found.io_v2 = enable_v2(cgroup_base, "io");
  found.cpuset_v2 = enable_v2(cgroup_base, "cpuset");
  if (!found.memory_v2) found.memory_v1 = directory_of_v1("memory");
  if (!found.pids_v2) found.pids_v1 = directory_of_v1("pids");
  if (!found.cpu_v2) found.cpu_v1 = directory_of_v1("cpu");
  if (!found.io_v2) found.blkio_v1 = directory_of_v1("blkio");
  if (!found.cpuset_v2) found.cpuset_v1 = directory_of_v1("cpuset");
  found.devices_v1 = directory_of_v1("devices");
  found.device_programs = found.devices_v1.empty() && takes_device_programs();
  return found;
}

std::string controller_kind(const std::string& cgroup2, const std::string& controller) {
  if (has_word(cgroup2 + "/cgroup.controllers", controller)) return "v2";
  if (!directory_of_v1(controller == "io" ? "blkio" : controller).empty()) return "v1";
  return controller == "devices" && !cgroup2.empty() && takes_device_programs() ? "v2" : "";
}

std::string why_not(const Controllers& controllers, std::uint64_t cpu_percent, const std::vector<DiskLimit>& disks) {
  const char* const advice = "boot with systemd.unified_cgroup_hierarchy=1, mount the one of v1, or remove the limit";
  if (cpu_percent != 0 && !controllers.cpu_v2 && controllers.cpu_v1.empty()) {
    return std::string("cpu_limit_percent: there is no cpu controller of cgroups here: ") + advice;
  }
  if (!disks.empty() && !controllers.io_v2 && controllers.blkio_v1.empty()) {
    return std::string("disk_limits: there is no io (v1: blkio) controller of cgroups here: ") + advice;
  }
  for (const DiskLimit& disk : disks) {
    if (const auto number = number_of_disk(disk.device); !number) return "disk_limits: " + number.error().message;
  }
  return {};
}

Limits::Limits(const Controllers& controllers, LimitSettings settings, const std::string& name, std::string job_cgroup)
    : x_controllers(controllers), x_settings(std::move(settings)), x_name(name), x_job_cgroup(std::move(job_cgroup)) {
  const auto group = [&](const std::string& parent, bool wanted) {
    return wanted && !parent.empty() ? parent + "/" + controllers.prefix + name : std::string();
  };
  x_memory_group = group(controllers.memory_v1, x_settings.memory_bytes != 0);
  x_pids_group = group(controllers.pids_v1, x_settings.processes != 0);
  x_cpu_group = group(controllers.cpu_v1, x_settings.gpus != 0 || x_settings.cpu_percent != 0);
  x_io_group = group(controllers.blkio_v1, x_settings.gpus != 0 || !x_settings.disks.empty());
  x_cpuset_group = group(controllers.cpuset_v1, !x_settings.cores.empty());
  x_device_group = group(controllers.devices_v1, !x_settings.refused_devices.empty());
}

Status Limits::create() const {
  const std::string memory = std::to_string(x_settings.memory_bytes), processes = std::to_string(x_settings.processes);
  const std::string holding = parent_of(x_job_cgroup);
  Status done;
  if (x_settings.memory_bytes != 0 && x_controllers.memory_v2) {
    if (!enable_v2(holding, "memory")) return Error{Code::failed_precondition, "no memory controller in " + holding};
    done = write_control(x_job_cgroup + "/memory.max", memory);
    if (done) done = write_control(x_job_cgroup + "/memory.oom.group", "1");
  } else if (!x_memory_group.empty()) {
    done = make_group(x_memory_group);
    if (done) done = write_control(x_memory_group + "/memory.limit_in_bytes", memory);
  }
  if (done) done = create_hard();
  if (!done) return done;
  if (x_settings.processes != 0 && x_controllers.pids_v2) {
    if (!enable_v2(holding, "pids")) return Error{Code::failed_precondition, "no pids controller in " + holding};
    return write_control(x_job_cgroup + "/pids.max", processes);
  }
  if (x_pids_group.empty()) return {};
  done = make_group(x_pids_group);
  return done ? write_control(x_pids_group + "/pids.max", processes) : done;
}

// What the operator demands: without it nothing starts. In v2 on the job's own cgroup, so that the shims stay outside.
Status Limits::create_hard() const {
  const std::string holding = parent_of(x_job_cgroup);
  Status done;
  if (x_settings.cpu_percent != 0 && x_controllers.cpu_v2) {
    if (!enable_v2(holding, "cpu")) return Error{Code::failed_precondition, "no cpu controller in " + holding};
    done = write_control(x_job_cgroup + "/cpu.max",
                         std::to_string(cpu_quota_us(x_settings)) + " " + std::to_string(kCpuPeriodUs));
  } else if (x_settings.cpu_percent != 0 && !x_cpu_group.empty()) {
    done = limit_cpu_v1(x_cpu_group, x_settings);
  }
  if (!x_settings.disks.empty() && x_controllers.io_v2 && !enable_v2(holding, "io")) {
    return Error{Code::failed_precondition, "no io controller in " + holding};
  }
  for (const DiskLimit& disk : x_settings.disks) {
    if (!done) break;
    if (x_controllers.io_v2) done = limit_disk_v2(x_job_cgroup, disk);
    if (!x_io_group.empty()) done = limit_disk_v1(x_io_group, disk);
  }
  return done;
}

Status Limits::create_share() const {
  Status done;
  for (const auto part : {&Limits::create_devices, &Limits::create_weights, &Limits::create_cores}) {
    if (Status next = (this->*part)(); done) done = std::move(next);
  }
  return done;
}

Status Limits::create_weights() const {
  Status done;
  const auto note = [&](Status next) {
    if (done) done = std::move(next);
  };
  if (x_settings.gpus == 0) return done;
  // In v2 on the holding: weights count among siblings, and its siblings are the other holdings.
  const std::string holding = parent_of(x_job_cgroup);
  if (x_controllers.cpu_v2) {
    note(write_control(holding + "/cpu.weight", std::to_string(std::min(100 * x_settings.gpus, 10'000U))));
  } else if (!x_cpu_group.empty()) {
    Status made = make_group(x_cpu_group);
    if (made) made = write_control(x_cpu_group + "/cpu.shares", std::to_string(1024 * x_settings.gpus));
    note(made);
  }
  if (x_controllers.io_v2) {
    note(write_io_weight(holding, x_settings));
  } else if (!x_io_group.empty()) {
    Status made = make_group(x_io_group);
    if (made) made = write_io_weight(x_io_group, x_settings);
    note(made);
  }
  return done;
}

// A group whose cores could not be set takes no process: it goes again, and affinity() is what is left.
Status Limits::create_cores() const {
  const std::string holding = parent_of(x_job_cgroup);
  if (x_settings.cores.empty()) return {};
  if (x_controllers.cpuset_v2) {
    if (!enable_v2(holding, "cpuset")) return Error{Code::failed_precondition, "no cpuset controller in " + holding};
    return write_control(x_job_cgroup + "/cpuset.cpus", x_settings.cores);
  }
  if (x_cpuset_group.empty()) return {};
  Status done = make_group(x_cpuset_group);
  // The parent has both: this process is in it. All memory, because the kernel takes what is near first, and a job that
  // needs more of it than is near must not end for that.
  auto memory = read_whole_file(parent_of(x_cpuset_group) + "/cpuset.mems");
  if (done && !memory) done = memory.error();
  if (done) done = write_control(x_cpuset_group + "/cpuset.mems", memory->substr(0, memory->find('\n')));
  if (done) done = write_control(x_cpuset_group + "/cpuset.cpus", x_settings.cores);
  if (!done) ::rmdir(x_cpuset_group.c_str());
  return done;
}

std::string Limits::affinity() const {
  if (x_settings.cores.empty()) return {};
  if (!x_cpuset_group.empty() && exists(x_cpuset_group)) return {};
  const auto held = read_whole_file(x_job_cgroup + "/cpuset.cpus");
  const bool holds = x_controllers.cpuset_v2 && held && held->find_first_of("0123456789") != std::string::npos;
  return holds ? std::string() : x_settings.cores;
}

// In v2 of the job's own cgroup, so that what the agent does for the holding is not held up.
Status Limits::create_devices() const {
  std::vector<CharDevice> refused;
  for (const std::string& path : x_settings.refused_devices) {
    struct stat about {};
    if (::stat(path.c_str(), &about) != 0 || !S_ISCHR(about.st_mode)) continue;
    refused.push_back({major(about.st_rdev), minor(about.st_rdev)});
  }
  if (x_controllers.device_programs) return refused.empty() ? Status() : refuse_devices(x_job_cgroup, refused);
  if (x_device_group.empty()) return {};
  Status done = make_group(x_device_group);
  for (const auto& [major_number, minor_number] : refused) {
    const std::string number = std::to_string(major_number) + ":" + std::to_string(minor_number);
    if (done) done = write_control(x_device_group + "/devices.deny", "c " + number + " rwm");
  }
  return done;
}

std::vector<std::string> Limits::groups(bool in_container) const {
  std::vector<std::string> groups;
  // Those that are there: weights and cores are made where they can be, and a holding that an agent of other settings
  // (or an older one) began has what it began with.
  for (const std::string& group : {x_memory_group, x_pids_group, x_cpu_group, x_io_group,
                                   in_container ? std::string() : x_device_group, x_cpuset_group}) {
    if (!group.empty() && exists(group)) groups.push_back(group);
  }
  return groups;
}

std::optional<OutOfMemory> Limits::out_of_memory() const {
  if (x_settings.memory_bytes == 0) return std::nullopt;
  OutOfMemory found;
  found.limit_bytes = x_settings.memory_bytes;
  if (!x_memory_group.empty()) {
    found.kills = value_in(x_memory_group + "/memory.oom_control", "oom_kill");
    found.peak_bytes = number_in(x_memory_group + "/memory.max_usage_in_bytes");
  } else if (x_controllers.memory_v2) {
    found.kills = value_in(x_job_cgroup + "/memory.events", "oom_kill");
    found.peak_bytes = number_in(x_job_cgroup + "/memory.peak");
  }
  if (found.kills == 0) return std::nullopt;
  return found;
}

// Those of other settings, too: an earlier life of the agent may have had others.
Status Limits::remove() const {
  for (const std::string& parent : group_parents(x_controllers)) {
    const std::string group = parent + "/" + x_controllers.prefix + x_name;
    if (::rmdir(group.c_str()) != 0 && errno != ENOENT) return system_error("cannot remove cgroup " + group, errno);
  }
  return {};
}

std::vector<std::string> limited_names(const Controllers& controllers) {
  std::set<std::string> names;
  for (const std::string& parent : group_parents(controllers)) {
    DIR* directory = ::opendir(parent.c_str());
    if (directory == nullptr) continue;
    while (const dirent* entry = ::readdir(directory)) {
      const std::string name = entry->d_name;
      if (name.starts_with(controllers.prefix)) names.insert(name.substr(controllers.prefix.size()));
    }
    ::closedir(directory);
  }
  return {names.begin(), names.end()};
}

}  // namespace trainyard::agent
