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
      write(at + below + "/cgroup.controllers", "cpu io memory pids\n");
      write(at + below + "/cgroup.subtree_control", "");
      for (const char* file : {"/memory.max", "/memory.oom.group", "/pids.max", "/cpu.weight", "/io.weight"}) {
        write(at + below + file, "");
      }
    }
  }
  std::string job(const char* file) const { return read_text(place / "base/holding/job/" + file); }
  std::string holding(const char* file) const { return read_text(place / "base/holding/" + file); }

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

TEST_CASE("a part of a node weighs what its GPUs are, against the other holdings: v2") {
  const PretendV2 kernel;
  const Controllers controllers = find_controllers(kernel.place / "base", "trainyard-n1-");
  REQUIRE((controllers.cpu_v2 && controllers.io_v2));
  const std::string job = kernel.place / "base/holding/job";
  REQUIRE(Limits(controllers, {}, "s-j1-a1", job).create_share().ok());
  CHECK(kernel.holding("cpu.weight").empty());  // a whole node: nobody to weigh against
  const Limits part(controllers, {.gpus = 2, .node_gpus = 8}, "s-j1-a1", job);
  REQUIRE(part.create_share().ok());
  CHECK(kernel.holding("cpu.weight") == "200");
  CHECK(kernel.holding("io.weight") == "250");
  CHECK(kernel.job("cpu.weight").empty());
  CHECK(part.groups().empty());
}

TEST_CASE("a part of a node without any controller runs without weights") {
  const TempDir nowhere;
  const Limits part({}, {.gpus = 2, .node_gpus = 8, .refused_devices = {"/dev/zero"}}, "s-j1-a1", nowhere / "h/job");
  CHECK(part.create_share().ok());
  CHECK(part.groups().empty());
}

TEST_CASE("a part of a node weighs what its GPUs are, and cannot open those of others: v1") {
  const TempDir nowhere;
  const std::string prefix = "trainyard-share-test-" + std::to_string(::getpid()) + "-";
  const Controllers controllers = find_controllers(nowhere / "none", prefix);
  if (controllers.cpu_v1.empty() || controllers.blkio_v1.empty() || controllers.devices_v1.empty()) {
    WARN("skipped: cpu, blkio and devices are no controllers of cgroup v1 here, or not ours to use");
    return;
  }
  // /dev/zero is another's GPU here.
  const Limits part(controllers, {.gpus = 2, .node_gpus = 8, .refused_devices = {"/dev/zero", "/dev/nvidia-none"}},
                    "s-j1-a1", nowhere / "none/h/job");
  REQUIRE(part.create_share().ok());
  REQUIRE(part.create_share().ok());  // again, by a restarted agent
  CHECK(limited_names(controllers) == std::vector<std::string>{"s-j1-a1"});
  CHECK(read_text(controllers.cpu_v1 + "/" + prefix + "s-j1-a1/cpu.shares") == "2048\n");
  const std::string weight = controllers.blkio_v1 + "/" + prefix + "s-j1-a1/blkio.bfq.weight";
  if (::access(weight.c_str(), F_OK) == 0) CHECK(read_text(weight) == "250\n");
  REQUIRE(part.groups().size() == 3);
  // Its engine made a group of devices that allows less: the container stays there.
  CHECK(part.groups(true).size() == 2);

  std::string script;
  for (const std::string& group : part.groups()) script += "echo $$ >" + group + "/cgroup.procs && ";
  script += "echo >/dev/null && ! head -c 1 /dev/zero && ! mknod " + (nowhere / "node") + " c 1 5";
  CHECK(std::system(("/bin/sh -c '" + script + "' >/dev/null 2>&1").c_str()) == 0);
  CHECK(std::system("head -c 1 /dev/zero >/dev/null") == 0);
  // A clean-up knows the name only.
  REQUIRE(Limits(controllers, {}, "s-j1-a1", nowhere / "none/h/job").remove().ok());
  CHECK(limited_names(controllers).empty());
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
