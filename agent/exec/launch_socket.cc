#include "agent/exec/launch_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <deque>
#include <istream>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

using boost::asio::local::stream_protocol;
using nlohmann::json;

constexpr std::size_t kMostRequestBytes = 256 * 1024;
constexpr std::size_t kMostClients = 4096;

const char* name_of(LaunchState state) {
  switch (state) {
    case LaunchState::running:
      return "running";
    case LaunchState::exited:
      return "exited";
    case LaunchState::refused:
      return "refused";
    case LaunchState::unreachable:
      return "unreachable";
  }
  return "unreachable";
}

std::string answer_line(const std::string& key, LaunchState state, int exit_code, const std::string& message) {
  return json{{"key", key}, {"state", name_of(state)}, {"exit_code", exit_code}, {"message", message}}.dump(
             -1, ' ', true, json::error_handler_t::replace) +
         "\n";
}

int peer_pid(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

}  // namespace

struct LaunchSocket::Impl : std::enable_shared_from_this<LaunchSocket::Impl> {
  struct Client {
    explicit Client(stream_protocol::socket connected) : socket(std::move(connected)), input(kMostRequestBytes) {}
    stream_protocol::socket socket;
    boost::asio::streambuf input;
    std::deque<std::string> output;
    std::set<std::string> keys;  // of its requests without a definite answer; trainyard-tasks has many
    bool ends = false;           // after what is queued
  };
  using ClientPtr = std::shared_ptr<Client>;

  Impl(boost::asio::io_context& io, std::string socket_path, Cgroup members, OnRequest function)
      : acceptor(io),
        pause(io),
        path(std::move(socket_path)),
        cgroup(std::move(members)),
        on_request(std::move(function)) {}

  Status listen(std::uint32_t uid) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos || slash == 0) return Error{Code::invalid_argument, "not a socket path: " + path};
    const std::string directory = path.substr(0, slash);
    if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
      return system_error("cannot create " + directory, errno);
    // Through its descriptor: an address holds 107 bytes, a path may be longer.
    const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid() || ::fchown(fd.get(), uid, static_cast<gid_t>(-1)) != 0 || ::fchmod(fd.get(), 0700) != 0) {
      return system_error("cannot prepare " + directory, errno);
    }
    const std::string name = path.substr(slash + 1);
    const std::string address = "/proc/self/fd/" + std::to_string(fd.get()) + "/" + name;
    ::unlinkat(fd.get(), name.c_str(), 0);
    boost::system::error_code error;
    acceptor.open(stream_protocol(), error);
    if (!error) acceptor.bind(stream_protocol::endpoint(address), error);
    if (!error && ::fchownat(fd.get(), name.c_str(), uid, static_cast<gid_t>(-1), AT_SYMLINK_NOFOLLOW) != 0) {
      error.assign(errno, boost::system::system_category());
    }
    if (!error) acceptor.listen(boost::asio::socket_base::max_listen_connections, error);
    if (error) return Error{Code::internal, "cannot listen at " + path + ": " + error.message()};
    accept();
    return {};
  }

  void accept() {
    acceptor.async_accept([self = shared_from_this()](boost::system::error_code error, stream_protocol::socket socket) {
      if (!self->acceptor.is_open()) return;
      if (!error) {
        self->welcome(std::make_shared<Client>(std::move(socket)));
        return self->accept();
      }
      // Out of descriptors and the like: not in a tight circle.
      self->pause.expires_after(std::chrono::milliseconds(100));
      self->pause.async_wait([self](boost::system::error_code) {
        if (self->acceptor.is_open()) self->accept();
      });
    });
  }

  void welcome(const ClientPtr& client) {
    if (clients.size() >= kMostClients) return;  // closed; it tries again
    clients.insert(client);
    read_request(client);
  }

  void read_request(const ClientPtr& client) {
    boost::asio::async_read_until(client->socket, client->input, '\n',
                                  [self = shared_from_this(), client](boost::system::error_code error, std::size_t) {
                                    self->take_request(client, error);
                                  });
  }

  void take_request(const ClientPtr& client, boost::system::error_code error) {
    if (error || clients.count(client) == 0) return drop(client);
    if (!cgroup.contains(peer_pid(client->socket.native_handle()))) {
      return refuse(client, "only processes of this job's attempt may launch others");
    }
    std::istream lines(&client->input);
    std::string line;
    std::getline(lines, line);
    const json request = json::parse(line, nullptr, false);
    LaunchRequest launch;
    if (request.is_object()) {
      launch = {text_of(request, "key"), text_of(request, "host"), text_of(request, "command"), std::nullopt};
      const auto task = request.find("task");
      if (task != request.end() && task->is_number_unsigned()) launch.task = task->get<std::uint32_t>();
    }
    if (launch.key.empty() || launch.key.size() > 64 || launch.host.empty() ||
        launch.command.empty() != launch.task.has_value()) {
      return refuse(client, "the launch request is malformed");
    }
    client->keys.insert(launch.key);
    read_request(client);  // the next, or its end
    on_request(launch);
  }

  static std::string text_of(const json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
  }

  void refuse(const ClientPtr& client, const char* why) {
    client->ends = true;
    send(client, answer_line({}, LaunchState::refused, 255, why));
  }

  void send(const ClientPtr& client, std::string line) {
    client->output.push_back(std::move(line));
    if (client->output.size() == 1) write(client);
  }

  void write(const ClientPtr& client) {
    boost::asio::async_write(client->socket, boost::asio::buffer(client->output.front()),
                             [self = shared_from_this(), client](boost::system::error_code error, std::size_t) {
                               if (error) return self->drop(client);
                               client->output.pop_front();
                               if (!client->output.empty()) return self->write(client);
                               if (client->ends) self->drop(client);
                             });
  }

  void drop(const ClientPtr& client) {
    boost::system::error_code ignored;
    client->socket.close(ignored);
    clients.erase(client);
  }

  void close() {
    boost::system::error_code ignored;
    acceptor.close(ignored);
    pause.cancel();
    for (const auto& client : clients) client->socket.close(ignored);
    clients.clear();
    ::unlink(path.c_str());
  }

  stream_protocol::acceptor acceptor;
  boost::asio::steady_timer pause;
  std::string path;
  Cgroup cgroup;
  OnRequest on_request;
  std::set<ClientPtr> clients;
};

LaunchSocket::LaunchSocket(std::shared_ptr<Impl> impl) : x_impl(std::move(impl)) {}

Result<std::unique_ptr<LaunchSocket>> LaunchSocket::open(boost::asio::io_context& io, const std::string& path,
                                                         Cgroup cgroup, std::uint32_t uid, OnRequest on_request) {
  auto impl = std::make_shared<Impl>(io, path, std::move(cgroup), std::move(on_request));
  if (auto listening = impl->listen(uid); !listening) return listening.error();
  return std::unique_ptr<LaunchSocket>(new LaunchSocket(std::move(impl)));
}

LaunchSocket::~LaunchSocket() {
  x_impl->close();
}

void LaunchSocket::notify(const std::string& key, LaunchState state, int exit_code, const std::string& message) {
  const std::string line = answer_line(key, state, exit_code, message);
  const bool definite = state == LaunchState::exited || state == LaunchState::refused;
  const auto clients = x_impl->clients;  // sending may drop one
  for (const auto& client : clients) {
    if (!client->keys.contains(key) || client->ends) continue;
    if (definite) client->keys.erase(key);
    client->ends = client->keys.empty();
    x_impl->send(client, line);
  }
}

}  // namespace trainyard::agent
