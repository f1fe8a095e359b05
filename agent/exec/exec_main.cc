// trainyard-exec: the supervisor of one command that a user runs on this node (exec_frames.h: what it and the agent say
// to each other). It makes sure of the end: when the command ends, when nobody listens any more, and when the agent is
// gone, everything in the command's cgroup is killed and the cgroup removed. It is itself outside of that cgroup. One
// thread, one loop; keeps at most a few pieces in either direction.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "agent/exec/cgroup.h"
#include "agent/exec/child.h"
#include "agent/exec/exec_connect.h"
#include "agent/exec/exec_frames.h"
#include "agent/exec/files.h"
#include "agent/exec/fork_into.h"

namespace trainyard::agent {
namespace {

constexpr std::size_t kPieceBytes = 64 * 1024;
constexpr std::size_t kMostPendingInput = 256 * 1024;  // then no more is taken from the agent
constexpr std::size_t kMostDrainBytes =
    8 * 1024 * 1024;  // more than the pipes hold: the end comes although others write
constexpr int kKillPatienceMs = 10'000;
constexpr int kAgentGone = 3;

struct Supervisor {
  ExecSpec spec;
  FrameReader frames;
  UniqueFd input;       // to the command: a pipe, or the terminal
  UniqueFd outputs[2];  // from it; of a terminal only the first
  std::string for_command, for_agent;
  bool finish = false;  // the command's input ends behind for_command
  int child = 0;
  bool exited = false;
  int exit_code = 0;
};

// Everything of the command is gone when this returns, unless the kernel cannot kill it.
void kill_all(const Supervisor& supervisor) {
  if (supervisor.child > 0 && !supervisor.exited) ::kill(supervisor.child, SIGKILL);
  if (supervisor.spec.process.cgroup.empty()) return;
  const Cgroup cgroup(supervisor.spec.process.cgroup);
  for (int waited_ms = 0; cgroup.exists() && waited_ms < kKillPatienceMs; waited_ms += 5) {
    if (cgroup.populated()) {
      cgroup.kill();
    } else if (cgroup.remove()) {
      return;
    }
    ::usleep(5'000);
    ::waitpid(-1, nullptr, WNOHANG);  // a zombie keeps its cgroup
  }
}

[[noreturn]] void leave(const Supervisor& supervisor) {
  kill_all(supervisor);
  ::_exit(kAgentGone);
}

// ---- Start ----

struct Ends {
  UniqueFd in, out, err;  // the command's
};

void set_size(int terminal, unsigned rows, unsigned columns) {
  winsize size{};
  size.ws_row = static_cast<unsigned short>(rows);
  size.ws_col = static_cast<unsigned short>(columns);
  ::ioctl(terminal, TIOCSWINSZ, &size);
}

bool open_terminal(Supervisor& supervisor, Ends& ends) {
  UniqueFd master(above_four(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)));
  if (!master.valid() || ::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0) return false;
  ends.in.reset(above_four(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)));
  if (!ends.in.valid()) return false;
  set_size(master.get(), supervisor.spec.rows, supervisor.spec.columns);
  supervisor.input.reset(::fcntl(master.get(), F_DUPFD_CLOEXEC, 5));
  supervisor.outputs[0] = std::move(master);
  return true;
}

bool open_ends(Supervisor& supervisor, Ends& ends) {
  const bool opened = supervisor.spec.terminal
                          ? open_terminal(supervisor, ends)
                          : make_pipe(ends.in, supervisor.input) && make_pipe(supervisor.outputs[0], ends.out) &&
                                make_pipe(supervisor.outputs[1], ends.err);
  const ShimSpec& process = supervisor.spec.process;
  for (const UniqueFd* fd : {&ends.in, &ends.out, &ends.err}) {
    if (fd->valid() && ::fchown(fd->get(), process.uid, process.gid) != 0) return false;
  }
  for (const UniqueFd* fd : {&supervisor.input, &supervisor.outputs[0], &supervisor.outputs[1]}) {
    if (fd->valid()) ::fcntl(fd->get(), F_SETFL, ::fcntl(fd->get(), F_GETFL) | O_NONBLOCK);
  }
  return opened;
}

[[noreturn]] void run_child(const Supervisor& supervisor, const Ends& ends, bool in_cgroup, int report,
                            const UniqueFd& sandbox, pid_t parent) {
  // Where it is not born in its cgroup, it dies with us until it is there.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // A parent outside of the pid namespace has no number.
  if (::getppid() != (sandbox.valid() ? 0 : parent)) ::_exit(127);
  if (!in_cgroup) join_cgroup(supervisor.spec.process.cgroup, report);
  ::setsid();
  if (supervisor.spec.terminal) ::ioctl(ends.in.get(), TIOCSCTTY, 0);
  ::dup2(ends.in.get(), 0);
  ::dup2(ends.out.valid() ? ends.out.get() : ends.in.get(), 1);
  ::dup2(ends.err.valid() ? ends.err.get() : ends.in.get(), 2);
  keep_for_program(report, sandbox);
  run_program(supervisor.spec.process);
}

// Empty: it runs. Otherwise why not; nothing runs then.
std::string start(Supervisor& supervisor) {
  Ends ends;
  UniqueFd report_read, report_write;
  if (!open_ends(supervisor, ends) || !make_pipe(report_read, report_write)) {
    return std::string("cannot make a terminal or pipe: ") + std::strerror(errno);
  }
  const auto sandbox = prepare_sandbox(supervisor.spec.process);
  if (!sandbox) return sandbox.error().message;
  const pid_t parent = ::getpid();
  const Forked forked = fork_into(supervisor.spec.process.cgroup);
  if (forked.pid < 0) return std::string("cannot fork: ") + std::strerror(errno);
  if (forked.pid == 0) run_child(supervisor, ends, forked.in_cgroup, report_write.get(), *sandbox, parent);
  supervisor.child = forked.pid;
  ends = {};
  report_write.reset();
  return read_complaint(report_read.get());
}

// ---- The loop ----

void take_frames(Supervisor& supervisor) {
  while (auto found = supervisor.frames.next()) {
    switch (found->kind) {
      case Frame::kInput:
        if (supervisor.input.valid() && !supervisor.finish) supervisor.for_command += found->data;
        break;
      case Frame::kFinish:
        supervisor.finish = true;
        break;
      case Frame::kSize: {
        unsigned rows = 0, columns = 0;
        if (supervisor.spec.terminal && std::sscanf(found->data.c_str(), "%u %u", &rows, &columns) == 2) {
          set_size(supervisor.outputs[0].get(), rows, columns);
        }
        break;
      }
      default:
        leave(supervisor);
    }
  }
  if (supervisor.frames.broken()) leave(supervisor);
}

void read_agent(Supervisor& supervisor, short events) {
  if (events == 0) return;
  // With the agent's end closed nobody is there any more, whatever else it may have said.
  if ((events & POLLHUP) != 0) leave(supervisor);
  char piece[kPieceBytes];
  const ssize_t got = ::read(STDIN_FILENO, piece, sizeof piece);
  if (got == 0) leave(supervisor);
  if (got < 0) return;
  supervisor.frames.feed({piece, static_cast<std::size_t>(got)});
  take_frames(supervisor);
}

void write_command(Supervisor& supervisor) {
  if (!supervisor.input.valid()) return;
  if (!supervisor.for_command.empty()) {
    const ssize_t put = ::write(supervisor.input.get(), supervisor.for_command.data(), supervisor.for_command.size());
    if (put > 0) supervisor.for_command.erase(0, static_cast<std::size_t>(put));
    if (put < 0 && errno != EAGAIN && errno != EINTR) {
      supervisor.for_command.clear();  // it reads no more: what comes is dropped
      supervisor.input.reset();
    }
  }
  if (!supervisor.finish || !supervisor.for_command.empty() || !supervisor.input.valid()) return;
  if (supervisor.spec.terminal) {
    constexpr char kEndOfInput = 4;  // Ctrl-D
    if (::write(supervisor.input.get(), &kEndOfInput, 1) < 0 && errno == EAGAIN) return;
  }
  supervisor.input.reset();
}

// False: nothing to read now.
bool read_output(Supervisor& supervisor, int index) {
  UniqueFd& output = supervisor.outputs[index];
  if (!output.valid()) return false;
  char piece[kPieceBytes];
  const ssize_t got = ::read(output.get(), piece, sizeof piece);
  if (got > 0) {
    supervisor.for_agent += frame(index == 0 ? Frame::kOut : Frame::kErr, {piece, static_cast<std::size_t>(got)});
    return true;
  }
  if (got < 0 && errno == EINTR) return true;
  if (got == 0 || errno != EAGAIN) output.reset();  // a terminal that nobody has open says EIO
  return false;
}

void write_agent(Supervisor& supervisor) {
  if (supervisor.for_agent.empty()) return;
  const ssize_t put = ::write(STDOUT_FILENO, supervisor.for_agent.data(), supervisor.for_agent.size());
  if (put > 0) supervisor.for_agent.erase(0, static_cast<std::size_t>(put));
  if (put < 0 && errno != EAGAIN && errno != EINTR) leave(supervisor);
}

void reap(Supervisor& supervisor, int signals) {
  signalfd_siginfo info;
  while (::read(signals, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
  }
  int status = 0;
  for (pid_t pid; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid != supervisor.child) continue;
    supervisor.exited = true;
    supervisor.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
}

// poll() skips descriptors of -1: what is not waited for.
void supervise(Supervisor& supervisor, int signals) {
  while (!supervisor.exited || !supervisor.for_agent.empty()) {
    const bool may_read = supervisor.for_agent.empty() && !supervisor.exited;
    const bool may_write = supervisor.input.valid() && (!supervisor.for_command.empty() || supervisor.finish);
    pollfd waiting[] = {
        {STDIN_FILENO, static_cast<short>(supervisor.for_command.size() < kMostPendingInput ? POLLIN : 0), 0},
        {may_write ? supervisor.input.get() : -1, POLLOUT, 0},
        {may_read ? supervisor.outputs[0].get() : -1, POLLIN, 0},
        {may_read ? supervisor.outputs[1].get() : -1, POLLIN, 0},
        {supervisor.for_agent.empty() ? -1 : STDOUT_FILENO, POLLOUT, 0},
        {supervisor.exited ? -1 : signals, POLLIN, 0}};
    if (::poll(waiting, 6, -1) < 0) continue;
    read_agent(supervisor, waiting[0].revents);
    if (waiting[1].revents != 0) write_command(supervisor);
    for (int i = 0; i < 2; ++i) {
      if (waiting[2 + i].revents != 0) read_output(supervisor, i);
    }
    if (waiting[4].revents != 0) write_agent(supervisor);
    if (waiting[5].revents == 0) continue;
    reap(supervisor, signals);
    if (!supervisor.exited) continue;
    // The command has ended, and with it all that it left running: then nobody writes any more.
    kill_all(supervisor);
    for (int i = 0; i < 2; ++i) {
      while (supervisor.for_agent.size() < kMostDrainBytes && read_output(supervisor, i)) {
      }
    }
    supervisor.for_agent += frame(Frame::kEnded, std::to_string(supervisor.exit_code));
  }
}

// ---- The program ----

// The order comes first and whole; blocks until it is there.
bool read_order(Supervisor& supervisor, std::string& complaint) {
  for (;;) {
    if (const auto found = supervisor.frames.next()) {
      auto spec = found->kind == Frame::kOrder ? exec_spec_from(found->data)
                                               : Result<ExecSpec>(Error{Code::invalid_argument, "no order came first"});
      if (spec) {
        supervisor.spec = std::move(spec).value();
      } else {
        complaint = spec.error().message;
      }
      return true;
    }
    char piece[kPieceBytes];
    const ssize_t got = ::read(STDIN_FILENO, piece, sizeof piece);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 || supervisor.frames.broken()) return false;
    supervisor.frames.feed({piece, static_cast<std::size_t>(got)});
  }
}

int block_signals() {
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  // Asked to end, it waits for the agent's word all the same: that is what ends the command, too.
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT}) sigaddset(&set, number);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  return ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int run() {
  Supervisor supervisor;
  const UniqueFd signals(above_four(block_signals()));
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  std::string complaint;
  if (!read_order(supervisor, complaint)) return kAgentGone;
  if (complaint.empty()) complaint = start(supervisor);
  if (!complaint.empty()) {
    kill_all(supervisor);
    const std::string failed = frame(Frame::kFailed, complaint);
    return write_fully(STDOUT_FILENO, failed.data(), failed.size()) ? 0 : kAgentGone;
  }
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO}) ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  supervisor.for_agent = frame(Frame::kBegan);
  take_frames(supervisor);  // what came with the order
  supervise(supervisor, signals.get());
  return 0;
}

}  // namespace
}  // namespace trainyard::agent

int main(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "connect") == 0) return trainyard::agent::relay_connection(argv[2], argv[3]);
  if (argc != 1) {
    std::fprintf(stderr, "trainyard-exec is started by trainyard-agent, once per command; it has no use by hand.\n");
    return 2;
  }
  return trainyard::agent::run();
}
