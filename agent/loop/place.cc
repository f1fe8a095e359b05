#include "agent/loop/place.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

std::vector<std::string> subdirectories(const std::string& path) {
  std::vector<std::string> names;
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return names;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string name = entry->d_name;
    struct stat status {};
    if (name == "." || name == ".." || ::lstat((path + "/" + name).c_str(), &status) != 0) continue;
    if (S_ISDIR(status.st_mode)) names.push_back(name);
  }
  ::closedir(directory);
  return names;
}

bool digits(const std::string& name, std::size_t from, std::size_t to) {
  return from < to &&
         std::all_of(name.begin() + static_cast<std::ptrdiff_t>(from), name.begin() + static_cast<std::ptrdiff_t>(to),
                     [](char c) { return c >= '0' && c <= '9'; });
}

// "<store>-j<number>-a<number>": whatever else lies there is not ours to remove.
bool is_attempt_name(const std::string& name) {
  const auto job = name.rfind("-j"), attempt = name.rfind("-a");
  if (job == std::string::npos || attempt == std::string::npos || attempt < job + 3) return false;
  return digits(name, job + 2, attempt) && digits(name, attempt + 2, name.size());
}

std::string store_part(const std::string& store_generation) {
  std::string store;
  for (const char c : store_generation) {
    if (store.size() < 12 && ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) store += c;
  }
  return store;
}

}  // namespace

std::string name_of_attempt(const std::string& store_generation, AttemptId id) {
  return store_part(store_generation) + "-j" + std::to_string(id.job.value) + "-a" + std::to_string(id.attempt);
}

std::string name_of_setup(const std::string& store_generation, std::uint64_t run) {
  return store_part(store_generation) + "-s" + std::to_string(run);
}

bool is_setup_name(const std::string& name) {
  const auto run = name.rfind("-s");
  return run != std::string::npos && digits(name, run + 2, name.size());
}

std::string cluster_directory(const ExecutorContext& context) {
  return context.work_dir + "/cluster";
}

Status make_mount_root(const ExecutorContext& context) {
  return make_local_directories({cluster_directory(context), cluster_directory(context) + "/mounts"});
}

MountPlaces shared_mounts(const ExecutorContext& context) {
  return {.work = context.work_dir + "/volumes",
          .spool = context.spool_dir + "/volumes",
          .run = context.run_dir + "/volumes",
          .cgroup = context.cgroup_base + "/volumes",
          .shim_program = context.shim_program};
}

Limits limits_of(const ExecutorContext& context, const Place& place, LimitSettings settings) {
  return Limits(context.controllers, std::move(settings), place.name, place.job_cgroup());
}

Place place_of(const ExecutorContext& context, const std::string& name) {
  return {.name = name,
          .spool = context.spool_dir + "/holdings/" + name,
          .job = is_setup_name(name) ? cluster_directory(context) : context.work_dir + "/jobs/" + name,
          .run = context.run_dir + "/" + name,
          .cgroup = context.cgroup_base + "/" + name};
}

HoldingPaths paths_of(const ExecutorContext& context, const Place& place, AttemptId id) {
  return {.job_mount_root = place.job + "/mounts",
          .mount_root = cluster_directory(context) + "/mounts",
          .job_temp = place.job + "/temp",
          .job_temp_dir = context.work_dir + "/jobs",
          .shared_job_temp = place.job + "/shared",
          .hostfile = place.job + "/hostfile",
          .tasks_file = place.job + "/tasks",
          .home = place.job + "/home",
          .rank_logs = place.job + "/ranks",
          .run = place.run,
          .socket = place.run + "/launch.socket",
          .rsh_program = context.rsh_program,
          .tasks_program = context.tasks_program,
          .id = id};
}

std::vector<std::string> names_found(const ExecutorContext& context) {
  std::set<std::string> names;
  for (const std::string& parent :
       {context.spool_dir + "/holdings", context.work_dir + "/jobs", context.run_dir, context.cgroup_base}) {
    for (const std::string& name : subdirectories(parent)) {
      if (is_attempt_name(name) || is_setup_name(name)) names.insert(name);
    }
  }
  for (const std::string& name : limited_names(context.controllers)) names.insert(name);
  return {names.begin(), names.end()};
}

Status make_local_directories(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return system_error("cannot create " + path, errno);
  }
  return {};
}

bool path_exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

void touch(const std::string& path) {
  UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

std::vector<std::string> helper_command(const ExecutorContext& context, const std::vector<std::string>& words) {
  std::vector<std::string> argv = context.helper_argv;
  argv.insert(argv.end(), words.begin(), words.end());
  return argv;
}

}  // namespace trainyard::agent
