#include "agent/volumes/helper.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <deque>
#include <utility>

#include "agent/exec/files.h"

extern char** environ;

namespace trainyard::agent {
namespace {

using boost::asio::posix::stream_descriptor;

constexpr std::size_t kPieceBytes = 256 * 1024;
constexpr std::size_t kMostErrorBytes = 64 * 1024;
constexpr std::size_t kMostOutputBytes = 1024 * 1024;

struct Pipe {
  UniqueFd read_end, write_end;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return system_error("cannot make a pipe", errno);
  Pipe made;
  made.read_end = UniqueFd(ends[0]);
  made.write_end = UniqueFd(ends[1]);
  // The child's ends must lie above 0..2, where they are moved to.
  for (UniqueFd* end : {&made.read_end, &made.write_end}) {
    if (end->get() <= 2) *end = UniqueFd(::fcntl(end->get(), F_DUPFD_CLOEXEC, 3));
  }
  return made;
}

Result<int> spawn(const std::vector<std::string>& words, int in, int out, int err) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  posix_spawn_file_actions_adddup2(&actions, err, 2);
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  std::vector<char*> argv;
  for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return system_error("cannot start " + words.front(), error);
  return static_cast<int>(pid);
}

}  // namespace

// Alive while the child is: the wait on its pidfd holds it, so that also an abandoned child is reaped in the end.
struct HelperProcess::Impl : std::enable_shared_from_this<HelperProcess::Impl> {
  struct Piece {
    std::string data;
    std::function<void(bool)> written;
  };

  Impl(boost::asio::io_context& loop, Handlers functions)
      : io(loop), process(loop), input(loop), output(loop), error(loop), handlers(std::move(functions)) {}

  Status start(const std::vector<std::string>& argv) {
    auto in = make_pipe();
    auto out = make_pipe();
    auto err = make_pipe();
    if (!in || !out || !err) return (!in ? in : !out ? out : err).error();
    const auto spawned = spawn(argv, in->read_end.get(), out->write_end.get(), err->write_end.get());
    if (!spawned) return spawned.error();
    pid = *spawned;
    const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
    if (pidfd < 0) {
      const Error failed = system_error("cannot watch a helper", errno);
      ::kill(-pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
      return failed;
    }
    process.assign(pidfd);
    input.assign(in->write_end.release());
    output.assign(out->read_end.release());
    error.assign(err->read_end.release());
    input.native_non_blocking(true);
    output.native_non_blocking(true);
    error.native_non_blocking(true);
    wait_end();
    read_error();
    return {};
  }

  void wait_end() {
    process.async_wait(stream_descriptor::wait_read, [self = shared_from_this()](boost::system::error_code failed) {
      if (failed) return;
      int status = 0;
      const pid_t reaped = ::waitpid(self->pid, &status, WNOHANG);
      if (reaped == 0) return self->wait_end();  // reported too early
      if (reaped == self->pid) {
        self->exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      } else {
        self->exit_code = 255;  // somebody else reaped it: its end is known, its code is not
      }
      self->ended = true;
      self->fail_input();
      self->drain_error();
      if (const auto call = std::exchange(self->handlers.on_exit, nullptr)) call(self->exit_code, self->error_text);
      self->maybe_over();
    });
  }

  void maybe_over() {
    if (!ended || !all_delivered) return;
    if (const auto call = std::exchange(handlers.on_end, nullptr)) call(exit_code, error_text);
  }

  // ---- stderr: always read, so that the child never waits for us ----
  void read_error() {
    error.async_read_some(boost::asio::buffer(error_piece, sizeof error_piece),
                          [self = shared_from_this()](boost::system::error_code failed, std::size_t size) {
                            if (failed) return;
                            self->keep_error(size);
                            self->read_error();
                          });
  }

  void keep_error(std::size_t size) {
    error_text.append(error_piece, std::min(size, kMostErrorBytes - error_text.size()));
  }

  void drain_error() {
    if (!error.is_open()) return;
    const int fd = ::dup(error.native_handle());
    boost::system::error_code ignored;
    error.close(ignored);
    const UniqueFd rest(fd);
    for (ssize_t got; rest.valid() && (got = ::read(fd, error_piece, sizeof error_piece)) > 0;) {
      keep_error(static_cast<std::size_t>(got));
    }
  }

  // ---- stdout: read when asked ----
  void read_more() {
    wanted = true;
    if (output_ended) return boost::asio::post(io, [self = shared_from_this()] { self->deliver({}); });
    output_piece.resize(kPieceBytes);
    output.async_read_some(boost::asio::buffer(output_piece),
                           [self = shared_from_this()](boost::system::error_code failed, std::size_t size) {
                             if (failed) size = 0;
                             if (size == 0) self->output_ended = true;
                             self->deliver(std::string(self->output_piece.data(), size));
                           });
  }

  void deliver(std::string chunk) {
    if (!wanted) return;
    wanted = false;
    if (chunk.empty()) all_delivered = true;
    // A copy: the call may drop its holder's last reference, and the handlers with it.
    if (const auto call = handlers.on_output) call(std::move(chunk));
    maybe_over();
  }

  // ---- stdin ----
  void write(std::string data, std::function<void(bool)> written) {
    if (ended || killed || !input.is_open() || input_closing) {
      if (written) {
        boost::asio::post(io, [self = shared_from_this(), written = std::move(written)] {
          if (!self->killed) written(false);
        });
      }
      return;
    }
    queue.push_back({std::move(data), std::move(written)});
    if (queue.size() == 1) write_next();
  }

  void write_next() {
    boost::asio::async_write(input, boost::asio::buffer(queue.front().data),
                             [self = shared_from_this()](boost::system::error_code failed, std::size_t) {
                               if (self->queue.empty()) return;
                               if (failed) return self->fail_input();
                               auto written = std::move(self->queue.front().written);
                               self->queue.pop_front();
                               if (!self->queue.empty()) {
                                 self->write_next();
                               } else if (self->input_closing) {
                                 self->close_now(self->input);
                               }
                               if (written && !self->killed) written(true);
                             });
  }

  void fail_input() {
    close_now(input);
    auto failed = std::exchange(queue, {});
    for (auto& each : failed) {
      if (each.written && !killed) each.written(false);
    }
  }

  void close_input() {
    input_closing = true;
    if (queue.empty()) close_now(input);
  }

  static void close_now(stream_descriptor& descriptor) {
    boost::system::error_code ignored;
    descriptor.close(ignored);
  }

  void kill() {
    killed = true;
    if (!ended && pid > 0) ::kill(-pid, SIGKILL);
    close_now(input);
    close_now(output);
    close_now(error);
    queue.clear();
    handlers = {};
  }

  boost::asio::io_context& io;
  stream_descriptor process, input, output, error;
  Handlers handlers;
  std::deque<Piece> queue;
  std::string error_text, output_piece;
  char error_piece[4096];
  int pid = 0, exit_code = 0;
  bool wanted = false, output_ended = false, all_delivered = false;
  bool input_closing = false, ended = false, killed = false;
};

HelperProcess::HelperProcess(std::shared_ptr<Impl> impl) : x_impl(std::move(impl)) {}

Result<std::shared_ptr<HelperProcess>> HelperProcess::start(boost::asio::io_context& io, std::vector<std::string> argv,
                                                            Handlers handlers) {
  if (argv.empty()) return Error{Code::invalid_argument, "no helper program"};
  // A helper that ends while we write to it is an error of that write, not the end of the agent.
  ::signal(SIGPIPE, SIG_IGN);
  auto impl = std::make_shared<Impl>(io, std::move(handlers));
  if (auto started = impl->start(argv); !started) return started.error();
  return std::shared_ptr<HelperProcess>(new HelperProcess(std::move(impl)));
}

HelperProcess::~HelperProcess() {
  x_impl->kill();
}
void HelperProcess::read_more() {
  x_impl->read_more();
}
void HelperProcess::write(std::string data, std::function<void(bool)> written) {
  x_impl->write(std::move(data), std::move(written));
}
void HelperProcess::close_input() {
  x_impl->close_input();
}
void HelperProcess::kill() {
  x_impl->kill();
}
int HelperProcess::pid() const {
  return x_impl->pid;
}

namespace {

// One run with a deadline: ends when the child has ended and its output is read, or at the deadline.
struct HelperRun : std::enable_shared_from_this<HelperRun> {
  HelperRun(boost::asio::io_context& io, std::function<void(HelperResult)> callback)
      : timer(io), done(std::move(callback)) {}

  Status start(boost::asio::io_context& io, std::vector<std::string> argv, std::string input, DurationMs deadline_ms) {
    const auto self = shared_from_this();
    HelperProcess::Handlers handlers;
    handlers.on_output = [self](const std::string& chunk) { self->take_output(chunk); };
    handlers.on_end = [self](int exit_code, std::string error) {
      self->result.exit_code = exit_code;
      self->result.error = std::move(error);
      self->finish();
    };
    auto started = HelperProcess::start(io, std::move(argv), std::move(handlers));
    if (!started) return started.error();
    process = std::move(started).value();
    process->read_more();
    if (!input.empty()) process->write(std::move(input), nullptr);
    process->close_input();
    timer.expires_after(std::chrono::milliseconds(deadline_ms));
    timer.async_wait([self, deadline_ms](boost::system::error_code cancelled) {
      if (cancelled) return;
      self->result.exit_code = -1;
      self->result.error += "no end after " + std::to_string(deadline_ms) + " ms: killed";
      self->finish();
    });
    return {};
  }

  void take_output(const std::string& chunk) {
    if (chunk.empty()) return;
    result.output.append(chunk, 0, kMostOutputBytes - result.output.size());
    process->read_more();
  }

  void finish() {
    if (!done) return;
    timer.cancel();
    process->kill();  // nothing, if it has ended; lets go of us
    std::exchange(done, nullptr)(std::move(result));
  }

  boost::asio::steady_timer timer;
  std::function<void(HelperResult)> done;
  std::shared_ptr<HelperProcess> process;
  HelperResult result;
};

}  // namespace

void run_helper(boost::asio::io_context& io, std::vector<std::string> argv, std::string input, DurationMs deadline_ms,
                std::function<void(HelperResult)> done) {
  const auto run = std::make_shared<HelperRun>(io, done);
  if (auto started = run->start(io, std::move(argv), std::move(input), deadline_ms); !started) {
    boost::asio::post(io, [done = std::move(done), message = started.error().message] { done({127, "", message}); });
  }
}

}  // namespace trainyard::agent
