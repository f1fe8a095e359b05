#include "agent/exec/sandbox.h"

#include <signal.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "agent/exec/shim.h"
#include "tests/exec/support.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::test;

namespace {

// A holding's place, with its sandbox and what it must not see.
struct Sandboxed {
  Sandboxed() {
    for (const char* name : {"tmp", "var-tmp", "hidden", "hidden/own", "keeper"}) {
      std::filesystem::create_directories(place / name);
      ::chmod((place / name).c_str(), 0777);
    }
    ::chmod(place.path().c_str(), 0755);
    write_text(place / "hidden/secret", "s");
    write_text(place / "hidden/own/mine", "m");
    const SandboxSpec spec{.cgroup = {},
                           .tmp = place / "tmp",
                           .var_tmp = place / "var-tmp",
                           .hidden = {place / "hidden", "/no/such/place"},
                           .visible = {place / "hidden/own"},
                           .read_only = {"/sys"}};
    const auto started = start_sandbox(program("trainyard-shim"), keeper(), spec);
    INFO((started ? std::string() : started.error().message));
    REQUIRE(started.ok());
    REQUIRE(start_sandbox(program("trainyard-shim"), keeper(), spec).ok());  // it is there
  }
  ~Sandboxed() {
    if (const auto pid = sandbox_pid(keeper())) ::kill(*pid, SIGKILL);
    eventually([&] { return !sandbox_pid(keeper()); });
  }
  std::string keeper() const { return place / "keeper"; }

  // Runs it as user 20001, and returns what it printed.
  std::string run(const std::string& name, const std::string& script, bool wait = true) const {
    ShimSpec spec;
    spec.argv = {"/bin/bash", "-c", script};
    spec.environment = {{"PATH", "/usr/bin:/bin"}};
    spec.uid = spec.gid = 20'001;
    spec.groups = {44};
    spec.sandbox = keeper();
    spec.confine = true;
    const std::string directory = place / name;
    REQUIRE(write_shim_spec(directory, spec).ok());
    const auto started = start_shim(program("trainyard-shim"), directory);
    INFO((started ? std::string() : started.error().message));
    REQUIRE(started.ok());
    if (!wait) return {};
    REQUIRE(eventually([&] { return observe_shim(directory).state == ShimState::exited; }));
    return read_text(directory + "/stdout") + read_text(directory + "/stderr") + observe_shim(directory).exit.error;
  }

  TempDir place;
};

}  // namespace

TEST_CASE("processes of a sandbox see each other and their own files, and nothing of the rest") {
  if (::geteuid() != 0) {
    WARN("needs root");
    return;
  }
  const Sandboxed sandboxed;
  sandboxed.run("first", "echo shared > /dev/shm/x; echo mine > /tmp/t; sleep 1000", false);
  REQUIRE(eventually([&] { return read_text(sandboxed.place / "tmp/t") == "mine\n"; }));
  const std::string seen = sandboxed.run("second", "cat /dev/shm/x /tmp/t; id -u; id -G; pgrep -x sleep | wc -l; ls " +
                                                       (sandboxed.place / "hidden") + " | tr '\\n' ' '; cat " +
                                                       (sandboxed.place / "hidden/own/mine"));
  CHECK(seen == "shared\nmine\n20001\n20001 44\n1\nown m");
  CHECK(sandboxed.run("caps", "grep -c 'Cap.*0000000000000000' /proc/self/status; unshare -U true") ==
        "5\nunshare: unshare failed: Operation not permitted\n");
  CHECK_FALSE(std::filesystem::exists("/dev/shm/x"));
}

TEST_CASE("with the process that keeps it, all of a sandbox ends, and nothing enters it any more") {
  if (::geteuid() != 0) {
    WARN("needs root");
    return;
  }
  const Sandboxed sandboxed;
  sandboxed.run("long", "touch /tmp/up; (setsid sleep 1000 &); sleep 1000", false);
  REQUIRE(eventually([&] { return std::filesystem::exists(sandboxed.place / "tmp/up"); }));
  const auto keeper = sandbox_pid(sandboxed.keeper());
  REQUIRE(keeper.has_value());
  ::kill(*keeper, SIGKILL);
  REQUIRE(eventually([&] { return observe_shim(sandboxed.place / "long").state == ShimState::exited; }));
  CHECK(observe_shim(sandboxed.place / "long").exit.signal == SIGKILL);
  REQUIRE(eventually([&] { return !sandbox_pid(sandboxed.keeper()); }));
  CHECK(sandboxed.run("late", "true") == "the job's sandbox is gone: its process was killed");
}
