#include "agent/exec/launch_client.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace trainyard::agent {
namespace {

constexpr std::size_t kMostLineBytes = 1 << 20;

std::optional<std::string> read_line(int fd, std::string& pending) {
  for (;;) {
    const std::size_t end = pending.find('\n');
    if (end != std::string::npos) {
      std::string line = pending.substr(0, end);
      pending.erase(0, end + 1);
      return line;
    }
    char buffer[4096];
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0 || pending.size() > kMostLineBytes) return std::nullopt;
    pending.append(buffer, static_cast<std::size_t>(got));
  }
}

// The path may be longer than a socket's address holds: so go there and use its last part.
bool enter_socket_directory(std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return true;
  const std::string directory = path.substr(0, slash + 1);
  path = path.substr(slash + 1);
  return ::chdir(directory.c_str()) == 0;
}

UniqueFd connect_to_agent(const std::string& name) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (!fd.valid() || name.size() >= sizeof address.sun_path) return UniqueFd();
  std::memcpy(address.sun_path, name.data(), name.size());
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return UniqueFd();
  return fd;
}

void end_on_signal(int) {
  ::_exit(255);
}

}  // namespace

std::string request_line(const nlohmann::json& request) {
  return request.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
}

bool send_all(int fd, const std::string& text) {
  for (std::size_t sent = 0; sent < text.size();) {
    const ssize_t put = ::send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    sent += static_cast<std::size_t>(put);
  }
  return true;
}

std::optional<nlohmann::json> read_answer_line(int fd, std::string& pending) {
  const auto line = read_line(fd, pending);
  if (!line) return std::nullopt;
  auto answer = nlohmann::json::parse(*line, nullptr, false);
  if (!answer.is_object()) return std::nullopt;
  return answer;
}

int converse_until_over(const char* program, const std::string& socket, const Converse& converse) {
  std::signal(SIGTERM, end_on_signal);
  std::signal(SIGINT, end_on_signal);
  std::string name = socket;
  if (!enter_socket_directory(name)) {
    std::fprintf(stderr, "%s: no directory for the socket %s: the job is over\n", program, socket.c_str());
    return 255;
  }
  for (useconds_t pause_us = 100'000;; pause_us = std::min<useconds_t>(pause_us * 2, 1'000'000)) {
    const UniqueFd connection = connect_to_agent(name);
    bool heard = false;
    if (connection.valid()) {
      if (const auto code = converse(connection.get(), heard)) return *code;
    }
    if (heard) pause_us = 100'000;
    ::usleep(pause_us);
  }
}

}  // namespace trainyard::agent
