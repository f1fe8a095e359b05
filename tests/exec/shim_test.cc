#include "agent/exec/shim.h"

#include <signal.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <utility>

#include "agent/exec/files.h"
#include "agent/probe/shares.h"
#include "common/cpu_list.h"
#include "tests/exec/support.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::test;

namespace {

ShimSpec bash(const std::string& script) {
  ShimSpec spec;
  spec.argv = {"/bin/bash", "-c", script};
  spec.environment = {{"PATH", "/usr/bin:/bin"}, {"GREETING", "hello"}};
  spec.working_directory = "/";
  return spec;
}

// A shim in a directory of its own.
struct Started {
  explicit Started(const ShimSpec& spec) {
    REQUIRE(write_shim_spec(directory, spec).ok());
    const auto result = start_shim(program("trainyard-shim"), directory);
    INFO((result ? std::string() : result.error().message));
    REQUIRE(result.ok());
    pid = *result;
  }
  ~Started() {
    if (observe_shim(directory).pid == pid) ::kill(pid, SIGKILL);
    eventually([&] { return observe_shim(directory).pid == 0; });
  }
  ShimExit wait_exit() const {
    REQUIRE(eventually([&] { return observe_shim(directory).state == ShimState::exited; }));
    return observe_shim(directory).exit;
  }
  std::string out() const { return read_text(directory + "/stdout"); }
  std::string err() const { return read_text(directory + "/stderr"); }

  TempDir place;
  std::string directory = place / "shim";
  int pid = 0;
};

bool ended(const Started& started) {
  return observe_shim(started.directory).pid == 0;
}

}  // namespace

TEST_CASE("a process and what it starts keep to the cores they are given; without any they have all") {
  const std::string mine = "grep Cpus_allowed_list /proc/self/status | tr -d '\\t'; (nproc)";
  ShimSpec spec = bash(mine);
  const Started free(spec);
  free.wait_exit();
  CHECK(free.out() ==
        "Cpus_allowed_list:" + cpu_list(allowed_cpus()) + "\n" + std::to_string(allowed_cpus().size()) + "\n");
  spec.cores = std::to_string(*allowed_cpus().rbegin());
  const Started kept(spec);
  kept.wait_exit();
  CHECK(kept.out() == "Cpus_allowed_list:" + spec.cores + "\n1\n");
  spec.cores = "4000";  // none of this machine's
  CHECK(Started(spec).wait_exit().error.find("cannot keep to the processors 4000") == 0);
}

TEST_CASE("every exit code and signal of the payload arrives") {
  for (const int code : {0, 1, 2, 3, 77, 126, 127, 128, 137, 254, 255}) {
    const Started shim(bash("exit " + std::to_string(code)));
    const ShimExit exit = shim.wait_exit();
    CHECK(exit.exit_code == code);
    CHECK(exit.signal == 0);
    CHECK(exit.error.empty());
  }
  for (const int signal : {SIGHUP, SIGINT, SIGKILL, SIGSEGV, SIGTERM, SIGPIPE}) {
    const Started shim(bash("ulimit -c 0; kill -" + std::to_string(signal) + " $$; sleep 60"));
    const ShimExit exit = shim.wait_exit();
    CHECK(exit.signal == signal);
    CHECK(exit.exit_code == 128 + signal);
  }
}

TEST_CASE("stdout and stderr are kept apart and the environment is only the given one") {
  const Started shim(bash("env; pwd; echo oops >&2; ls /proc/self/fd; cat"));
  CHECK(shim.wait_exit().exit_code == 0);
  REQUIRE(eventually([&] { return ended(shim); }));
  CHECK(shim.err() == "oops\n");
  CHECK(shim.out().find("GREETING=hello\n") != std::string::npos);
  CHECK(shim.out().find("HOME=") == std::string::npos);
  // ls itself opens the directory: 0, 1, 2 and that one.
  CHECK(shim.out().find("\n0\n1\n2\n3\n") != std::string::npos);
  CHECK(shim.out().find("\n4\n") == std::string::npos);
}

TEST_CASE("a program that cannot be started is an end with a reason") {
  ShimSpec spec = bash("true");
  spec.argv = {"/nowhere/program"};
  const Started shim(spec);
  const ShimExit exit = shim.wait_exit();
  CHECK(exit.exit_code == 127);
  CHECK(exit.error.find("/nowhere/program") != std::string::npos);

  ShimSpec homeless = bash("true");
  homeless.working_directory = "/nowhere";
  const Started other(homeless);
  CHECK(other.wait_exit().error.find("/nowhere") != std::string::npos);
}

TEST_CASE("a directory starts one child, ever") {
  TempDir place;
  CHECK(observe_shim(place / "none").state == ShimState::never_started);
  const Started running(bash("sleep 60"));
  CHECK(start_shim(program("trainyard-shim"), running.directory).error().code == Code::already_exists);
  const Started over(bash("true"));
  over.wait_exit();
  REQUIRE(eventually([&] { return ended(over); }));
  CHECK(start_shim(program("trainyard-shim"), over.directory).error().code == Code::already_exists);
  // A spec that cannot be read starts nothing, and so may be started later.
  REQUIRE(write_shim_spec(place / "bad", bash("true")).ok());
  write_text(place / "bad/spec.json", "{");
  CHECK_FALSE(start_shim(program("trainyard-shim"), place / "bad").ok());
  CHECK(observe_shim(place / "bad").state == ShimState::never_started);
  REQUIRE(write_shim_spec(place / "bad", bash("true")).ok());
  CHECK(start_shim(program("trainyard-shim"), place / "bad").ok());
  CHECK(eventually([&] { return observe_shim(place / "bad").state == ShimState::exited; }));
}

TEST_CASE("fifty megabytes come through exactly, and the one who started it may die meanwhile") {
  TempDir place;
  const std::string directory = place / "shim";
  REQUIRE(write_shim_spec(directory, bash("seq 1 6600000; echo done >&2; exit 5")).ok());
  const pid_t starter = ::fork();
  if (starter == 0) {
    const auto started = start_shim(program("trainyard-shim"), directory);
    ::_exit(started.ok() ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(starter, &status, 0) == starter);
  REQUIRE(status == 0);
  REQUIRE(eventually([&] { return observe_shim(directory).state == ShimState::exited; }, 60'000));
  CHECK(observe_shim(directory).exit.exit_code == 5);
  REQUIRE(eventually([&] { return observe_shim(directory).pid == 0; }));
  std::string expected;
  for (int i = 1; i <= 6'600'000; ++i) expected += std::to_string(i) + "\n";
  CHECK(expected.size() > 50'000'000);
  CHECK((read_text(directory + "/stdout") == expected));
  CHECK(read_text(directory + "/stderr") == "done\n");
}

TEST_CASE("the shim is not the child of who started it, and hears no hang-up") {
  const Started shim(bash("sleep 60"));
  std::istringstream stat(read_text("/proc/" + std::to_string(shim.pid) + "/stat"));
  std::string pid, name, state;
  int parent = 0;
  stat >> pid >> name >> state >> parent;
  CHECK(parent != ::getpid());
  ::kill(shim.pid, SIGHUP);
  ::kill(shim.pid, SIGTERM);  // a shutdown's: only the payload's end matters
  const ShimObservation seen = observe_shim(shim.directory);
  REQUIRE(seen.state == ShimState::running);
  REQUIRE(eventually([&] { return observe_shim(shim.directory).child_pid > 0; }));
  ::kill(observe_shim(shim.directory).child_pid, SIGKILL);
  CHECK(shim.wait_exit().signal == SIGKILL);
}

TEST_CASE("an exit is noticed at once, while the agent runs and when it comes late") {
  const Started shim(bash("echo out; sleep 0.3; exit 9"));
  boost::asio::io_context io;
  int calls = 0;
  ShimObservation seen;
  const auto note = [&](const ShimObservation& observation) {
    ++calls;
    seen = observation;
  };
  ShimWatch watch(io, shim.directory, note);
  CHECK(calls == 0);
  REQUIRE(run_until(io, [&] { return calls > 0; }));
  CHECK(seen.state == ShimState::exited);
  CHECK(seen.exit.exit_code == 9);
  CHECK(shim.out() == "out\n");  // what it wrote is in the file by then
  run_until(
      io, [] { return false; }, 50);
  CHECK(calls == 1);
  ShimWatch late(io, shim.directory, note);
  REQUIRE(run_until(io, [&] { return calls == 2; }));
  CHECK(seen.exit.exit_code == 9);
  { ShimWatch cancelled(io, shim.directory, note); }
  run_until(
      io, [] { return false; }, 50);
  CHECK(calls == 2);
}

TEST_CASE("a killed shim is lost, and that is noticed") {
  const Started shim(bash("exec sleep 60"));
  REQUIRE(eventually([&] { return observe_shim(shim.directory).child_pid > 0; }));
  const int child = observe_shim(shim.directory).child_pid;
  boost::asio::io_context io;
  int calls = 0;
  ShimState state = ShimState::running;
  ShimWatch watch(io, shim.directory, [&](const ShimObservation& seen) {
    ++calls;
    state = seen.state;
  });
  run_until(
      io, [] { return false; }, 50);
  CHECK(calls == 0);
  ::kill(shim.pid, SIGKILL);
  REQUIRE(run_until(io, [&] { return calls == 1; }));
  CHECK(state == ShimState::lost);
  CHECK_FALSE(open_shim_pidfd(shim.directory).has_value());
  ::kill(child, SIGKILL);
}

TEST_CASE("a shim whose directory was removed ends with its payload") {
  Started started(bash("echo $$; sleep 1000"));
  REQUIRE(eventually([&] { return started.out().ends_with('\n'); }));
  const int payload = std::stoi(started.out());
  std::filesystem::remove_all(started.directory);
  ::kill(payload, SIGKILL);
  CHECK(eventually([&] { return process_start_time(started.pid) == 0; }));
}

TEST_CASE("a descendant that keeps the pipes delays neither exit.json nor the end of the shim") {
  const Started shim(bash("(echo early; sleep 0.3; echo late; exec sleep 60) & exit 4"));
  CHECK(shim.wait_exit().exit_code == 4);
  CHECK(observe_shim(shim.directory).lingering);
  REQUIRE(eventually([&] { return shim.out() == "early\nlate\n"; }));
  boost::asio::io_context io;
  int by_itself = -1;
  end_shim(io, shim.directory, 100, [&](bool value) { by_itself = value ? 1 : 0; });
  REQUIRE(run_until(io, [&] { return by_itself >= 0; }));
  CHECK(by_itself == 0);
  CHECK(observe_shim(shim.directory).state == ShimState::exited);
  CHECK_FALSE(observe_shim(shim.directory).lingering);
  int again = -1;
  end_shim(io, shim.directory, 100, [&](bool value) { again = value ? 1 : 0; });
  REQUIRE(run_until(io, [&] { return again == 1; }));
}

TEST_CASE("a full disk loses output, not the job, and says how much") {
  ShimSpec spec = bash("head -c 100000 /dev/zero; exit 6");
  spec.stdout_path = "/dev/full";
  const Started shim(spec);
  const ShimExit exit = shim.wait_exit();
  CHECK(exit.exit_code == 6);
  CHECK(exit.dropped_bytes == 100000);
}

TEST_CASE("the payload lives in its cgroup, the shim beside it; a daemon that ignores TERM dies with the cgroup") {
  if (!is_root_with_cgroups()) return;
  const TestCgroup cgroup;
  ShimSpec spec = bash(
      "trap '' TERM; (trap '' TERM; setsid bash -c 'trap \"\" TERM; setsid sleep 600 & sleep 600' >/dev/null 2>&1 &) ; "
      "echo $$; sleep 0.2; exit 0");
  spec.cgroup = cgroup.job().path();
  const Started shim(spec);
  CHECK(cgroup.shim().contains(shim.pid));
  CHECK_FALSE(cgroup.job().contains(shim.pid));
  CHECK(shim.wait_exit().exit_code == 0);
  REQUIRE(eventually([&] { return cgroup.job().pids().size() >= 2; }));
  cgroup.job().signal_all(SIGTERM);
  boost::asio::io_context io;
  int empty = -1;
  wait_empty(io, cgroup.job(), 100, [&](bool value) { empty = value ? 1 : 0; });
  REQUIRE(run_until(io, [&] { return empty >= 0; }));
  CHECK(empty == 0);  // it does ignore it
  cgroup.job().kill();
  empty = -1;
  wait_empty(io, cgroup.job(), 5000, [&](bool value) { empty = value ? 1 : 0; });
  REQUIRE(run_until(io, [&] { return empty >= 0; }));
  CHECK(empty == 1);
  CHECK(cgroup.job().pids().empty());
  CHECK(cgroup.job().remove().ok());
  CHECK_FALSE(cgroup.job().exists());
}

TEST_CASE("the payload gives up its rights for good") {
  if (!is_root_with_cgroups()) return;
  ShimSpec spec = bash("id -u; id -g; id -G; grep NoNewPrivs /proc/self/status; grep CapEff /proc/self/status");
  spec.uid = 65534;
  spec.gid = 65534;
  const Started shim(spec);
  CHECK(shim.wait_exit().exit_code == 0);
  CHECK(shim.out() == "65534\n65534\n65534\nNoNewPrivs:\t1\nCapEff:\t0000000000000000\n");
}

TEST_CASE("a flood of output is cut in the middle, with the number of bytes that are missing") {
  ShimSpec spec = bash("echo begin; head -c 3000000 /dev/zero | tr '\\0' 'x'; echo; echo the end; echo short >&2");
  spec.log_limit_bytes = 1'000'000;
  const Started shim(spec);
  CHECK(shim.wait_exit().exit_code == 0);
  const std::string out = shim.out();
  CHECK(out.starts_with("begin\nxxx"));
  CHECK(out.ends_with("x\nthe end\n"));
  const auto mark = out.find("\n[trainyard: ");
  REQUIRE(mark == 1'000'000);
  const auto line_end = out.find('\n', mark + 1);
  const std::uint64_t missing = std::stoull(out.substr(mark + 13));
  CHECK(out.size() - (line_end + 1 - mark) + missing == 6 + 3'000'000 + 1 + 8);
  CHECK(shim.err() == "short\n");
}
