#include "cli/port_forward.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <list>
#include <mutex>
#include <optional>
#include <thread>

namespace trainyard::cli {
namespace {

constexpr std::size_t kPieceBytes = 64 * 1024;

std::optional<std::uint16_t> port_from(const std::string& text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return port;
}

bool send_all(int fd, const std::string& data) {
  for (std::size_t done = 0; done < data.size();) {
    const ssize_t sent = ::send(fd, data.data() + done, data.size() - done, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    done += static_cast<std::size_t>(sent);
  }
  return true;
}

// From the node to the socket; what is said on the side (why it cannot connect) goes to stderr. False: the socket's
// other end has left.
bool bring_back(ExecStream& stream, int fd) {
  v1::ExecReply reply;
  while (stream.Read(&reply)) {
    if (!reply.err().empty()) fmt::print(stderr, "trainyard: {}", reply.err());
    if (!send_all(fd, reply.out())) return false;
  }
  return true;
}

void carry_there(ExecStream& stream, int fd) {
  std::string piece(kPieceBytes, '\0');
  v1::ExecRequest request;
  for (;;) {
    const ssize_t got = ::recv(fd, piece.data(), piece.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    request.set_data(piece.data(), static_cast<std::size_t>(got));
    if (!stream.Write(request)) return;
  }
  request.set_finish(true);
  stream.Write(request);
}

}  // namespace

Result<Forward> parse_forward(const std::string& text) {
  const auto first = text.find(':'), last = text.rfind(':');
  Forward forward;
  if (first != std::string::npos && last > first + 1) {
    const auto local = port_from(text.substr(0, first)), port = port_from(text.substr(last + 1));
    forward.host = text.substr(first + 1, last - first - 1);
    if (forward.host.size() > 2 && forward.host.front() == '[' && forward.host.back() == ']') {
      forward.host = forward.host.substr(1, forward.host.size() - 2);
    }
    if (local && port && *port != 0 && !forward.host.empty()) {
      forward.local = *local;
      forward.port = *port;
      return forward;
    }
  }
  return Error{Code::invalid_argument,
               "-L: must be LOCAL:HOST:PORT, e.g. 6006:localhost:6006 (LOCAL 0: any free port), got \"" + text + "\""};
}

struct PortForwards::Impl {
  struct Connection {
    int fd = -1;
    grpc::ClientContext context;
    std::thread thread;
    bool over = false;
  };

  OpenExec open;
  v1::ExecStart start;
  int stop = ::eventfd(0, EFD_CLOEXEC);
  std::vector<std::thread> listeners;
  std::mutex mutex;
  std::list<Connection> connections;

  void listen(int listener, const Forward& forward) {
    for (;;) {
      pollfd waiting[] = {{stop, POLLIN, 0}, {listener, POLLIN, 0}};
      if (::poll(waiting, 2, -1) < 0) continue;
      if (waiting[0].revents != 0) break;
      const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) continue;
      const int on = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      const std::lock_guard lock(mutex);
      std::erase_if(connections, [](Connection& connection) {
        if (connection.over) connection.thread.join();
        return connection.over;
      });
      Connection& connection = connections.emplace_back();
      connection.fd = fd;
      connection.thread = std::thread([this, &connection, forward] { serve(connection, forward); });
    }
    ::close(listener);
  }

  void serve(Connection& connection, const Forward& forward) {
    const auto stream = open(connection.context);
    v1::ExecRequest first;
    *first.mutable_start() = start;
    first.mutable_start()->mutable_connect()->set_host(forward.host);
    first.mutable_start()->mutable_connect()->set_port(forward.port);
    stream->Write(first);
    std::thread there([&] { carry_there(*stream, connection.fd); });
    if (!bring_back(*stream, connection.fd)) connection.context.TryCancel();
    ::shutdown(connection.fd, SHUT_RDWR);  // ends carry_there, whatever it waits for
    there.join();
    const grpc::Status status = stream->Finish();
    if (!status.ok() && status.error_code() != grpc::StatusCode::CANCELLED) {
      fmt::print(stderr, "trainyard: a connection to {}:{} ended: {}\n", forward.host, forward.port,
                 status.error_message());
    }
    const std::lock_guard lock(mutex);
    ::close(std::exchange(connection.fd, -1));
    connection.over = true;
  }
};

PortForwards::PortForwards(OpenExec open, v1::ExecStart start) : x_impl(std::make_unique<Impl>()) {
  x_impl->open = std::move(open);
  x_impl->start = std::move(start);
}

PortForwards::~PortForwards() {
  ::eventfd_write(x_impl->stop, 1);
  for (std::thread& listener : x_impl->listeners) listener.join();
  {
    const std::lock_guard lock(x_impl->mutex);
    for (Impl::Connection& connection : x_impl->connections) {
      connection.context.TryCancel();
      if (connection.fd >= 0) ::shutdown(connection.fd, SHUT_RDWR);
    }
  }
  for (Impl::Connection& connection : x_impl->connections) connection.thread.join();
  ::close(x_impl->stop);
}

Status PortForwards::add(const Forward& forward) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);  // nobody else's business
  address.sin_port = htons(forward.local);
  socklen_t size = sizeof address;
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  if (listener < 0 || ::bind(listener, raw, size) != 0 || ::listen(listener, 64) != 0 ||
      ::getsockname(listener, raw, &size) != 0) {
    const std::string why = std::strerror(errno);
    if (listener >= 0) ::close(listener);
    return Error{Code::unavailable, fmt::format("-L: cannot listen on 127.0.0.1:{}: {}", forward.local, why)};
  }
  fmt::print(stderr, "trainyard: 127.0.0.1:{} leads to {}:{} on node {}\n", ntohs(address.sin_port), forward.host,
             forward.port, x_impl->start.node());
  x_impl->listeners.emplace_back([impl = x_impl.get(), listener, forward] { impl->listen(listener, forward); });
  return {};
}

}  // namespace trainyard::cli
