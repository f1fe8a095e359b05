#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "agent/containers/init.h"
#include "agent/containers/runtime.h"
#include "agent/exec/files.h"

extern char** environ;

namespace trainyard::agent {
namespace {

constexpr int kNotStarted = 127, kContainerEnded = 137;

bool send_streams(int connection) {
  const int streams[3] = {0, 1, 2};
  char byte = 's', control[CMSG_SPACE(sizeof streams)] = {};
  iovec piece{&byte, 1};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof streams);
  std::memcpy(CMSG_DATA(header), streams, sizeof streams);
  return ::sendmsg(connection, &message, MSG_NOSIGNAL) == 1;
}

std::string request_text(const std::vector<std::string>& argv) {
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) environment.emplace_back(*variable);
  char* directory = ::getcwd(nullptr, 0);
  const nlohmann::json value{
      {"argv", argv}, {"environment", environment}, {"directory", directory == nullptr ? "/" : directory}};
  std::free(directory);
  // CBOR: words and values need not be UTF-8.
  std::string bytes;
  nlohmann::json::to_cbor(value, bytes);
  return std::to_string(bytes.size()) + "\n" + bytes;
}

}  // namespace

int enter_container(const std::string& socket, const std::vector<std::string>& argv) {
  ::signal(SIGTERM, SIG_IGN);  // it is the program's, which gets it too and may take its time
  const UniqueFd connection(connect_to_init(socket));
  if (!connection.valid()) {
    std::fprintf(stderr, "trainyard: the job's container does not run: %s\n", std::strerror(errno));
    return kContainerEnded;
  }
  if (::isatty(0) != 0) {
    // One session can have the terminal: the program's in the container.
    ::signal(SIGHUP, SIG_IGN);
    ::ioctl(0, TIOCNOTTY);
  }
  const std::string request = request_text(argv);
  if (!send_streams(connection.get()) || !write_fully(connection.get(), request.data(), request.size())) {
    std::fprintf(stderr, "trainyard: the job's container ended\n");
    return kContainerEnded;
  }
  // Ours are not needed any more: the program's own ends are what counts for whoever reads them.
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int stream = 0; stream < 2; ++stream) ::dup2(null.get(), stream);
  std::string said;
  char text[600];
  for (ssize_t got; (got = ::read(connection.get(), text, sizeof text)) != 0;) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) break;
    said.append(text, static_cast<std::size_t>(got));
  }
  if (said.starts_with("exit ")) return static_cast<int>(std::strtol(said.c_str() + 5, nullptr, 10)) & 0xff;
  if (said.starts_with("error ")) {
    std::fprintf(stderr, "trainyard: %s", said.c_str() + 6);
    return kNotStarted;
  }
  std::fprintf(stderr, "trainyard: the job's container ended\n");
  return kContainerEnded;
}

bool wait_for_init(const std::string& socket, DurationMs deadline_ms, const std::function<bool()>& alive) {
  constexpr DurationMs kAgainMs = 5, kLookEveryMs = 250;
  for (DurationMs waited = 0; waited < deadline_ms; waited += kAgainMs) {
    if (const UniqueFd connection(connect_to_init(socket)); connection.valid()) return true;
    if (waited % kLookEveryMs == kLookEveryMs - kAgainMs && !alive()) return false;
    ::usleep(static_cast<useconds_t>(kAgainMs * 1000));
  }
  return false;
}

}  // namespace trainyard::agent
