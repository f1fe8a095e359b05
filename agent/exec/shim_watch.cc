#include <fcntl.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <utility>

#include "agent/exec/files.h"
#include "agent/exec/shim.h"

namespace trainyard::agent {
namespace {
using boost::asio::posix::stream_descriptor;
}

// exit.json appears by rename: inotify tells. A shim that dies without one is told by its pidfd. Where inotify has no
// instance left, a short timer looks instead.
struct ShimWatch::Impl : std::enable_shared_from_this<ShimWatch::Impl> {
  Impl(boost::asio::io_context& loop, std::string path, std::function<void(ShimObservation)> function)
      : io(loop), files(loop), process(loop), timer(loop), directory(std::move(path)), callback(std::move(function)) {}

  void start() {
    UniqueFd notify(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (notify.valid() && ::inotify_add_watch(notify.get(), directory.c_str(), IN_MOVED_TO) >= 0) {
      files.assign(notify.release());
    }
    look();
  }

  void look() {
    if (!callback) return;
    if (!process.is_open()) {
      if (const auto fd = open_shim_pidfd(directory)) process.assign(*fd);
      if (process.is_open()) wait_process();
    }
    const ShimObservation seen = observe_shim(directory);
    if (seen.state == ShimState::exited || seen.state == ShimState::lost) {
      boost::asio::post(io, [self = shared_from_this(), seen] {
        if (auto call = std::exchange(self->callback, nullptr)) call(seen);
      });
      close();
      return;
    }
    if (files.is_open()) wait_files();
    // A dead shim whose lock is still held: its child has it until it closes its descriptors, an instant.
    if (!files.is_open() || shim_ended) look_later();
  }

  void wait_files() {
    if (waiting_files) return;
    waiting_files = true;
    files.async_wait(stream_descriptor::wait_read, [self = shared_from_this()](boost::system::error_code error) {
      self->waiting_files = false;
      if (error) return;
      char events[4096];
      while (::read(self->files.native_handle(), events, sizeof events) > 0) {
      }
      self->look();
    });
  }

  void wait_process() {
    process.async_wait(stream_descriptor::wait_read, [self = shared_from_this()](boost::system::error_code error) {
      if (error) return;
      if (!is_readable(self->process.native_handle())) return self->wait_process();
      self->shim_ended = true;
      self->look();
    });
  }

  void look_later() {
    timer.expires_after(std::chrono::milliseconds(10));
    timer.async_wait([self = shared_from_this()](boost::system::error_code error) {
      if (!error) self->look();
    });
  }

  void close() {
    boost::system::error_code ignored;
    files.close(ignored);
    process.close(ignored);
    timer.cancel();
  }

  boost::asio::io_context& io;
  stream_descriptor files, process;
  boost::asio::steady_timer timer;
  std::string directory;
  std::function<void(ShimObservation)> callback;
  bool waiting_files = false, shim_ended = false;
};

ShimWatch::ShimWatch(boost::asio::io_context& io, std::string directory, std::function<void(ShimObservation)> callback)
    : x_impl(std::make_shared<Impl>(io, std::move(directory), std::move(callback))) {
  x_impl->start();
}

ShimWatch::~ShimWatch() {
  x_impl->callback = nullptr;
  x_impl->close();
}

namespace {

// SIGTERM after the patience, SIGKILL a second later; `done` when the pidfd speaks.
struct ShimEnd : std::enable_shared_from_this<ShimEnd> {
  ShimEnd(boost::asio::io_context& io, int fd, std::function<void(bool)> callback)
      : process(io, fd), timer(io), done(std::move(callback)) {}

  void start(DurationMs patience_ms) {
    wait();
    arm(patience_ms, SIGTERM);
  }

  void wait() {
    process.async_wait(stream_descriptor::wait_read, [self = shared_from_this()](boost::system::error_code error) {
      if (error) return;
      if (!is_readable(self->process.native_handle())) return self->wait();
      self->timer.cancel();
      std::exchange(self->done, nullptr)(self->by_itself);
    });
  }

  void arm(DurationMs after_ms, int signal) {
    timer.expires_after(std::chrono::milliseconds(after_ms));
    timer.async_wait([self = shared_from_this(), signal](boost::system::error_code error) {
      if (error || !self->done) return;
      self->by_itself = false;
      ::syscall(SYS_pidfd_send_signal, self->process.native_handle(), signal, nullptr, 0);
      if (signal == SIGTERM) self->arm(1000, SIGKILL);
    });
  }

  stream_descriptor process;
  boost::asio::steady_timer timer;
  std::function<void(bool)> done;
  bool by_itself = true;
};

}  // namespace

void end_shim(boost::asio::io_context& io, const std::string& directory, DurationMs patience_ms,
              std::function<void(bool)> done) {
  const auto fd = open_shim_pidfd(directory);
  if (!fd) {
    boost::asio::post(io, [done = std::move(done)] { done(true); });
    return;
  }
  std::make_shared<ShimEnd>(io, *fd, std::move(done))->start(patience_ms);
}

}  // namespace trainyard::agent
