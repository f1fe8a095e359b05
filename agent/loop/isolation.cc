#include "agent/loop/isolation.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "agent/exec/cgroup.h"
#include "agent/exec/files.h"
#include "agent/exec/sandbox.h"

namespace trainyard::agent {
namespace {

// Only directories of ours, and never through a link.
Status give(const std::string& path, uid_t uid, gid_t gid, mode_t mode) {
  const UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory.valid() || ::fchown(directory.get(), uid, gid) != 0 || ::fchmod(directory.get(), mode) != 0) {
    return system_error("cannot prepare " + path, errno);
  }
  return {};
}

// "GPU UUID: \t GPU-..." -> "GPU-..."
std::string value_in(const std::string& text, const std::string& label) {
  const auto at = text.find(label);
  if (at == std::string::npos) return {};
  const auto begin = text.find_first_not_of(" \t", at + label.size());
  return begin == std::string::npos ? std::string() : text.substr(begin, text.find_first_of(" \t\n", begin) - begin);
}

}  // namespace

Status make_user_directories(const Place& place, const std::vector<std::string>& directories, const RunAs& user) {
  if (auto made = give(place.job, 0, user.gid, 0750); !made) return made;
  for (const std::string& path : directories) {
    auto made = make_local_directories({path});
    if (made) made = give(path, user.uid, user.gid, 0700);
    if (!made) return made;
  }
  auto made = make_local_directories({place.job + "/private", place.tmp(), place.var_tmp()});
  for (const std::string& path : {place.tmp(), place.var_tmp()}) {
    if (made) made = give(path, 0, 0, 01777);
  }
  return made;
}

std::vector<std::string> devices_of_others(const std::string& driver_gpus, const std::vector<std::string>& gpu_uuids) {
  std::vector<std::string> devices;
  for (const std::string& uuid : gpu_uuids) {
    if (uuid.starts_with("MIG-")) return {};
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(driver_gpus.c_str()), ::closedir);
  while (const dirent* entry = directory ? ::readdir(directory.get()) : nullptr) {
    const auto text = read_whole_file(driver_gpus + "/" + entry->d_name + "/information");
    if (!text) continue;
    const std::string uuid = value_in(*text, "GPU UUID:"), minor = value_in(*text, "Device Minor:");
    const bool own = std::find(gpu_uuids.begin(), gpu_uuids.end(), uuid) != gpu_uuids.end();
    if (!own && !minor.empty()) devices.push_back("/dev/nvidia" + minor);
  }
  std::sort(devices.begin(), devices.end());
  return devices;
}

Status make_sandbox(const ExecutorContext& context, const Place& place, const std::vector<std::string>& gpu_uuids) {
  if (context.isolation != Isolation::full) return {};
  if (auto made = make_local_directories({place.run}); !made) return made;
  const std::string cgroup = place.sandbox_cgroup();
  if (auto created = Cgroup(cgroup).create(); !created) return created;
  SandboxSpec spec{.cgroup = cgroup, .tmp = place.tmp(), .var_tmp = place.var_tmp(), .hidden = context.hidden};
  spec.hidden.insert(spec.hidden.end(), {context.spool_dir, context.run_dir, context.work_dir + "/jobs"});
  const auto others = devices_of_others("/proc/driver/nvidia/gpus", gpu_uuids);
  spec.hidden.insert(spec.hidden.end(), others.begin(), others.end());
  const std::string programs = context.shim_program.substr(0, context.shim_program.rfind('/'));
  spec.visible = {programs, cluster_directory(context), place.job, place.run};
  spec.read_only = {"/sys"};
  if (const auto root = find_cgroup2_root()) spec.read_only.push_back(*root);
  return start_sandbox(context.shim_program, place.sandbox(), spec);
}

void isolate(const ExecutorContext& context, const Place& place, const RunAs& user, ShimSpec& spec) {
  spec.uid = user.uid;
  spec.gid = user.gid;
  spec.groups = user.groups;
  spec.confine = context.isolation != Isolation::none;
  // A holding of an agent before there were sandboxes has none, and goes on without.
  if (context.isolation == Isolation::full && path_exists(place.sandbox())) spec.sandbox = place.sandbox();
}

std::vector<std::string> mkdir_words(const RunAs& user) {
  if (user.uid == 0) return {"mkdir"};
  return {"mkdir", "--as", std::to_string(user.uid) + ":" + std::to_string(user.gid)};
}

std::string guarded(const std::string& base, const std::string& path) {
  return path.starts_with(base + "/") ? base + "/" + path.substr(base.size()) : path;
}

}  // namespace trainyard::agent
