#include <signal.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <utility>

#include "tests/exec/support.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::test;

namespace {

// A child that joins the cgroup and waits; reaped by the test.
pid_t child_in(const Cgroup& cgroup) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setsid();
    write_text(cgroup.path() + "/cgroup.procs", "0");
    for (;;) ::pause();
  }
  eventually([&] { return cgroup.contains(pid); });
  return pid;
}

}  // namespace

TEST_CASE("a cgroup knows who lives in it and below, and is empty after kill") {
  if (!is_root_with_cgroups()) return;
  const TestCgroup cgroup;
  CHECK(cgroup.all().exists());
  CHECK_FALSE(cgroup.all().populated());
  const pid_t first = child_in(cgroup.job()), second = child_in(cgroup.shim());
  CHECK(cgroup.all().populated());
  CHECK(cgroup.all().pids().size() == 2);
  CHECK(cgroup.all().contains(second));
  CHECK_FALSE(cgroup.job().contains(second));
  CHECK_FALSE(cgroup.all().contains(::getpid()));
  CHECK(cgroup_of(first).find("/job") != std::string::npos);
  CHECK_FALSE(cgroup.all().remove().ok());

  boost::asio::io_context io;
  int empty = -1;
  const auto start = std::chrono::steady_clock::now();
  wait_empty(io, cgroup.all(), 5000, [&](bool value) { empty = value ? 1 : 0; });
  CHECK(empty == -1);
  cgroup.all().kill();
  REQUIRE(run_until(io, [&] { return empty >= 0; }));
  CHECK(empty == 1);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(2));
  ::waitpid(first, nullptr, 0);
  ::waitpid(second, nullptr, 0);
}

TEST_CASE("waiting for a cgroup that is empty or not there ends at once") {
  if (!is_root_with_cgroups()) return;
  const TestCgroup cgroup;
  boost::asio::io_context io;
  int calls = 0;
  wait_empty(io, cgroup.job(), 60'000, [&](bool empty) { calls += empty ? 1 : 100; });
  wait_empty(io, Cgroup(cgroup.all().path() + "/none"), 60'000, [&](bool empty) { calls += empty ? 1 : 100; });
  CHECK(calls == 0);
  REQUIRE(run_until(
      io, [&] { return calls == 2; }, 2000));
}

TEST_CASE("many waits on cgroups that end at different times all come back") {
  if (!is_root_with_cgroups()) return;
  boost::asio::io_context io;
  int done = 0;
  for (int round = 0; round < 20; ++round) {
    const TestCgroup cgroup;
    const pid_t pid = child_in(cgroup.job());
    wait_empty(io, cgroup.all(), 5000, [&](bool empty) { done += empty ? 1 : 0; });
    io.restart();
    io.poll();
    ::kill(pid, SIGKILL);
    REQUIRE(run_until(io, [&] { return done == round + 1; }));
    ::waitpid(pid, nullptr, 0);
  }
}

TEST_CASE("a cgroup knows what ran in it and what lives in it use") {
  if (!is_root_with_cgroups()) return;
  const TestCgroup cgroup;
  CHECK(cgroup.job().cpu_time_us() == 0);
  CHECK(cgroup.all().memory_bytes() == 0);
  constexpr std::uint64_t kBytes = 50 << 20;
  const pid_t pid = ::fork();
  if (pid == 0) {
    write_text(cgroup.job().path() + "/cgroup.procs", "0");
    std::vector<char> memory(kBytes, 'x');
    while (cgroup.job().cpu_time_us() < 200'000) memory[0] = static_cast<char>(memory[0] + 1);
    for (;;) ::pause();
  }
  REQUIRE(eventually([&] { return cgroup.all().cpu_time_us() >= 200'000; }, 60'000));
  CHECK(cgroup.shim().cpu_time_us() == 0);
  CHECK(cgroup.all().memory_bytes() >= kBytes);
  CHECK(cgroup.shim().memory_bytes() == 0);
  CHECK(Cgroup("/none").cpu_time_us() == 0);
  cgroup.all().kill();
  ::waitpid(pid, nullptr, 0);
  CHECK(cgroup.all().cpu_time_us() >= 200'000);
}
