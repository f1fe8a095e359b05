#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <map>
#include <utility>

#include "agent/exec/launch_socket.h"
#include "tests/exec/support.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::test;

namespace {

// trainyard-rsh as mpirun starts it, in the given cgroup; or another program of a job that launches.
pid_t start_rsh(const std::string& socket, const Cgroup& cgroup, std::vector<std::string> words, const std::string& err,
                const char* launcher = "trainyard-rsh") {
  const std::string name = program(launcher);
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  write_text(cgroup.path() + "/cgroup.procs", "0");
  const int fd = ::open(err.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::dup2(fd, 2);
  ::setenv("TRAINYARD_SOCKET", socket.c_str(), 1);
  std::vector<char*> argv{const_cast<char*>(launcher)};
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(name.c_str(), argv.data());
  ::_exit(99);
}

int exit_code_of(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

bool has_ended(pid_t pid) {
  siginfo_t info{};
  return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

struct Relay {
  Relay(boost::asio::io_context& io, const std::string& path, const Cgroup& cgroup) {
    auto opened =
        LaunchSocket::open(io, path, cgroup, 0, [this](const LaunchRequest& request) { requests.push_back(request); });
    INFO((opened ? std::string() : opened.error().message));
    REQUIRE(opened.ok());
    socket = std::move(opened).value();
  }
  std::vector<LaunchRequest> requests;
  std::unique_ptr<LaunchSocket> socket;
};

}  // namespace

TEST_CASE("a launcher asks, waits while it runs and ends with the code of the other side") {
  if (!is_root_with_cgroups()) return;
  const TestCgroup cgroup;
  TempDir place;
  boost::asio::io_context io;
  Relay relay(io, place / "launch/socket", cgroup.all());
  const std::string err = place / "err";
  const pid_t pid = start_rsh(place / "launch/socket", cgroup.job(),
                              {"-x", "-l", "root", "10.0.0.5", " orted", "-mca", "ess", "\"env\""}, err);
  REQUIRE(run_until(io, [&] { return relay.requests.size() == 1; }));
  CHECK(relay.requests[0].host == "10.0.0.5");
  CHECK(relay.requests[0].command == " orted -mca ess \"env\"");
  const std::string key = relay.requests[0].key;
  CHECK(key.rfind(std::to_string(pid) + "-", 0) == 0);
  relay.socket->notify(key, LaunchState::running, 0, "");
  relay.socket->notify("another-key", LaunchState::exited, 3, "");
  relay.socket->notify(key, LaunchState::unreachable, 0, "no stream");
  run_until(
      io, [] { return false; }, 100);
  CHECK_FALSE(has_ended(pid));
  relay.socket->notify(key, LaunchState::exited, 42, "");
  REQUIRE(run_until(io, [&] { return has_ended(pid); }));
  CHECK(exit_code_of(pid) == 42);
  CHECK(read_text(err).empty());
}

TEST_CASE("launchers outlive the agent: they come back to its next life and repeat the same request") {
  if (!is_root_with_cgroups()) return;
  const TestCgroup cgroup;
  TempDir place;
  boost::asio::io_context io;
  const std::string path = place / "launch/socket";
  std::vector<pid_t> pids;
  std::map<std::string, int> seen;
  {
    Relay relay(io, path, cgroup.all());
    for (int i = 0; i < 8; ++i) pids.push_back(start_rsh(path, cgroup.job(), {"10.0.0.9", "true"}, place / "err"));
    REQUIRE(run_until(io, [&] { return relay.requests.size() == 8; }));
    for (const auto& request : relay.requests) {
      ++seen[request.key];
      relay.socket->notify(request.key, LaunchState::running, 0, "");
    }
    run_until(
        io, [] { return false; }, 50);
  }
  for (const pid_t pid : pids) CHECK_FALSE(has_ended(pid));
  Relay relay(io, path, cgroup.all());
  REQUIRE(run_until(io, [&] { return relay.requests.size() == 8; }));
  for (const auto& request : relay.requests) {
    ++seen[request.key];
    relay.socket->notify(request.key, LaunchState::exited, 7, "");
  }
  CHECK(seen.size() == 8);
  for (const auto& [key, count] : seen) CHECK(count == 2);
  for (const pid_t pid : pids) {
    REQUIRE(run_until(io, [&] { return has_ended(pid); }));
    CHECK(exit_code_of(pid) == 7);
  }
}

TEST_CASE("a refusal is definite and says why; processes of another holding are refused") {
  if (!is_root_with_cgroups()) return;
  const TestCgroup cgroup, other;
  TempDir place;
  boost::asio::io_context io;
  // A path longer than a socket's address may be.
  const std::string deep = place / std::string(150, 'd');
  ::mkdir(deep.c_str(), 0700);
  const std::string path = deep + "/launch/socket";
  Relay relay(io, path, cgroup.all());
  struct stat about {};
  REQUIRE(::stat((deep + "/launch").c_str(), &about) == 0);
  CHECK((about.st_mode & 0777) == 0700);

  const pid_t stranger = start_rsh(path, other.job(), {"10.0.0.9", "true"}, place / "err1");
  REQUIRE(run_until(io, [&] { return has_ended(stranger); }));
  CHECK(exit_code_of(stranger) == 255);
  CHECK(relay.requests.empty());
  CHECK(read_text(place / "err1").find("only processes of this job") != std::string::npos);

  const pid_t refused = start_rsh(path, cgroup.job(), {"10.0.0.9", "true"}, place / "err2");
  REQUIRE(run_until(io, [&] { return relay.requests.size() == 1; }));
  relay.socket->notify(relay.requests[0].key, LaunchState::refused, 0, "10.0.0.9 is no node of this job");
  REQUIRE(run_until(io, [&] { return has_ended(refused); }));
  CHECK(exit_code_of(refused) == 255);
  CHECK(read_text(place / "err2") == "trainyard-rsh: 10.0.0.9 is no node of this job\n");
}

namespace {

// A head's trainyard-tasks with a parameter server, a master and a worker, and the agent's end of it.
struct Tasks {
  explicit Tasks(const std::string& text) {
    write_text(place / "tasks", text);
    relay = std::make_unique<Relay>(io, place / "launch/socket", cgroup.all());
    pid = start_rsh(place / "launch/socket", cgroup.job(), {place / "tasks"}, place / "err", "trainyard-tasks");
  }
  bool asked(std::size_t count) {
    return run_until(io, [&] { return relay->requests.size() == count; });
  }
  void ended(const std::string& key, int exit_code, const std::string& message = "") {
    relay->socket->notify(key, LaunchState::exited, exit_code, message);
  }
  int exit_code() {
    REQUIRE(run_until(io, [&] { return has_ended(pid); }));
    return exit_code_of(pid);
  }
  bool goes_on() {
    run_until(
        io, [] { return false; }, 50);
    return !has_ended(pid);
  }

  TestCgroup cgroup;
  TempDir place;
  boost::asio::io_context io;
  std::unique_ptr<Relay> relay;
  pid_t pid = 0;
};

constexpr const char* kThree = "10.0.0.1 background ps-0\n10.0.0.1 awaited wk-0\n10.0.0.2 awaited wk-1\n";

}  // namespace

TEST_CASE("tasks are asked for by number; the job is done when the awaited ones are, whatever the others do") {
  if (!is_root_with_cgroups()) return;
  Tasks tasks(kThree);
  REQUIRE(tasks.asked(3));
  CHECK(tasks.relay->requests[2].key == "task-2");
  CHECK(tasks.relay->requests[2].host == "10.0.0.2");
  CHECK(tasks.relay->requests[2].task == 2);
  CHECK(tasks.relay->requests[2].command.empty());
  for (const char* key : {"task-0", "task-1", "task-2"}) tasks.relay->socket->notify(key, LaunchState::running, 0, "");
  tasks.ended("task-0", 1, "a parameter server's end is nobody's");
  tasks.ended("task-1", 0);
  CHECK(tasks.goes_on());
  tasks.ended("task-2", 0);
  CHECK(tasks.exit_code() == 0);
  CHECK(read_text(tasks.place / "err").empty());
}

TEST_CASE("the first awaited task that fails ends the job, with its code and its words") {
  if (!is_root_with_cgroups()) return;
  Tasks tasks(kThree);
  REQUIRE(tasks.asked(3));
  tasks.ended("task-2", 139, "last \"words\"");
  tasks.ended("task-1", 1, "connection closed by peer");
  CHECK(tasks.exit_code() == 139);
  CHECK(read_text(tasks.place / "err") == "{\"exitCode\":139,\"message\":\"last \\\"words\\\"\",\"task\":2}\n");
}

TEST_CASE("a task that cannot be started fails the job, a parameter server too") {
  if (!is_root_with_cgroups()) return;
  Tasks tasks(kThree);
  REQUIRE(tasks.asked(3));
  tasks.relay->socket->notify("task-0", LaunchState::refused, 255, "it belongs to another node");
  CHECK(tasks.exit_code() == 255);
  CHECK(read_text(tasks.place / "err").find("it belongs to another node") != std::string::npos);
}

TEST_CASE("after a restart of the agent only what is not over is asked for again") {
  if (!is_root_with_cgroups()) return;
  Tasks tasks(kThree);
  REQUIRE(tasks.asked(3));
  tasks.ended("task-1", 0);
  CHECK(tasks.goes_on());
  tasks.relay = nullptr;
  tasks.relay = std::make_unique<Relay>(tasks.io, tasks.place / "launch/socket", tasks.cgroup.all());
  REQUIRE(tasks.asked(2));
  CHECK(tasks.relay->requests[0].key == "task-0");
  CHECK(tasks.relay->requests[1].key == "task-2");
  tasks.ended("task-2", 0);
  CHECK(tasks.exit_code() == 0);
}

TEST_CASE("a launcher with a hostile host name, no socket or a signal ends with 255") {
  if (!is_root_with_cgroups()) return;
  const TestCgroup cgroup;
  TempDir place;
  boost::asio::io_context io;
  Relay relay(io, place / "launch/socket", cgroup.all());
  for (const char* host : {"$(reboot)", "a b", "-", "..", "a;b", "../x", "", "h\xc3\xa4t"}) {
    CAPTURE(host);
    CHECK(exit_code_of(start_rsh(place / "launch/socket", cgroup.job(), {"--", host, "true"}, place / "err")) == 255);
  }
  CHECK(exit_code_of(start_rsh("", cgroup.job(), {"10.0.0.1", "true"}, place / "err")) == 255);
  CHECK(exit_code_of(start_rsh(place / "none/socket", cgroup.job(), {"10.0.0.1", "true"}, place / "err")) == 255);
  const pid_t pid = start_rsh(place / "launch/socket", cgroup.job(), {"10.0.0.9", "true"}, place / "err");
  REQUIRE(run_until(io, [&] { return relay.requests.size() == 1; }));
  ::kill(pid, SIGTERM);
  CHECK(exit_code_of(pid) == 255);
  // Its end is noticed; a late word to it is harmless.
  run_until(
      io, [] { return false; }, 50);
  relay.socket->notify(relay.requests[0].key, LaunchState::exited, 0, "");
}
