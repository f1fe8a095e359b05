#include "agent/exec/limits.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <sstream>

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

}  // namespace

Controllers find_controllers(const std::string& cgroup_base, const std::string& prefix) {
  Controllers found;
  found.prefix = prefix;
  found.memory_v2 = enable_v2(cgroup_base, "memory");
  found.pids_v2 = enable_v2(cgroup_base, "pids");
  if (!found.memory_v2) found.memory_v1 = directory_of_v1("memory");
  if (!found.pids_v2) found.pids_v1 = directory_of_v1("pids");
  return found;
}

std::string controller_kind(const std::string& cgroup2, const std::string& controller) {
  if (has_word(cgroup2 + "/cgroup.controllers", controller)) return "v2";
  return directory_of_v1(controller).empty() ? "" : "v1";
}

Limits::Limits(const Controllers& controllers, LimitSettings settings, const std::string& name, std::string job_cgroup)
    : x_controllers(controllers), x_settings(settings), x_job_cgroup(std::move(job_cgroup)) {
  if (settings.memory_bytes != 0 && !controllers.memory_v1.empty()) {
    x_memory_group = controllers.memory_v1 + "/" + controllers.prefix + name;
  }
  if (settings.processes != 0 && !controllers.pids_v1.empty()) {
    x_pids_group = controllers.pids_v1 + "/" + controllers.prefix + name;
  }
}

Status Limits::create() const {
  const std::string memory = std::to_string(x_settings.memory_bytes), processes = std::to_string(x_settings.processes);
  const std::string holding = x_job_cgroup.substr(0, x_job_cgroup.rfind('/'));
  Status done;
  if (x_settings.memory_bytes != 0 && x_controllers.memory_v2) {
    if (!enable_v2(holding, "memory")) return Error{Code::failed_precondition, "no memory controller in " + holding};
    done = write_control(x_job_cgroup + "/memory.max", memory);
    if (done) done = write_control(x_job_cgroup + "/memory.oom.group", "1");
  } else if (!x_memory_group.empty()) {
    done = make_group(x_memory_group);
    if (done) done = write_control(x_memory_group + "/memory.limit_in_bytes", memory);
  }
  if (!done) return done;
  if (x_settings.processes != 0 && x_controllers.pids_v2) {
    if (!enable_v2(holding, "pids")) return Error{Code::failed_precondition, "no pids controller in " + holding};
    return write_control(x_job_cgroup + "/pids.max", processes);
  }
  if (x_pids_group.empty()) return {};
  done = make_group(x_pids_group);
  return done ? write_control(x_pids_group + "/pids.max", processes) : done;
}

std::vector<std::string> Limits::groups() const {
  std::vector<std::string> groups;
  if (!x_memory_group.empty()) groups.push_back(x_memory_group);
  if (!x_pids_group.empty()) groups.push_back(x_pids_group);
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

Status Limits::remove() const {
  for (const std::string& group : groups()) {
    if (::rmdir(group.c_str()) != 0 && errno != ENOENT) return system_error("cannot remove cgroup " + group, errno);
  }
  return {};
}

std::vector<std::string> limited_names(const Controllers& controllers) {
  std::set<std::string> names;
  for (const std::string& parent : {controllers.memory_v1, controllers.pids_v1}) {
    DIR* directory = parent.empty() ? nullptr : ::opendir(parent.c_str());
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
