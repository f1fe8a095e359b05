#include "cli/exec_session.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

namespace trainyard::cli {
namespace {

constexpr std::size_t kPieceBytes = 64 * 1024;

// Raw while it lives; put back also when a signal ends the program.
class RawTerminal {
 public:
  explicit RawTerminal(bool wanted) {
    if (!wanted || ::tcgetattr(STDIN_FILENO, &s_before) != 0) return;
    termios raw = s_before;
    ::cfmakeraw(&raw);
    s_raw = ::tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    for (const int number : {SIGTERM, SIGHUP, SIGINT, SIGQUIT}) ::signal(number, put_back_and_end);
  }
  ~RawTerminal() {
    put_back();
    for (const int number : {SIGTERM, SIGHUP, SIGINT, SIGQUIT}) ::signal(number, SIG_DFL);
  }

 private:
  static void put_back() {
    if (std::exchange(s_raw, false)) ::tcsetattr(STDIN_FILENO, TCSANOW, &s_before);
  }
  static void put_back_and_end(int number) {
    put_back();
    ::signal(number, SIG_DFL);
    ::raise(number);
  }
  static inline termios s_before{};
  static inline bool s_raw = false;
};

v1::TerminalSize size_of_terminal() {
  winsize size{};
  ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
  v1::TerminalSize out;
  out.set_rows(size.ws_row);
  out.set_columns(size.ws_col);
  return out;
}

// Standard input and the terminal's size to the stream, until stop(). gRPC allows one writer beside one reader.
class InputThread {
 public:
  InputThread(ExecStream& stream, bool terminal) : x_stream(stream), x_stop(::eventfd(0, EFD_CLOEXEC)) {
    s_resized = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (terminal) ::signal(SIGWINCH, on_resize);
    x_thread = std::thread([this] { run(); });
  }
  ~InputThread() {
    ::signal(SIGWINCH, SIG_DFL);
    ::eventfd_write(x_stop, 1);
    x_thread.join();
    ::close(x_stop);
    ::close(s_resized.exchange(-1));
  }

 private:
  static void on_resize(int) {
    const int error = errno;
    ::eventfd_write(s_resized, 1);
    errno = error;
  }

  void run() {
    bool open = true;
    std::string piece(kPieceBytes, '\0');
    for (;;) {
      pollfd waiting[] = {{x_stop, POLLIN, 0}, {s_resized, POLLIN, 0}, {open ? STDIN_FILENO : -1, POLLIN, 0}};
      if (::poll(waiting, 3, -1) < 0) continue;
      if (waiting[0].revents != 0) return;
      v1::ExecRequest request;
      if (waiting[1].revents != 0) {
        eventfd_t times = 0;
        ::eventfd_read(s_resized, &times);
        *request.mutable_resize() = size_of_terminal();
        if (!x_stream.Write(request)) return;
      }
      if (waiting[2].revents == 0) continue;
      const ssize_t got = ::read(STDIN_FILENO, piece.data(), piece.size());
      if (got < 0 && errno == EINTR) continue;
      open = got > 0;
      if (open) {
        request.set_data(piece.data(), static_cast<std::size_t>(got));
      } else {
        request.set_finish(true);
      }
      if (!x_stream.Write(request)) return;
    }
  }

  ExecStream& x_stream;
  int x_stop;
  static inline std::atomic<int> s_resized = -1;
  std::thread x_thread;
};

Status write_all(int fd, const std::string& data) {
  std::size_t done = 0;
  while (done < data.size()) {
    const ssize_t wrote = ::write(fd, data.data() + done, data.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0 && errno == EAGAIN) {
      pollfd writable{fd, POLLOUT, 0};
      ::poll(&writable, 1, -1);
      continue;
    }
    if (wrote < 0) return Error{Code::internal, std::string("cannot write the output: ") + std::strerror(errno)};
    done += static_cast<std::size_t>(wrote);
  }
  return {};
}

}  // namespace

Result<int> run_command(Client& client, const OpenExec& open, v1::ExecStart start) {
  const bool terminal = ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
  if (terminal) {
    const char* type = std::getenv("TERM");
    start.mutable_terminal()->set_type(type == nullptr ? "" : type);
    *start.mutable_terminal()->mutable_size() = size_of_terminal();
  }
  grpc::ClientContext context;
  const auto stream = open(context);
  v1::ExecRequest first;
  *first.mutable_start() = std::move(start);
  stream->Write(first);
  v1::ExecReply reply;
  std::optional<int> exit_code;
  if (stream->Read(&reply)) {  // started
    const RawTerminal raw(terminal);
    const InputThread input(*stream, terminal);
    while (stream->Read(&reply)) {
      if (reply.has_end()) exit_code = reply.end().exit_code();
      const bool is_error = reply.part_case() == v1::ExecReply::kErr;
      const auto written = write_all(is_error ? STDERR_FILENO : STDOUT_FILENO, is_error ? reply.err() : reply.out());
      if (written) continue;
      context.TryCancel();
      return written.error();
    }
  }
  const grpc::Status status = stream->Finish();
  if (exit_code) return *exit_code;
  return client.error_of(status);
}

}  // namespace trainyard::cli
