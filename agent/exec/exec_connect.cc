#include "agent/exec/exec_connect.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>

#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

constexpr std::size_t kPieceBytes = 64 * 1024;

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};

UniqueFd connect_to(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &list); error != 0) {
    std::fprintf(stderr, "cannot connect to %s:%s: %s\n", host.c_str(), port.c_str(), ::gai_strerror(error));
    return UniqueFd();
  }
  const std::unique_ptr<addrinfo, FreeAddresses> addresses(list);
  int why = ECONNREFUSED;
  for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
    UniqueFd fd(::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd.valid() && ::connect(fd.get(), at->ai_addr, at->ai_addrlen) == 0) return fd;
    why = errno;
  }
  std::fprintf(stderr, "cannot connect to %s:%s: %s\n", host.c_str(), port.c_str(), std::strerror(why));
  return UniqueFd();
}

// One direction: what was read and is not written yet.
struct Direction {
  int from, to;
  std::string waiting;
  bool ended = false, closed = false;  // nothing more comes; its end was passed on, too

  // False: the connection is broken.
  bool move(short from_events, short to_events) {
    if (waiting.empty() && from_events != 0 && !ended) {
      waiting.resize(kPieceBytes);
      const ssize_t got = ::read(from, waiting.data(), waiting.size());
      const int error = errno;
      waiting.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
      if (got < 0 && error != EAGAIN && error != EINTR) return false;
      ended = got == 0;
    }
    if (!waiting.empty() && to_events != 0) {
      const ssize_t put = ::write(to, waiting.data(), waiting.size());
      if (put < 0 && errno != EAGAIN && errno != EINTR) return false;
      if (put > 0) waiting.erase(0, static_cast<std::size_t>(put));
    }
    return true;
  }
  bool wants_read() const { return waiting.empty() && !ended; }
};

}  // namespace

int relay_connection(const std::string& host, const std::string& port) {
  ::signal(SIGPIPE, SIG_IGN);
  const UniqueFd socket = connect_to(host, port);
  if (!socket.valid()) return 1;
  const int on = 1;
  ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, socket.get()}) {
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  }
  Direction out{.from = STDIN_FILENO, .to = socket.get(), .waiting = {}};
  Direction in{.from = socket.get(), .to = STDOUT_FILENO, .waiting = {}};
  // A server that has said all ends the connection, as a client that has said all does not.
  while (!(in.ended && in.waiting.empty())) {
    pollfd waiting[] = {{out.wants_read() ? out.from : -1, POLLIN, 0},
                        {out.waiting.empty() ? -1 : out.to, POLLOUT, 0},
                        {in.wants_read() ? in.from : -1, POLLIN, 0},
                        {in.waiting.empty() ? -1 : in.to, POLLOUT, 0}};
    if (::poll(waiting, 4, -1) < 0 && errno != EINTR) return 1;
    if (!out.move(waiting[0].revents, waiting[1].revents)) return 0;
    if (!in.move(waiting[2].revents, waiting[3].revents)) return 0;
    if (out.ended && out.waiting.empty() && !std::exchange(out.closed, true)) ::shutdown(socket.get(), SHUT_WR);
  }
  return 0;
}

}  // namespace trainyard::agent
