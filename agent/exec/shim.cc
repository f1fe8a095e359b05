#include "agent/exec/shim.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "agent/exec/child.h"
#include "agent/exec/files.h"
#include "common/model_json.h"

namespace trainyard::agent {
namespace {

using nlohmann::json;

std::optional<json> read_json(const std::string& path) {
  const auto text = read_whole_file(path);
  if (!text) return std::nullopt;
  json value = json::parse(*text, nullptr, false);
  if (!value.is_object()) return std::nullopt;
  return value;
}

bool lock_is_held(int lock_fd) {
  if (::flock(lock_fd, LOCK_SH | LOCK_NB) != 0) return errno == EWOULDBLOCK;
  ::flock(lock_fd, LOCK_UN);
  return false;
}

struct ShimIdentity {
  int pid = 0, child_pid = 0;
  std::uint64_t start_time = 0;
};

std::optional<ShimIdentity> read_identity(const std::string& directory) {
  const auto value = read_json(directory + "/shim.json");
  if (!value) return std::nullopt;
  return ShimIdentity{value->value("pid", 0), value->value("child_pid", 0),
                      value->value("start_time", std::uint64_t{0})};
}

bool read_exit(const std::string& directory, ShimExit& exit) {
  const auto value = read_json(directory + "/exit.json");
  if (!value) return false;
  exit.exit_code = value->value("exit_code", 255);
  exit.signal = value->value("signal", 0);
  exit.dropped_bytes = value->value("dropped_bytes", std::uint64_t{0});
  exit.error = value->value("error", std::string());
  return true;
}

// Reads "ready\n" of the shim, or what it complains of; empty at a silent end.
std::string read_answer(int fd) {
  std::string answer;
  char buffer[512];
  for (;;) {
    pollfd waiting{fd, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, 10'000);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return answer;
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return answer;
    answer.append(buffer, static_cast<std::size_t>(got));
    if (answer.back() == '\n') return answer;
  }
}

// Spawns the shim with the lock as descriptor 3 and the answering pipe as 4; it forks itself free and its parent ends.
Status spawn_shim(const std::string& program, const std::string& directory, int lock_fd, int answer_fd) {
  const std::string log = directory + "/shim.log";
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  posix_spawn_file_actions_adddup2(&actions, lock_fd, 3);
  posix_spawn_file_actions_adddup2(&actions, answer_fd, 4);
  posix_spawn_file_actions_addclosefrom_np(&actions, 5);
  return spawn_free(program, directory, actions);
}

// A descriptor that no file action overwrites before it is used: above 4.
UniqueFd lifted(UniqueFd fd) {
  if (!fd.valid() || fd.get() > 4) return fd;
  return UniqueFd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 5));
}

}  // namespace

Status write_shim_spec(const std::string& directory, const ShimSpec& spec) {
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return system_error("cannot create " + directory, errno);
  const json value{{"argv", spec.argv},
                   {"environment", spec.environment},
                   {"secrets_path", spec.secrets_path},
                   {"working_directory", spec.working_directory},
                   {"cgroup", spec.cgroup},
                   {"limit_groups", spec.limit_groups},
                   {"cores", spec.cores},
                   {"log_limit_bytes", spec.log_limit_bytes},
                   {"stdout_path", spec.stdout_path},
                   {"stderr_path", spec.stderr_path},
                   {"lease_path", spec.lease_path},
                   {"lease_ms", spec.lease_ms},
                   {"uid", spec.uid},
                   {"gid", spec.gid},
                   {"groups", spec.groups},
                   {"sandbox", spec.sandbox},
                   {"confine", spec.confine}};
  // A user's text need not be UTF-8; what is not is replaced, in arguments as in values.
  return write_file_atomically(directory + "/spec.json", value.dump(-1, ' ', false, json::error_handler_t::replace),
                               0600);
}

Result<ShimSpec> read_shim_spec(const std::string& directory) {
  const auto text = read_whole_file(directory + "/spec.json");
  if (!text) return text.error();
  try {
    const json value = json::parse(*text);
    ShimSpec spec;
    value.at("argv").get_to(spec.argv);
    value.at("environment").get_to(spec.environment);
    spec.secrets_path = value.value("secrets_path", std::string());
    spec.working_directory = value.value("working_directory", std::string());
    spec.cgroup = value.value("cgroup", std::string());
    spec.limit_groups = value.value("limit_groups", std::vector<std::string>());
    spec.cores = value.value("cores", std::string());
    spec.log_limit_bytes = value.value("log_limit_bytes", std::uint64_t{0});
    spec.stdout_path = value.value("stdout_path", std::string());
    spec.stderr_path = value.value("stderr_path", std::string());
    spec.lease_path = value.value("lease_path", std::string());
    spec.lease_ms = value.value("lease_ms", kForever);
    spec.uid = value.value("uid", 0U);
    spec.gid = value.value("gid", 0U);
    spec.groups = value.value("groups", std::vector<std::uint32_t>());
    spec.sandbox = value.value("sandbox", std::string());
    spec.confine = value.value("confine", false);
    if (spec.argv.empty()) return Error{Code::invalid_argument, directory + "/spec.json: argv is empty"};
    if (spec.stdout_path.empty()) spec.stdout_path = directory + "/stdout";
    if (spec.stderr_path.empty()) spec.stderr_path = directory + "/stderr";
    return spec;
  } catch (const json::exception& error) {
    return Error{Code::invalid_argument, directory + "/spec.json: " + error.what()};
  }
}

Status write_secrets(const std::string& path, const std::vector<NamedValue>& secrets) {
  return write_file_atomically(path, json(secrets).dump(-1, ' ', false, json::error_handler_t::replace), 0400);
}

Status add_secrets(ShimSpec& spec) {
  if (spec.secrets_path.empty()) return {};
  // In a directory that the job's user may change: what lies there must still be what root wrote.
  const UniqueFd file(::open(spec.secrets_path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat about {};
  if (!file.valid() || ::fstat(file.get(), &about) != 0) return system_error("cannot open " + spec.secrets_path, errno);
  if (about.st_uid != 0 || !S_ISREG(about.st_mode)) {
    return Error{Code::permission_denied, spec.secrets_path + " is not what the agent wrote"};
  }
  const auto text = read_whole_file("/proc/self/fd/" + std::to_string(file.get()));
  if (!text) return text.error();
  const json value = json::parse(*text, nullptr, false);
  if (!value.is_array()) return Error{Code::data_loss, spec.secrets_path + " cannot be read"};
  for (const auto& secret : value.get<std::vector<NamedValue>>()) spec.environment.push_back(secret);
  return {};
}

Result<int> start_shim(const std::string& shim_program, const std::string& directory) {
  UniqueFd lock = lifted(UniqueFd(::open((directory + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)));
  if (!lock.valid()) return system_error("cannot open " + directory + "/lock", errno);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0 || ::access((directory + "/shim.json").c_str(), F_OK) == 0 ||
      ::access((directory + "/exit.json").c_str(), F_OK) == 0) {
    return Error{Code::already_exists, "a process was already started in " + directory};
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_error("cannot make a pipe", errno);
  UniqueFd answer(ends[0]);
  {
    const UniqueFd answer_end = lifted(UniqueFd(ends[1]));
    if (auto spawned = spawn_shim(shim_program, directory, lock.get(), answer_end.get()); !spawned)
      return spawned.error();
  }
  const std::string said = read_answer(answer.get());
  const auto identity = read_identity(directory);
  if (said != "ready\n" || !identity) {
    return Error{Code::internal, "the shim did not start in " + directory + ": " + (said.empty() ? "it ended" : said)};
  }
  return identity->pid;
}

ShimObservation observe_shim(const std::string& directory) {
  ShimObservation seen;
  const UniqueFd lock(::open((directory + "/lock").c_str(), O_RDWR | O_CLOEXEC));
  const bool held = lock.valid() && lock_is_held(lock.get());
  // After the look at the lock: a shim that ends in between leaves its exit.json first.
  if (const auto identity = read_identity(directory)) {
    seen.pid = held ? identity->pid : 0;
    seen.child_pid = identity->child_pid;
    seen.state = held ? ShimState::running : ShimState::lost;
  } else {
    seen.state = held ? ShimState::running : ShimState::never_started;
  }
  if (read_exit(directory, seen.exit)) {
    seen.state = ShimState::exited;
    seen.lingering = held;
  }
  return seen;
}

std::optional<int> open_shim_pidfd(const std::string& directory) {
  const auto identity = read_identity(directory);
  if (!identity || identity->pid <= 0) return std::nullopt;
  const int fd = static_cast<int>(::syscall(SYS_pidfd_open, identity->pid, 0));
  if (fd < 0) return std::nullopt;
  // The descriptor is of some process of that number; only its start time tells that it is ours. One that ended may
  // still wait to be reaped.
  if (process_start_time(identity->pid) != identity->start_time || is_readable(fd)) {
    ::close(fd);
    return std::nullopt;
  }
  return fd;
}

}  // namespace trainyard::agent
