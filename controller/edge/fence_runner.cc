#include "controller/edge/fence_runner.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

extern char** environ;

namespace trainyard::controller {
namespace {

std::string how_it_ended(int status) {
  if (WIFEXITED(status)) return fmt::format("exit code {}", WEXITSTATUS(status));
  return fmt::format("killed by signal {}", WTERMSIG(status));
}

Result<pid_t> spawn(const std::vector<std::string>& argv) {
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, defaults;
  sigemptyset(&none);
  sigfillset(&defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, 2, 1);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, argv[0].c_str(), &files, &attributes, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    return Error{Code::failed_precondition, fmt::format("{} cannot be started: {}", argv[0], std::strerror(error))};
  }
  return pid;
}

}  // namespace

Status run_command(const std::vector<std::string>& argv, DurationMs deadline_ms, int stop) {
  const auto pid = spawn(argv);
  if (!pid) return pid.error();
  // glibc 2.36 declares pidfd_open without C linkage.
  const int process = static_cast<int>(syscall(SYS_pidfd_open, *pid, 0));
  pollfd watched[] = {{process, POLLIN, 0}, {stop, POLLIN, 0}};
  int ready = -1;
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(deadline_ms);
  do {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    ready = poll(watched, 2, static_cast<int>(std::max<std::int64_t>(0, left.count())));
  } while (ready < 0 && errno == EINTR);
  const bool ended = process >= 0 && (watched[0].revents & POLLIN) != 0;
  if (!ended) kill(-*pid, SIGKILL);
  int status = 0;
  while (waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (process >= 0) close(process);
  if (!ended) {
    return Error{Code::deadline_exceeded, (watched[1].revents & POLLIN) != 0
                                              ? "the controller stops"
                                              : fmt::format("did not end within {} s", deadline_ms / 1000)};
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return Error{Code::failed_precondition, how_it_ended(status)};
}

FenceRunner::FenceRunner(Context& context, DurationMs deadline_ms)
    : x_context(context), x_deadline_ms(deadline_ms), x_stop(eventfd(0, EFD_CLOEXEC)) {}

FenceRunner::~FenceRunner() {
  eventfd_write(x_stop, 1);
  x_threads.stop();
  x_threads.join();
  close(x_stop);
}

void FenceRunner::run(const core::RunFence& fence) {
  boost::asio::post(x_threads, [this, fence] {
    const core::FenceFinished outcome = execute(fence);
    spdlog::info("fence command of pool {} for node {}: {}", fence.pool, fence.node_name,
                 outcome.ok ? "the machine is off" : outcome.message);
    // The outcome must arrive: a full inbox empties within moments.
    while (!x_context.loop.post(outcome)) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  });
}

core::FenceFinished FenceRunner::execute(const core::RunFence& fence) const {
  core::FenceFinished outcome;
  outcome.node = fence.node_name;
  const auto pool = x_context.config.pools.find(fence.pool);
  if (pool == x_context.config.pools.end() || pool->second.fence_command.empty()) {
    outcome.message = fmt::format("pool {} has no fence command", fence.pool);
    return outcome;
  }
  std::vector<std::string> argv = pool->second.fence_command;
  argv.push_back(fence.node_name);
  const Status status = run_command(argv, x_deadline_ms, x_stop);
  outcome.ok = status.ok();
  if (!status) outcome.message = status.error().message;
  return outcome;
}

}  // namespace trainyard::controller
