// The least that mpirun can start daemons with, as a measure for Trainyard's own way: on each host a listener that runs
// whatever line it is sent (in a bench's own network namespaces only), and the client that mpirun calls.
//   trivial_rsh --serve PORT        TRIVIAL_RSH_PORT=PORT trivial_rsh HOST COMMAND...
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

[[noreturn]] void handle(int connection) {
  std::string line;
  for (char c; ::read(connection, &c, 1) == 1 && c != '\0';) line += c;
  ::signal(SIGCHLD, SIG_DFL);
  const pid_t child = ::fork();
  if (child == 0) {
    ::setsid();
    const int null = ::open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) ::dup2(null, fd);
    ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  const auto code = static_cast<std::uint8_t>(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  ::_exit(::write(connection, &code, 1) == 1 ? 0 : 1);
}

int serve(int port) {
  ::signal(SIGCHLD, SIG_IGN);
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int yes = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(listener, 64) != 0)
    return 1;
  while (true) {
    const int connection = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    if (::fork() == 0) handle(connection);
    ::close(connection);
  }
}

int call(int argc, char** argv) {
  const char* port = std::getenv("TRIVIAL_RSH_PORT");
  const int connection = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port ? std::atoi(port) : 0));
  if (::inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) return 255;
  if (::connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return 255;
  std::string line;
  for (int n = 2; n < argc; ++n) line.append(n > 2 ? " " : "").append(argv[n]);
  if (::write(connection, line.c_str(), line.size() + 1) != static_cast<ssize_t>(line.size() + 1)) return 255;
  std::uint8_t code = 255;
  return ::read(connection, &code, 1) == 1 ? code : 255;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "--serve") == 0) return serve(std::atoi(argv[2]));
  return argc < 3 ? 2 : call(argc, argv);
}
