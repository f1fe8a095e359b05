#include "agent/exec/limits.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "tests/exec/support.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::test;

namespace {

void write(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

// What a kernel with the controllers in v2 shows, as plain files: base/holding/job.
struct PretendV2 {
  PretendV2() {
    std::string at = place / "base";
    for (const char* below : {"", "/holding", "/holding/job"}) {
      ::mkdir((at + below).c_str(), 0755);
      write(at + below + "/cgroup.controllers", "cpu memory pids\n");
      write(at + below + "/cgroup.subtree_control", "");
      for (const char* file : {"/memory.max", "/memory.oom.group", "/pids.max"}) write(at + below + file, "");
    }
  }
  std::string job(const char* file) const { return read_text(place / "base/holding/job/" + file); }

  TempDir place;
};

}  // namespace

TEST_CASE("with v2's controllers the holding's own cgroup is limited and nobody has to join a group") {
  const PretendV2 kernel;
  const Controllers controllers = find_controllers(kernel.place / "base", "trainyard-n1-");
  CHECK(controllers.memory_v2);
  CHECK(controllers.pids_v2);
  CHECK(controllers.memory_v1.empty());
  const Limits limits(controllers, {.memory_bytes = 1 << 30, .processes = 500}, "s-j1-a1",
                      kernel.place / "base/holding/job");
  REQUIRE(limits.create().ok());
  CHECK(kernel.job("memory.max") == "1073741824");
  CHECK(kernel.job("memory.oom.group") == "1");
  CHECK(kernel.job("pids.max") == "500");
  CHECK(limits.groups().empty());
  CHECK(!limits.out_of_memory());
  write(kernel.place / "base/holding/job/memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 2\n");
  write(kernel.place / "base/holding/job/memory.peak", "1073000000\n");
  const auto found = limits.out_of_memory();
  REQUIRE(found.has_value());
  CHECK(found->kills == 2);
  CHECK(found->peak_bytes == 1'073'000'000);
  CHECK(found->limit_bytes == 1U << 30);
  CHECK(limits.remove().ok());
}

TEST_CASE("without limits nothing is made, whatever the kernel has") {
  const PretendV2 kernel;
  const Controllers controllers = find_controllers(kernel.place / "base", "trainyard-n1-");
  const Limits limits(controllers, {}, "s-j1-a1", kernel.place / "base/holding/job");
  REQUIRE(limits.create().ok());
  CHECK(kernel.job("memory.max").empty());
  CHECK(kernel.job("pids.max").empty());
  CHECK(!limits.out_of_memory());
}

TEST_CASE("groups of v1 are found again by name and go when they are empty") {
  const TempDir nowhere;
  const std::string prefix = "trainyard-limits-test-" + std::to_string(::getpid()) + "-";
  const Controllers controllers = find_controllers(nowhere / "none", prefix);
  if (controllers.memory_v1.empty() || controllers.pids_v1.empty()) {
    WARN("skipped: memory and pids are no controllers of cgroup v1 here, or not ours to use");
    return;
  }
  const Limits limits(controllers, {.memory_bytes = 64 << 20, .processes = 20}, "s-j1-a1", nowhere / "none/h/job");
  REQUIRE(limits.create().ok());
  REQUIRE(limits.create().ok());  // again, by a restarted agent
  CHECK(limited_names(controllers) == std::vector<std::string>{"s-j1-a1"});
  REQUIRE(limits.groups().size() == 2);
  CHECK(read_text(limits.groups()[0] + "/memory.limit_in_bytes") == "67108864\n");
  CHECK(read_text(limits.groups()[1] + "/pids.max") == "20\n");
  REQUIRE(limits.remove().ok());
  CHECK(limited_names(controllers).empty());
  CHECK(limits.remove().ok());
}
