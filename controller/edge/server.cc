#include "controller/edge/server.h"

#include <fmt/format.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>

#include "controller/edge/identity.h"

namespace trainyard::controller {
namespace {

constexpr int kMaxMessage = 4 * 1024 * 1024;
constexpr int kWindow = 1024 * 1024;       // bytes of a stream on their way
constexpr int kReservedDescriptors = 200;  // for the store, helpers of our own, and gRPC's own needs

Result<std::string> read_file(const std::string& name) {
  std::ifstream in(name, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in || text.str().empty()) {
    return Error{Code::failed_precondition, fmt::format("tls: cannot read {}: {}", name, std::strerror(errno))};
  }
  return text.str();
}

Result<std::shared_ptr<grpc::ServerCredentials>> credentials(const Config& config) {
  if (!config.tls) return grpc::InsecureServerCredentials();
  const auto certificate = read_file(config.tls->certificate);
  if (!certificate) return certificate.error();
  const auto key = read_file(config.tls->key);
  if (!key) return key.error();
  const auto ca = read_file(config.tls->client_ca);
  if (!ca) return ca.error();
  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = *ca;
  options.pem_key_cert_pairs.push_back({*key, *certificate});
  auto tls = grpc::SslServerCredentials(options);
  tls->SetAuthMetadataProcessor(std::make_shared<Authoriser>());
  return tls;
}

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

Result<Addresses> resolve(const ListenAddress& address, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  addrinfo* list = nullptr;
  const int error = getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &list);
  if (error != 0) {
    return Error{Code::invalid_argument, fmt::format("{}: {}", address.host, gai_strerror(error))};
  }
  return Addresses(list);
}

Result<int> listen_on(const ListenAddress& address) {
  const auto found = resolve(address, AI_PASSIVE);
  if (!found) return found.error();
  const addrinfo& first = **found;
  const int fd = socket(first.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int on = 1;
  if (fd >= 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);  // a restart does not wait for old connections
  if (fd < 0 || bind(fd, first.ai_addr, first.ai_addrlen) != 0 || listen(fd, 1024) != 0) {
    const Error error{Code::unavailable,
                      fmt::format("cannot listen on {}:{}: {}", address.host, address.port, std::strerror(errno))};
    if (fd >= 0) close(fd);
    return error;
  }
  return fd;
}

// A machine that vanished without a word is noticed within 15 s, also while something is sent to it.
void notice_dead_peer(int fd) {
  const int on = 1, idle_s = 9, every_s = 2, times = 3, unanswered_ms = 15'000;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof times);
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms, sizeof unanswered_ms);
}

std::uint16_t port_of(int fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length);
  return ntohs(storage.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port
                                             : reinterpret_cast<sockaddr_in*>(&storage)->sin_port);
}

void set_limits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxMessage);
  builder.SetMaxSendMessageSize(-1);  // long lists are ours to send
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 1024);
  // The kernel looks whether a peer is still there (notice_dead_peer): gRPC would set a timer anew with every message.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, std::numeric_limits<int>::max());
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);  // agents and clients may ping us
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1'000);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
  // gRPC measures how fast a connection is with a ping after every message: of 10,000 agents' small ones that costs
  // more than they do. A window that is large enough for any file needs no measuring.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kWindow);
}

}  // namespace

void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

Result<std::unique_ptr<Server>> Server::start(const Config& config, const std::vector<grpc::Service*>& services) {
  auto creds = credentials(config);
  if (!creds) return creds.error();
  const auto address = parse_listen(config.listen);
  if (!address) return address.error();
  auto server = std::unique_ptr<Server>(new Server());
  const auto listener = listen_on(*address);
  if (!listener) return listener.error();
  server->x_listener = *listener;
  server->x_stop = eventfd(0, EFD_CLOEXEC);
  const bool v6 = address->host.find(':') != std::string::npos;
  server->x_address = fmt::format("{}{}{}:{}", v6 ? "[" : "", address->host, v6 ? "]" : "", port_of(*listener));

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  for (grpc::Service* service : services) builder.RegisterService(service);
  set_limits(builder);
  server->x_acceptor = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, *creds);
  server->x_server = builder.BuildAndStart();
  if (!server->x_server) {
    return Error{
        Code::failed_precondition,
        fmt::format("the server does not start on {}: are the certificate and its key a pair?", config.listen)};
  }
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  const int highest = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1'000'000)) - kReservedDescriptors;
  server->x_thread = std::thread([raw = server.get(), highest] { raw->accept_until_stopped(highest); });
  return server;
}

void Server::accept_until_stopped(int highest_fd) {
  bool warned = false;
  for (;;) {
    pollfd watched[] = {{x_listener, POLLIN, 0}, {x_stop, POLLIN, 0}};
    if (poll(watched, 2, -1) < 0 && errno != EINTR) return;
    if ((watched[1].revents & POLLIN) != 0) return;
    const int fd = accept4(x_listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      // Out of descriptors all the same: leave the caller in the backlog and look again a little later.
      if (errno == EMFILE || errno == ENFILE) poll(&watched[1], 1, 100);
      continue;
    }
    // The kernel gives the lowest free number: a high one means that many are open.
    if (fd > highest_fd) {
      close(fd);
      if (!std::exchange(warned, true)) spdlog::warn("connections refused: {} descriptors are open", fd);
      continue;
    }
    warned = false;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    notice_dead_peer(fd);
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters connection;
    connection.listener_fd = x_listener;
    connection.fd = fd;
    x_acceptor->HandleNewConnection(&connection);
  }
}

void Server::shutdown(std::chrono::milliseconds grace) {
  if (x_thread.joinable()) {
    eventfd_write(x_stop, 1);
    x_thread.join();
  }
  if (x_server) {
    x_server->Shutdown(std::chrono::system_clock::now() + grace);
    x_server->Wait();
  }
}

Server::~Server() {
  shutdown(std::chrono::milliseconds(0));
  x_server.reset();
  if (x_listener >= 0) close(x_listener);
  if (x_stop >= 0) close(x_stop);
}

bool probe(const std::string& address, std::chrono::milliseconds limit) {
  auto parsed = parse_listen(address);
  if (!parsed) return false;
  if (parsed->host == "0.0.0.0") parsed->host = "127.0.0.1";
  if (parsed->host == "::") parsed->host = "::1";
  const auto found = resolve(*parsed, 0);
  if (!found) return false;
  const int fd = socket((*found)->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return false;
  const auto wait_for = [&](short events) {
    pollfd watched{fd, events, 0};
    return poll(&watched, 1, static_cast<int>(limit.count())) == 1;
  };
  bool answered = false;
  if ((connect(fd, (*found)->ai_addr, (*found)->ai_addrlen) == 0 || errno == EINPROGRESS) && wait_for(POLLOUT)) {
    // An HTTP/2 preface and empty settings. A server without TLS answers with its settings, one with TLS hangs up:
    // either way somebody accepted the connection. Silence means that nobody does.
    constexpr char kHello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    char byte = 0;
    answered = send(fd, kHello, sizeof kHello - 1, MSG_NOSIGNAL) > 0 && wait_for(POLLIN) &&
               (recv(fd, &byte, 1, 0) >= 0 || errno == ECONNRESET);
  }
  close(fd);
  return answered;
}

}  // namespace trainyard::controller
