#include "agent/exec/limits.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "agent/probe/shares.h"
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
      write(at + below + "/cgroup.controllers", "cpu cpuset io memory pids\n");
      write(at + below + "/cgroup.subtree_control", "");
      for (const char* file : {"/memory.max", "/memory.oom.group", "/pids.max", "/cpu.weight", "/io.weight", "/cpu.max",
                               "/io.max", "/cpuset.cpus"}) {
        write(at + below + file, "");
      }
    }
  }
  std::string job(const char* file) const { return read_text(place / "base/holding/job/" + file); }
  std::string holding(const char* file) const { return read_text(place / "base/holding/" + file); }

  TempDir place;
};

// A whole disk of this machine, with its number; empty: it has none.
std::pair<std::string, std::string> some_disk() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/block", error)) {
    const std::string device = "/dev/" + entry.path().filename().string();
    std::string number;
    std::ifstream(entry.path() / "dev") >> number;
    std::uint64_t sectors = 0;
    std::ifstream(entry.path() / "size") >> sectors;
    if (sectors > 4096 && !number.starts_with("7:") && ::access(device.c_str(), R_OK) == 0) return {device, number};
  }
  return {};
}

bool runs_in(const Limits& limits, const std::string& script) {
  std::string text;
  for (const std::string& group : limits.groups()) text += "echo $$ >" + group + "/cgroup.procs && ";
  return std::system(("/bin/bash -c '" + text + script + "' >/dev/null 2>&1").c_str()) == 0;
}

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

TEST_CASE("a part of a node has its own cores, a whole one has all: v2") {
  const PretendV2 kernel;
  const Controllers controllers = find_controllers(kernel.place / "base", "trainyard-n1-");
  REQUIRE(controllers.cpuset_v2);
  CHECK(controllers.cpuset_v1.empty());
  const std::string job = kernel.place / "base/holding/job";
  const Limits whole(controllers, {}, "s-j1-a1", job);
  REQUIRE(whole.create_share().ok());
  CHECK(kernel.job("cpuset.cpus").empty());
  CHECK(whole.affinity().empty());
  const Limits part(controllers, {.gpus = 1, .node_gpus = 2, .cores = "0-3,8"}, "s-j1-a1", job);
  CHECK(part.affinity() == "0-3,8");  // not made yet: nothing holds its processes there
  REQUIRE(part.create_share().ok());
  CHECK(kernel.job("cpuset.cpus") == "0-3,8");
  CHECK(kernel.holding("cpuset.cpus").empty());  // the shims stay outside
  CHECK(part.affinity().empty());
  CHECK(part.groups().empty());
}

TEST_CASE("without a cpuset controller the processes of a part keep to its cores by themselves") {
  const TempDir nowhere;
  const Limits part({}, {.gpus = 1, .node_gpus = 2, .cores = "0-3"}, "s-j1-a1", nowhere / "h/job");
  CHECK(part.create_share().ok());
  CHECK(part.groups().empty());
  CHECK(part.affinity() == "0-3");
  CHECK(Limits({}, {.gpus = 1, .node_gpus = 2}, "s-j1-a1", nowhere / "h/job").affinity().empty());
}

TEST_CASE("parts of a node run on cores of their own: v1") {
  const TempDir nowhere;
  const std::string prefix = "trainyard-cores-test-" + std::to_string(::getpid()) + "-";
  const Controllers controllers = find_controllers(nowhere / "none", prefix);
  const auto cpus = allowed_cpus();
  if (controllers.cpuset_v1.empty() || cpus.size() < 2) {
    WARN("skipped: cpuset is no controller of cgroup v1 here, or not ours to use, or there is one processor only");
    return;
  }
  const std::string first = std::to_string(*cpus.begin()), last = std::to_string(*cpus.rbegin());
  const std::string job = nowhere / "none/h/job";
  const Limits one(controllers, {.gpus = 1, .node_gpus = 2, .cores = first}, "s-j1-a1", job);
  const Limits other(controllers, {.gpus = 1, .node_gpus = 2, .cores = last}, "s-j2-a1", job);
  const Limits beyond(controllers, {.gpus = 1, .node_gpus = 2, .cores = "4000"}, "s-j3-a1", job);
  REQUIRE(one.create_share().ok());
  REQUIRE(one.create_share().ok());  // again, by a restarted agent
  REQUIRE(other.create_share().ok());
  CHECK(one.affinity().empty());
  CHECK(runs_in(one, "grep -qx \"Cpus_allowed_list:[[:space:]]" + first + "\" /proc/self/status && [ $(nproc) = 1 ]"));
  CHECK(runs_in(other, "grep -qx \"Cpus_allowed_list:[[:space:]]" + last + "\" /proc/self/status"));
  // It cannot leave them, which an affinity alone would let it.
  CHECK(!runs_in(one, "taskset -pc " + last + " $$"));
  CHECK(runs_in(one, "taskset -pc " + first + " $$"));
  // Cores that are not there: no group that takes no process, and the others have what they had.
  CHECK(!beyond.create_share().ok());
  CHECK(beyond.affinity() == "4000");
  CHECK(::access((controllers.cpuset_v1 + "/" + prefix + "s-j3-a1").c_str(), F_OK) != 0);
  for (const char* name : {"s-j1-a1", "s-j2-a1", "s-j3-a1"}) REQUIRE(Limits(controllers, {}, name, job).remove().ok());
  CHECK(limited_names(controllers).empty());
}

TEST_CASE("hard limits of processors and disks are the job's own: v2") {
  const auto [disk, number] = some_disk();
  const PretendV2 kernel;
  const Controllers controllers = find_controllers(kernel.place / "base", "trainyard-n1-");
  LimitSettings settings{.cpu_percent = 250};
  if (!disk.empty()) settings.disks = {{disk, 1 << 20, 0, 0, 500}};
  CHECK(why_not(controllers, 250, settings.disks).empty());
  REQUIRE(Limits(controllers, settings, "s-j1-a1", kernel.place / "base/holding/job").create().ok());
  CHECK(kernel.job("cpu.max") == "250000 100000");
  CHECK(kernel.holding("cpu.max").empty());
  if (!disk.empty()) CHECK(kernel.job("io.max") == number + " rbps=1048576 wiops=500");
}

TEST_CASE("hard limits hold what would use more: v1") {
  const TempDir nowhere;
  const std::string prefix = "trainyard-hard-test-" + std::to_string(::getpid()) + "-";
  const Controllers controllers = find_controllers(nowhere / "none", prefix);
  const auto [disk, number] = some_disk();
  if (controllers.cpu_v1.empty() || controllers.blkio_v1.empty() || disk.empty()) {
    WARN("skipped: cpu and blkio are no controllers of cgroup v1 here, or not ours to use, or there is no disk");
    return;
  }
  const Limits limits(controllers, {.cpu_percent = 20, .disks = {{disk, 256 << 10, 0, 0, 90}}}, "s-j1-a1",
                      nowhere / "none/h/job");
  REQUIRE(limits.create().ok());
  REQUIRE(limits.create().ok());
  REQUIRE(limits.groups().size() == 2);
  const std::string cpu = controllers.cpu_v1 + "/" + prefix + "s-j1-a1",
                    io = controllers.blkio_v1 + "/" + prefix + "s-j1-a1";
  CHECK(read_text(cpu + "/cpu.cfs_quota_us") == "20000\n");
  CHECK(read_text(io + "/blkio.throttle.read_bps_device") == number + " 262144\n");
  CHECK(read_text(io + "/blkio.throttle.write_iops_device") == number + " 90\n");
  CHECK(read_text(io + "/blkio.throttle.write_bps_device").empty());
  CHECK(runs_in(limits, "timeout 20 bash -c \"until grep -q [r]_throttled.[1-9] " + cpu + "/cpu.stat; do :; done\""));
  // Half a megabyte at a quarter a second; without the limit it takes no time.
  const std::string file = nowhere / "file";
  REQUIRE(std::system(("dd if=/dev/zero of=" + file + " bs=64k count=8 conv=fsync 2>/dev/null").c_str()) == 0);
  struct stat about {};
  REQUIRE(::stat(file.c_str(), &about) == 0);
  if (std::to_string(major(about.st_dev)) + ":" + std::to_string(minor(about.st_dev)) == number) {
    const auto began = std::chrono::steady_clock::now();
    CHECK(runs_in(limits, "dd if=" + file + " of=/dev/null bs=64k iflag=direct"));
    CHECK(std::chrono::steady_clock::now() - began > std::chrono::seconds(1));
  } else {
    WARN("not seen to hold: /tmp is not on " + disk);
  }
  REQUIRE(limits.remove().ok());
  CHECK(limited_names(controllers).empty());
}

TEST_CASE("a hard limit that cannot be kept is refused, with what is missing") {
  const TempDir place;
  write(place / "file", "");
  const auto [disk, number] = some_disk();
  Controllers none, v1;
  v1.cpu_v1 = v1.blkio_v1 = "/somewhere";
  CHECK(why_not(none, 0, {}).empty());
  CHECK(why_not(none, 100, {}).find("cpu_limit_percent: there is no cpu controller of cgroups here") == 0);
  CHECK(why_not(v1, 100, {}).empty());
  CHECK(why_not(v1, 0, {{place / "file", 1}}) ==
        "disk_limits: " + (place / "file") + " is no disk: name one as /dev/nvme0n1");
  if (disk.empty()) return;
  CHECK(why_not(none, 0, {{disk, 1}}).find("disk_limits: there is no io (v1: blkio) controller") == 0);
  CHECK(why_not(v1, 0, {{disk, 1}}).empty());
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
  CHECK(limits.groups().empty());  // as of a holding that an agent without limits began
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
