#include "agent/containers/init.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "agent/exec/files.h"

extern char** environ;

namespace trainyard::agent {
namespace {

constexpr int kEndedByTerm = 143;
constexpr std::size_t kMostRequestBytes = 16 * 1024 * 1024;
constexpr const char* kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct Request {
  std::vector<std::string> argv, environment;
  std::string directory;
};

int fail(const std::string& what) {
  std::fprintf(stderr, "trainyard-container: %s: %s\n", what.c_str(), std::strerror(errno));
  return 1;
}

// The standard streams of the one who asks; true when all three came.
bool receive_streams(int connection, int streams[3]) {
  char byte = 0, control[CMSG_SPACE(3 * sizeof(int))];
  iovec piece{&byte, 1};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got = 0;
  while ((got = ::recvmsg(connection, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  const cmsghdr* header = got == 1 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS || header->cmsg_len != CMSG_LEN(3 * sizeof(int)))
    return false;
  std::memcpy(streams, CMSG_DATA(header), 3 * sizeof(int));
  return true;
}

bool read_bytes(int fd, char* into, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const ssize_t got = ::read(fd, into + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += static_cast<std::size_t>(got);
  }
  return true;
}

bool receive_request(int connection, Request& request) {
  std::string length;
  for (char c = 0; length.size() < 10 && read_bytes(connection, &c, 1) && c != '\n';) length += c;
  std::string text(std::min<std::size_t>(std::strtoul(length.c_str(), nullptr, 10), kMostRequestBytes), '\0');
  if (text.empty() || !read_bytes(connection, text.data(), text.size())) return false;
  const auto value = nlohmann::json::from_cbor(text, true, false);
  if (!value.is_object()) return false;
  try {
    value.at("argv").get_to(request.argv);
    value.at("environment").get_to(request.environment);
    value.at("directory").get_to(request.directory);
  } catch (const nlohmann::json::exception&) {
    return false;
  }
  return !request.argv.empty();
}

// The image's variables, and over them the process's.
std::vector<std::string> merged(const std::vector<std::string>& given) {
  std::map<std::string, std::string> variables{{"PATH", kDefaultPath}};
  const auto set = [&](const std::string& text) {
    if (const auto equal = text.find('='); equal != std::string::npos)
      variables[text.substr(0, equal)] = text.substr(equal + 1);
  };
  for (char** variable = environ; *variable != nullptr; ++variable) set(*variable);
  for (const std::string& variable : given) set(variable);
  std::vector<std::string> all;
  for (const auto& [name, value] : variables) all.push_back(name + "=" + value);
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> list;
  for (std::string& word : words) list.push_back(word.data());
  list.push_back(nullptr);
  return list;
}

// Between fork and exec; what fails goes to `report`, which exec closes.
[[noreturn]] void become(Request request, const int streams[3], int report) {
  const auto complain = [report](const std::string& what) {
    const std::string text = what + ": " + std::strerror(errno);
    write_fully(report, text.data(), text.size());
    ::_exit(127);
  };
  sigset_t none;
  sigemptyset(&none);
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::setsid();
  for (int i = 0; i < 3; ++i) ::dup2(streams[i], i);
  if (::isatty(0) != 0) ::ioctl(0, TIOCSCTTY, 0);  // `enter` gave it up
  ::umask(022);
  if (!request.directory.empty() && ::chdir(request.directory.c_str()) != 0) {
    complain("cannot enter " + request.directory + " in the container");
  }
  std::vector<std::string> environment = merged(request.environment);
  const std::string program = request.argv.front();
  auto argv = pointers(request.argv), variables = pointers(environment);
  ::execve(program.c_str(), argv.data(), variables.data());
  complain("cannot run " + program + " in the container");
  ::_exit(127);
}

// Processes of the session that `leader` began.
void kill_session(pid_t leader) {
  DIR* processes = ::opendir("/proc");
  if (processes == nullptr) return;
  while (const dirent* entry = ::readdir(processes)) {
    const pid_t pid = static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10));
    if (pid > 1 && ::getsid(pid) == leader) ::kill(pid, SIGKILL);
  }
  ::closedir(processes);
}

void answer(int connection, const std::string& line) {
  ::send(connection, line.data(), line.size(), MSG_NOSIGNAL);
}

// Until the program ends, or nobody waits for it any more.
void look_after(int connection, int children, pid_t program) {
  for (;;) {
    pollfd waiting[2] = {{connection, POLLRDHUP, 0}, {children, POLLIN, 0}};
    if (::poll(waiting, 2, -1) < 0 && errno != EINTR) return;
    signalfd_siginfo info;
    while (::read(children, &info, sizeof info) > 0) {
    }
    int status = 0;
    if (::waitpid(program, &status, WNOHANG) == program) {
      const int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      return answer(connection, "exit " + std::to_string(code) + "\n");
    }
    if ((waiting[0].revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0) return kill_session(program);
  }
}

// One process per request: init itself never waits for anything.
[[noreturn]] void serve(int connection) {
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  const int children = ::signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
  int streams[3], report[2];
  Request request;
  if (children < 0 || !receive_streams(connection, streams) || !receive_request(connection, request)) ::_exit(1);
  if (::pipe2(report, O_CLOEXEC) != 0) ::_exit(1);
  const pid_t program = ::fork();
  if (program == 0) become(std::move(request), streams, report[1]);
  for (const int stream : streams) ::close(stream);
  ::close(report[1]);
  char complaint[512];
  ssize_t got = 0;
  while (program > 0 && (got = ::read(report[0], complaint, sizeof complaint)) < 0 && errno == EINTR) {
  }
  if (program < 0) answer(connection, "error cannot fork in the container\n");
  if (got > 0) answer(connection, "error " + std::string(complaint, static_cast<std::size_t>(got)) + "\n");
  if (program > 0 && got <= 0) look_after(connection, children, program);
  ::_exit(0);
}

int listen_at(const std::string& socket) {
  const auto slash = socket.rfind('/');
  const UniqueFd directory(::open(socket.substr(0, slash).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::string name = socket.substr(slash + 1);
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (!directory.valid() || listener < 0) return -1;
  ::unlinkat(directory.get(), name.c_str(), 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", directory.get(), name.c_str());
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(listener, 4096) != 0)
    return -1;
  return listener;
}

}  // namespace

int connect_to_init(const std::string& socket) {
  const auto slash = socket.rfind('/');
  const UniqueFd directory(::open(socket.substr(0, slash).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  UniqueFd connection(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!directory.valid() || !connection.valid()) return -1;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", directory.get(),
                socket.substr(slash + 1).c_str());
  if (::connect(connection.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) return -1;
  return connection.release();
}

int run_init(const std::string& socket) {
  sigset_t watched;
  sigemptyset(&watched);
  sigaddset(&watched, SIGCHLD);
  sigaddset(&watched, SIGTERM);
  ::sigprocmask(SIG_BLOCK, &watched, nullptr);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);  // where the runtime gives no PID namespace
  const int signals = ::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK), listener = listen_at(socket);
  if (signals < 0 || listener < 0) return fail("cannot listen at " + socket);
  for (bool ending = false;;) {
    pollfd waiting[2] = {{listener, POLLIN, 0}, {signals, POLLIN, 0}};
    if (::poll(waiting, 2, -1) < 0 && errno != EINTR) return fail("cannot wait");
    signalfd_siginfo info;
    while (::read(signals, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      ending = ending || info.ssi_signo == SIGTERM;
    }
    pid_t reaped = 0;
    while ((reaped = ::waitpid(-1, nullptr, WNOHANG)) > 0) {
    }
    // The job's processes have their time of grace: they would end with us.
    if (ending && reaped < 0 && errno == ECHILD) return kEndedByTerm;
    const int connection = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    if (::fork() == 0) serve(connection);
    ::close(connection);
  }
}

}  // namespace trainyard::agent
