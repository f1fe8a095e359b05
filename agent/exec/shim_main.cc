// trainyard-shim DIRECTORY: see shim.h. Started by start_shim with the held lock as descriptor 3 and a pipe for its
// answer as 4. One thread, one loop over two pipes and the signals; it keeps nothing in memory that matters.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "agent/exec/cgroup.h"
#include "agent/exec/child.h"
#include "agent/exec/files.h"
#include "agent/exec/fork_into.h"
#include "agent/exec/lease_file.h"
#include "agent/exec/sandbox.h"
#include "agent/exec/shim.h"

extern char** environ;

namespace trainyard::agent {
namespace {

constexpr int kLockFd = 3;
constexpr int kAnswerFd = 4;
constexpr std::size_t kPieceBytes = 64 * 1024;
constexpr std::size_t kDrainBytes = 8 * 1024 * 1024;  // more than the pipes hold: a drain ends although others write on

struct Output {
  UniqueFd pipe, file;
  std::uint64_t size = 0;      // of the file
  std::string tail;            // the newest of what is beyond the limit
  std::uint64_t left_out = 0;  // bytes between the file's end and the tail
};

struct Shim {
  std::string directory;
  ShimSpec spec;
  int child_pid = 0;
  bool exited = false;
  ShimExit exit;
  std::uint64_t written_dropped = 0;  // as exit.json says
  std::int64_t ended_boottime_ms = 0;
  std::int64_t lease_check_ms = 0;  // CLOCK_BOOTTIME at which the lease file is read next
  Output outputs[2];
};

void write_text(const std::string& path, const std::string& text) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (fd.valid()) write_fully(fd.get(), text.data(), text.size());
}

void write_identity(const Shim& shim) {
  nlohmann::json value{{"pid", ::getpid()}, {"start_time", process_start_time(::getpid())}};
  if (shim.child_pid > 0) {
    value["child_pid"] = shim.child_pid;
    value["child_start_time"] = process_start_time(shim.child_pid);
  }
  // No sync: what a crash of the machine undoes, no process of ours survived either.
  const auto written = write_file_atomically(shim.directory + "/shim.json", value.dump(), 0600);
  if (!written) std::fprintf(stderr, "%s\n", written.error().message.c_str());
}

// Its directory was removed, and not only its file system taken away: nobody will ask.
bool is_forgotten() {
  struct stat lock {};
  return ::fstat(kLockFd, &lock) == 0 && lock.st_nlink == 0;
}

// Tried until it succeeds: without it the exit code is lost, and a full disk may be cleared.
void write_exit(Shim& shim) {
  shim.written_dropped = shim.exit.dropped_bytes;
  const nlohmann::json value{{"exit_code", shim.exit.exit_code},
                             {"signal", shim.exit.signal},
                             {"ended_boottime_ms", shim.ended_boottime_ms},
                             {"dropped_bytes", shim.exit.dropped_bytes},
                             {"error", shim.exit.error}};
  const std::string text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  for (;;) {
    const auto written = write_file_durably(shim.directory + "/exit.json", text, 0600);
    if (written || is_forgotten()) return;
    std::fprintf(stderr, "%s\n", written.error().message.c_str());
    ::usleep(500'000);
  }
}

void end_with_error(Shim& shim, const std::string& message) {
  shim.exited = true;
  shim.exit.exit_code = 127;
  shim.exit.error = message;
  shim.ended_boottime_ms = boottime_ms();
  write_exit(shim);
}

// ---- The child, between fork and exec ----

[[noreturn]] void run_child(const ShimSpec& spec, bool in_cgroup, int out, int err, int report,
                            const UniqueFd& sandbox) {
  if (!in_cgroup) join_cgroup(spec.cgroup, report);
  // All three are above 4: nothing is overwritten before it is moved.
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, 0);
  ::dup2(out, 1);
  ::dup2(err, 2);
  keep_for_program(report, sandbox);
  ::setsid();
  run_program(spec);
}

// Starts the child with its pipes. Empty: it runs. Otherwise what went wrong; nothing runs then.
std::string start_child(Shim& shim) {
  const std::string* paths[] = {&shim.spec.stdout_path, &shim.spec.stderr_path};
  UniqueFd writers[2], report_read, report_write;
  for (int i = 0; i < 2; ++i) {
    shim.outputs[i].file = UniqueFd(::open(paths[i]->c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!shim.outputs[i].file.valid()) return "cannot open " + *paths[i] + ": " + std::strerror(errno);
    struct stat about {};
    if (::fstat(shim.outputs[i].file.get(), &about) == 0)
      shim.outputs[i].size = static_cast<std::uint64_t>(about.st_size);
    if (!make_pipe(shim.outputs[i].pipe, writers[i])) return std::string("cannot make a pipe: ") + std::strerror(errno);
    ::fcntl(shim.outputs[i].pipe.get(), F_SETPIPE_SZ, 256 * 1024);  // fewer turns for a busy writer; as allowed
    ::fcntl(shim.outputs[i].pipe.get(), F_SETFL, O_NONBLOCK);
    // "echo > /dev/stderr" opens it again, as the job's user.
    if (::fchown(writers[i].get(), shim.spec.uid, shim.spec.gid) != 0) return std::string("cannot give a pipe away");
  }
  if (!make_pipe(report_read, report_write)) return std::string("cannot make a pipe: ") + std::strerror(errno);
  const auto sandbox = prepare_sandbox(shim.spec);
  if (!sandbox) return sandbox.error().message;
  const Forked forked = fork_into(shim.spec.cgroup);
  const pid_t pid = forked.pid;
  if (pid < 0) return std::string("cannot fork: ") + std::strerror(errno);
  if (pid == 0)
    run_child(shim.spec, forked.in_cgroup, writers[0].get(), writers[1].get(), report_write.get(), *sandbox);
  report_write.reset();
  const std::string complaint = read_complaint(report_read.get());
  if (!complaint.empty()) {
    ::waitpid(pid, nullptr, 0);
    return complaint;
  }
  shim.child_pid = pid;
  return {};
}

// ---- The loop ----

void append(Shim& shim, Output& output, const char* data, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t put = ::write(output.file.get(), data + done, size - done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) {
      // The disk is full or broken: the job must not hang on its log. Read on, and say how much is missing.
      if (shim.exit.dropped_bytes == 0) std::fprintf(stderr, "output is lost: %s\n", std::strerror(errno));
      shim.exit.dropped_bytes += size - done;
      return;
    }
    done += static_cast<std::size_t>(put);
    output.size += static_cast<std::uint64_t>(put);
  }
}

// Up to the limit into the file; of the rest the end is kept in memory.
void keep(Shim& shim, Output& output, const char* data, std::size_t size) {
  const std::uint64_t limit = shim.spec.log_limit_bytes;
  std::size_t fits = size;
  if (limit != 0)
    fits = output.tail.empty() && output.size < limit ? std::min<std::uint64_t>(size, limit - output.size) : 0;
  append(shim, output, data, fits);
  if (fits == size) return;
  output.tail.append(data + fits, size - fits);
  if (output.tail.size() > 2 * kKeptTailBytes) {
    output.left_out += output.tail.size() - kKeptTailBytes;
    output.tail.erase(0, output.tail.size() - kKeptTailBytes);
  }
  // Who floods its log must not take a core for being read.
  ::poll(nullptr, 0, 1);
}

// The end of what is beyond the limit comes after a line that says how much is missing.
void write_tail(Shim& shim, Output& output) {
  if (output.tail.empty()) return;
  const std::string tail = std::exchange(output.tail, std::string());
  if (output.left_out > 0) {
    char line[160];
    const int size = std::snprintf(
        line, sizeof line, "\n[trainyard: %llu bytes are left out: more than the log's limit of %llu]\n",
        static_cast<unsigned long long>(output.left_out), static_cast<unsigned long long>(shim.spec.log_limit_bytes));
    append(shim, output, line, static_cast<std::size_t>(size));
    output.left_out = 0;
  }
  append(shim, output, tail.data(), tail.size());
}

// Copies one piece. False when there is nothing to read now; closes the pipe at its end.
bool copy_piece(Shim& shim, Output& output) {
  static char buffer[kPieceBytes];
  const ssize_t got = ::read(output.pipe.get(), buffer, sizeof buffer);
  if (got < 0) return errno == EINTR;
  if (got == 0) {
    output.pipe.reset();
    return false;
  }
  keep(shim, output, buffer, static_cast<std::size_t>(got));
  return true;
}

void drain(Shim& shim) {
  for (auto& output : shim.outputs) {
    for (std::size_t most = kDrainBytes; output.pipe.valid() && most > 0; most -= kPieceBytes) {
      if (!copy_piece(shim, output)) break;
    }
  }
}

void reap(Shim& shim) {
  int status = 0;
  for (pid_t pid; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid != shim.child_pid || shim.exited) continue;
    shim.exited = true;
    shim.ended_boottime_ms = boottime_ms();
    if (WIFSIGNALED(status)) {
      shim.exit.signal = WTERMSIG(status);
      shim.exit.exit_code = 128 + shim.exit.signal;
    } else {
      shim.exit.exit_code = WEXITSTATUS(status);
    }
    drain(shim);  // all that the child itself wrote is in the pipes now
    for (auto& output : shim.outputs) write_tail(shim, output);
    write_exit(shim);
  }
}

// "<holding>" of the payload's cgroup "<holding>/job", or of one below it (what enters a container); empty: not known.
std::string holding_of(std::string cgroup) {
  while (!cgroup.empty()) {
    cgroup.resize(std::min(cgroup.rfind('/'), cgroup.size() - 1));
    if (::access((cgroup + "/shim").c_str(), F_OK) == 0) return cgroup;
  }
  return {};
}

// Out of the agent's cgroup, beside the payload's: what kills the agent's or the payload's does not kill the shim.
std::string own_cgroup(const std::string& payload_cgroup) {
  const std::string holding = holding_of(payload_cgroup);
  return holding.empty() ? std::string() : holding + "/shim";
}

std::string sandbox_cgroup(const std::string& payload_cgroup) {
  const std::string holding = holding_of(payload_cgroup);
  return holding.empty() ? std::string() : holding + "/sandbox";
}

// All of the holding's processes, a container's too.
std::string killed_cgroup(const std::string& payload_cgroup) {
  const std::string holding = holding_of(payload_cgroup);
  return holding.empty() ? payload_cgroup : payload_cgroup.substr(0, payload_cgroup.find('/', holding.size() + 1));
}

// How long to wait until the lease may be over; -1: for ever. Ends the payload when it is over: repeated each second,
// as what was forked meanwhile may have escaped a kill without cgroups. A renewal only moves the end away, so the file
// is read when the end it told last is reached, not at every piece of output.
int lease_timeout_ms(Shim& shim) {
  constexpr std::int64_t kAgainMs = 1'000, kLongestMs = 60'000;
  if (shim.spec.lease_ms == kForever) return -1;
  const std::int64_t now_ms = boottime_ms();
  if (now_ms >= shim.lease_check_ms) {
    const auto renewed_ms = read_lease_file(shim.spec.lease_path);
    const std::int64_t left_ms = renewed_ms ? *renewed_ms + shim.spec.lease_ms - now_ms : kLongestMs;
    if (left_ms <= 0) {
      // With what keeps its sandbox: nothing of the holding but the shims is left.
      for (const std::string& cgroup : {killed_cgroup(shim.spec.cgroup), sandbox_cgroup(shim.spec.cgroup)}) {
        if (!cgroup.empty() && Cgroup(cgroup).exists()) Cgroup(cgroup).kill();
      }
      if (!shim.exited) ::kill(shim.child_pid, SIGKILL);
    }
    shim.lease_check_ms = now_ms + (left_ms <= 0 ? kAgainMs : std::min(left_ms, kLongestMs));
  }
  return static_cast<int>(shim.lease_check_ms - now_ms);
}

void supervise(Shim& shim, int signals) {
  bool told_to_end = false;
  while (!shim.exited || ((shim.outputs[0].pipe.valid() || shim.outputs[1].pipe.valid()) && !told_to_end)) {
    // poll() skips descriptors of -1: pipes at their end.
    pollfd waiting[3] = {
        {signals, POLLIN, 0}, {shim.outputs[0].pipe.get(), POLLIN, 0}, {shim.outputs[1].pipe.get(), POLLIN, 0}};
    if (::poll(waiting, 3, lease_timeout_ms(shim)) < 0) continue;
    for (int i = 0; i < 2; ++i) {
      if (waiting[i + 1].revents != 0) copy_piece(shim, shim.outputs[i]);
    }
    if (waiting[0].revents == 0) continue;
    signalfd_siginfo info;
    while (::read(signals, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      // Before the child's end a SIGTERM (of a shutdown, say) changes nothing: who wants the payload ended kills its
      // cgroup.
      if (info.ssi_signo == SIGTERM && shim.exited) told_to_end = true;
    }
    reap(shim);
  }
  drain(shim);
  for (auto& output : shim.outputs) write_tail(shim, output);
  if (shim.exit.dropped_bytes != shim.written_dropped) write_exit(shim);
}

int block_signals() {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGTSTP})
    sigaddset(&set, number);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  return ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int run(const std::string& directory, ShimSpec spec) {
  ::setsid();
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  const int signals = block_signals();
  write_text("/proc/self/oom_score_adj", "-900");  // where allowed
  Shim shim;
  shim.directory = directory;
  shim.spec = std::move(spec);
  write_identity(shim);
  write_fully(kAnswerFd, "ready\n", 6);
  ::close(kAnswerFd);
  if (const std::string complaint = start_child(shim); !complaint.empty()) {
    end_with_error(shim, complaint);
    return 0;
  }
  write_identity(shim);
  supervise(shim, signals);
  return 0;
}

// Nobody's child: the one who started us reaps the parent at once, we go to the node's PID 1.
int begin(const std::string& directory) {
  ::fcntl(kLockFd, F_SETFD, FD_CLOEXEC);
  ::fcntl(kAnswerFd, F_SETFD, FD_CLOEXEC);
  auto spec = read_shim_spec(directory);
  if (spec) {
    if (Status added = add_secrets(*spec); !added) spec = added.error();
  }
  if (!spec) {
    std::fprintf(stderr, "%s\n", spec.error().message.c_str());
    write_fully(kAnswerFd, spec.error().message.data(), spec.error().message.size());
    return 1;
  }
  // Out of the agent's cgroup, beside the payload's: what kills the agent's or the payload's does not kill the shim.
  const std::string cgroup = own_cgroup(spec->cgroup);
  const Forked forked = fork_into(cgroup);
  if (forked.pid < 0) return 1;
  if (forked.pid > 0) ::_exit(0);
  if (!forked.in_cgroup && !cgroup.empty()) write_text(cgroup + "/cgroup.procs", "0");
  return run(directory, std::move(spec).value());
}

}  // namespace
}  // namespace trainyard::agent

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "sandbox") == 0 && ::fcntl(4, F_GETFD) >= 0) {
    return trainyard::agent::run_sandbox();
  }
  if (argc != 2 || ::fcntl(3, F_GETFD) < 0 || ::fcntl(4, F_GETFD) < 0) {
    std::fprintf(stderr,
                 "trainyard-shim is started by trainyard-agent, once per process of a job; it has no use by hand.\n");
    return 2;
  }
  return trainyard::agent::begin(argv[1]);
}
