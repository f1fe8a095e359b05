#include "agent/volumes/within.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <ctime>

#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

constexpr std::size_t kMostOutput = 16 * 1024;

// What `pid` writes into the pipe until its end. False: the deadline came first.
bool read_until(int fd, TimeMs deadline_ms, std::string& text) {
  char buffer[4096];
  for (;;) {
    const TimeMs left = deadline_ms - monotonic_ms();
    pollfd waiting{fd, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(std::max<TimeMs>(left, 0)));
    if (ready == 0) return false;
    if (ready < 0) {
      if (errno == EINTR) continue;
      return true;
    }
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return true;
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.size() > 2 * kMostOutput) text.erase(0, text.size() - kMostOutput);
  }
}

// Its exit status; nullopt: not ended by then.
std::optional<int> wait_until(pid_t pid, TimeMs deadline_ms) {
  for (;;) {
    int status = 0;
    const pid_t got = ::waitpid(pid, &status, WNOHANG);
    if (got == pid) return status;
    if (got < 0 && errno != EINTR) return 0;
    if (monotonic_ms() >= deadline_ms) return std::nullopt;
    ::usleep(2'000);
  }
}

void kill_and_forget(pid_t pid) {
  ::kill(-pid, SIGKILL);
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, WNOHANG);
}

std::string seconds(DurationMs limit_ms) {
  return std::to_string((limit_ms + 999) / 1000) + " s";
}

}  // namespace

TimeMs monotonic_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

Status within(DurationMs limit_ms, const std::function<Status()>& step) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_error("cannot make a pipe", errno);
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return system_error("cannot fork", errno);
  if (pid == 0) {
    ::setpgid(0, 0);
    const Status done = step();
    std::string answer(1, done ? '\0' : static_cast<char>(done.error().code));
    if (!done) answer += done.error().message;
    ::_exit(write_fully(writing.get(), answer.data(), answer.size()) ? 0 : 1);
  }
  writing = UniqueFd();
  std::string answer;
  if (!read_until(reading.get(), monotonic_ms() + limit_ms, answer)) {
    kill_and_forget(pid);
    return Error{Code::deadline_exceeded, "no answer within " + seconds(limit_ms)};
  }
  wait_until(pid, monotonic_ms() + 1'000);
  if (answer.empty()) return Error{Code::internal, "the step ended without an answer"};
  if (answer[0] == '\0') return {};
  return Error{static_cast<Code>(answer[0]), answer.substr(1)};
}

CommandResult run_command(const std::vector<std::string>& argv, const std::vector<std::string>& environment,
                          DurationMs limit_ms) {
  CommandResult result;
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {127, "cannot make a pipe"};
  const UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return {127, "cannot fork"};
  if (pid == 0) {
    ::setpgid(0, 0);
    const int nothing = ::open("/dev/null", O_RDONLY);
    ::dup2(nothing, 0);
    ::dup2(writing.get(), 1);
    ::dup2(writing.get(), 2);
    std::vector<char*> words, variables;
    for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
    for (const std::string& variable : environment) variables.push_back(const_cast<char*>(variable.c_str()));
    words.push_back(nullptr);
    variables.push_back(nullptr);
    ::execve(words[0], words.data(), variables.data());
    ::_exit(127);
  }
  writing = UniqueFd();
  const TimeMs deadline = monotonic_ms() + limit_ms;
  const bool ended = read_until(reading.get(), deadline, result.output);
  const auto status = ended ? wait_until(pid, deadline) : std::nullopt;
  if (!status) {
    kill_and_forget(pid);
    result.exit_code = -1;
    result.output += "no answer within " + seconds(limit_ms);
    return result;
  }
  result.exit_code = WIFSIGNALED(*status) ? 128 + WTERMSIG(*status) : WEXITSTATUS(*status);
  return result;
}

std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  const std::string places =
      std::string(path == nullptr ? "" : path) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (std::size_t start = 0; start < places.size();) {
    const std::size_t end = std::min(places.find(':', start), places.size());
    const std::string candidate = places.substr(start, end - start) + "/" + name;
    if (candidate[0] == '/' && ::access(candidate.c_str(), X_OK) == 0) return candidate;
    start = end + 1;
  }
  return {};
}

}  // namespace trainyard::agent
