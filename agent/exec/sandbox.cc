#include "agent/exec/sandbox.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "agent/exec/child.h"

namespace trainyard::agent {
namespace {

using nlohmann::json;

constexpr int kPatienceMs = 10'000;

std::string identity_file(const std::string& directory) {
  return directory + "/holder.json";
}

// What comes until the other side closes its end.
std::string read_to_end(int fd) {
  std::string text;
  char buffer[512];
  for (;;) {
    pollfd waiting{fd, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, kPatienceMs);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return text;
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(buffer, static_cast<std::size_t>(got));
  }
}

// `trainyard-shim sandbox`, with the spec as descriptor 0 and the answering pipe as 4; its own process ends at once.
Status spawn(const std::string& program, int input, int answer) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  posix_spawn_file_actions_adddup2(&actions, answer, 4);
  posix_spawn_file_actions_addclosefrom_np(&actions, 5);
  return spawn_free(program, "sandbox", actions);
}

}  // namespace

Status start_sandbox(const std::string& shim_program, const std::string& directory, const SandboxSpec& spec) {
  if (open_sandbox(directory)) return {};
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return system_error("cannot create " + directory, errno);
  }
  UniqueFd input, input_end, answer, answer_end;
  if (!make_pipe(input, input_end) || !make_pipe(answer, answer_end)) return system_error("cannot make a pipe", errno);
  const std::string text = json{{"cgroup", spec.cgroup}, {"tmp", spec.tmp},         {"var_tmp", spec.var_tmp},
                                {"hidden", spec.hidden}, {"visible", spec.visible}, {"read_only", spec.read_only}}
                               .dump();
  // It fits the pipe: nobody reads yet.
  if (text.size() > 32 * 1024 || !write_fully(input_end.get(), text.data(), text.size())) {
    return Error{Code::internal, "the description of the job's sandbox is too long"};
  }
  input_end.reset();
  if (auto spawned = spawn(shim_program, input.get(), answer_end.get()); !spawned) return spawned;
  answer_end.reset();
  const std::string said = read_to_end(answer.get());
  const json identity = json::parse(said, nullptr, false);
  if (!identity.is_object()) {
    return Error{Code::internal, "cannot make the job's sandbox: " + (said.empty() ? "it ended" : said) +
                                     " (where namespaces are not permitted, set \"isolation\" to \"user\" in the "
                                     "agent's configuration)"};
  }
  return write_file_atomically(identity_file(directory), said, 0600);
}

namespace {

struct Holder {
  int pid = 0;
  UniqueFd fd;
};

std::optional<Holder> find_holder(const std::string& directory) {
  const auto text = read_whole_file(identity_file(directory));
  const json identity = text ? json::parse(*text, nullptr, false) : json();
  if (!identity.is_object()) return std::nullopt;
  Holder holder;
  holder.pid = identity.value("pid", 0);
  if (holder.pid <= 0) return std::nullopt;
  holder.fd.reset(static_cast<int>(::syscall(SYS_pidfd_open, holder.pid, 0)));
  // The descriptor is of some process of that number; only its start time tells that it is ours.
  const bool lives = holder.fd.valid() && !is_readable(holder.fd.get()) &&
                     process_start_time(holder.pid) == identity.value("start_time", std::uint64_t{0});
  if (!lives) return std::nullopt;
  return holder;
}

}  // namespace

Result<UniqueFd> open_sandbox(const std::string& directory) {
  auto holder = find_holder(directory);
  if (!holder) return Error{Code::unavailable, "the job's sandbox is gone: its process was killed"};
  return std::move(holder->fd);
}

std::optional<int> sandbox_pid(const std::string& directory) {
  const auto holder = find_holder(directory);
  return holder ? std::optional<int>(holder->pid) : std::nullopt;
}

Status enter_pid_namespace(int sandbox) {
  if (::setns(sandbox, CLONE_NEWPID) == 0) return {};
  return system_error("cannot enter the job's pid namespace", errno);
}

bool enter_namespaces(int sandbox) {
  return ::setns(sandbox, CLONE_NEWNS | CLONE_NEWIPC) == 0;
}

}  // namespace trainyard::agent
