// What of a machine goes with each GPU: cores near it, and equal shares of what can be counted.
#include "agent/probe/shares.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "agent/probe/nvlink.h"
#include "common/cpu_list.h"
#include "tests/exec/sysfs.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::test;

namespace {

// Cores of so many threads, numbered as Linux does: first all first threads, then all second ones.
std::vector<Core> machine(std::uint32_t numa_nodes, std::uint32_t cores_each, std::uint32_t threads = 1) {
  std::vector<Core> cores;
  for (std::uint32_t core = 0; core < numa_nodes * cores_each; ++core) {
    cores.push_back({static_cast<std::int32_t>(core / cores_each), {}});
    for (std::uint32_t i = 0; i < threads; ++i) cores.back().cpus.push_back(core + i * numa_nodes * cores_each);
  }
  return cores;
}

// One GPU for each of these NUMA nodes, in the order of the bus.
std::vector<Gpu> gpus_near(const std::vector<std::int32_t>& nodes) {
  std::vector<Gpu> gpus;
  for (const std::int32_t node : nodes) {
    const std::string number = std::to_string(gpus.size());
    gpus.push_back({.uuid = "GPU-" + number, .pci_bus_id = "0000:0" + number, .numa_node = node});
  }
  return gpus;
}

std::vector<std::string> shared(const std::vector<Core>& cores, std::vector<Gpu> gpus) {
  share_cores(cores, gpus);
  std::vector<std::string> texts;
  for (const Gpu& gpu : gpus) texts.push_back(gpu.cores);
  return texts;
}

using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("each GPU has the same number of whole cores, near it") {
  CHECK(shared(machine(2, 4), gpus_near({0, 0, 1, 1})) == Texts{"0-1", "2-3", "4-5", "6-7"});
  CHECK(shared(machine(2, 4), gpus_near({1, 0, 1, 0})) == Texts{"4-5", "0-1", "6-7", "2-3"});
  // Threads of one core stay together.
  CHECK(shared(machine(2, 2, 2), gpus_near({1, 0})) == Texts{"2-3,6-7", "0-1,4-5"});
  CHECK(shared(machine(1, 4, 2), gpus_near({-1, -1})) == Texts{"0-1,4-5", "2-3,6-7"});
  // One more for some, where they cannot be the same.
  CHECK(shared(machine(1, 5), gpus_near({0, 0})) == Texts{"0-1", "2-4"});
}

TEST_CASE("what is not near goes to those that have less than their share") {
  CHECK(shared(machine(2, 4), gpus_near({0, 0})) == Texts{"0-1,4-5", "2-3,6-7"});
  CHECK(shared(machine(2, 3), gpus_near({0, 0, 1})) == Texts{"0,5", "1-2", "3-4"});
  // A GPU whose place is not known, or has no cores, is not without.
  CHECK(shared(machine(2, 2), gpus_near({-1, 1})) == Texts{"0-1", "2-3"});
  CHECK(shared(machine(1, 2), gpus_near({7, 7})) == Texts{"0", "1"});
}

TEST_CASE("no core goes with two GPUs, and none is left over, whatever the machine") {
  for (std::uint32_t numa = 1; numa <= 4; ++numa) {
    for (std::uint32_t each = 1; each <= 9; each += 2) {
      for (std::uint32_t count = 1; count <= numa * each && count <= 8; ++count) {
        std::vector<std::int32_t> near;
        for (std::uint32_t i = 0; i < count; ++i) near.push_back(static_cast<std::int32_t>(i * i % (numa + 1)) - 1);
        std::set<std::uint32_t> all;
        std::size_t fewest = 1'000, most = 0;
        for (const std::string& text : shared(machine(numa, each, 2), gpus_near(near))) {
          const auto cpus = parse_cpu_list(text);
          fewest = std::min(fewest, cpus.size()), most = std::max(most, cpus.size());
          for (const std::uint32_t cpu : cpus) CHECK(all.insert(cpu).second);
        }
        CHECK(all.size() == std::size_t{numa} * each * 2);
        CHECK(most - fewest <= 2);  // a core
      }
    }
  }
}

TEST_CASE("with fewer cores than GPUs their threads are given, and then neighbours share one") {
  CHECK(shared(machine(1, 2, 2), gpus_near({0, 0, 0, 0})) == Texts{"0", "2", "1", "3"});
  CHECK(shared(machine(1, 2), gpus_near({0, 0, 0, 0})) == Texts{"0", "0", "1", "1"});
  CHECK(shared({}, gpus_near({0, 0})) == Texts{"", ""});
  CHECK(shared(machine(1, 2), {}).empty());
}

TEST_CASE("who has which cores depends on neither the list's order nor on faults") {
  const auto cores = machine(2, 8);
  auto gpus = gpus_near({0, 0, 1, 1});
  share_cores(cores, gpus);
  auto turned = gpus_near({0, 0, 1, 1});
  std::reverse(turned.begin(), turned.end());
  turned[0].fault = "XID 79";
  share_cores(cores, turned);
  for (const Gpu& gpu : turned) {
    CHECK(cores_of(turned, {gpu.uuid}) == cores_of(gpus, {gpu.uuid}));
  }
}

TEST_CASE("MIG instances divide the cores of their GPU, and only these") {
  auto gpus = gpus_near({0, 1});
  gpus.push_back({.uuid = "MIG-0", .parent_uuid = "GPU-1"});
  gpus.push_back({.uuid = "MIG-1", .parent_uuid = "GPU-1"});
  CHECK(count_parts(gpus) == 3);
  CHECK(shared(machine(2, 4), gpus) == Texts{"0-3", "4-7", "4-5", "6-7"});
  CHECK(part_of(800, gpus, {"GPU-0"}) == 400);
  CHECK(part_of(800, gpus, {"MIG-0"}) == 200);
  CHECK(part_of(800, gpus, {"MIG-0", "MIG-1"}) == 400);
}

TEST_CASE("a part has of memory what its GPUs are of the machine's") {
  const auto gpus = gpus_near({0, 0, 1, 1});
  CHECK(part_of(1'000, gpus, {"GPU-0"}) == 250);
  CHECK(part_of(1'000, gpus, {"GPU-0", "GPU-3"}) == 500);
  CHECK(part_of(1'000, gpus, {"GPU-gone"}) == 250);
  CHECK(part_of(1'000, {}, {"GPU-gone"}) == 1'000);
  CHECK(part_of(2, gpus, {"GPU-0"}) == 1);  // never nothing: 0 is no limit
}

TEST_CASE("cores are found in /sys, with their threads and NUMA nodes, as far as they are allowed") {
  const Sysfs sys;
  sys.file("devices/system/node/node0/cpulist", "0-1,4-5\n");
  sys.file("devices/system/node/node1/cpulist", "2-3,6-7\n");
  sys.file("devices/system/node/possible", "0-1\n");
  for (std::uint32_t cpu = 0; cpu < 8; ++cpu) {
    sys.file("devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list",
             std::to_string(cpu % 4) + "," + std::to_string(cpu % 4 + 4) + "\n");
  }
  CHECK(find_cores(sys.path(), {0, 1, 2, 3, 4, 5, 6, 7}) ==
        std::vector<Core>{{0, {0, 4}}, {0, {1, 5}}, {1, {2, 6}}, {1, {3, 7}}});
  CHECK(find_cores(sys.path(), {3, 5, 7}) == std::vector<Core>{{0, {5}}, {1, {3, 7}}});
  CHECK(find_cores("/nowhere", {0, 1}) == std::vector<Core>{{-1, {0}}, {-1, {1}}});
  const auto here = allowed_cpus();
  CHECK(!here.empty());
  CHECK(!find_cores("/sys", here).empty());
}

TEST_CASE("GPUs are one island that reach each other by NVLink, if over others or a switch") {
  const auto links = [](std::vector<std::vector<std::string>> ends) {
    std::vector<NvLinks> gpus;
    for (const auto& each : ends) {
      gpus.push_back({.bus_id = "00000000:" + std::to_string(gpus.size()) + "A:00.0"});
      for (const std::string& end : each) {
        end == "switch" ? ++gpus.back().to_switches : ++gpus.back().ends["00000000:" + end + "a:00.0"];
      }
    }
    return islands(gpus);
  };
  using Numbers = std::vector<std::int32_t>;
  CHECK(links({{}, {}}) == Numbers{-1, -1});
  CHECK(links({{"1"}, {"0"}, {"3", "3"}, {"2", "2"}}) == Numbers{0, 0, 2, 2});  // bridges
  CHECK(links({{"1"}, {"0", "2"}, {"1"}, {}}) == Numbers{0, 0, 0, -1});
  CHECK(links({{"switch"}, {"switch", "switch"}, {"switch"}}) == Numbers{0, 0, 0});
  CHECK(links({{"3"}, {"2"}, {}, {}}) == Numbers{0, 1, 1, 0});  // seen from one end
  // One that is alone at a switch, or whose neighbour is lost or no GPU, has nobody.
  CHECK(links({{"switch"}, {}, {"9"}}) == Numbers{-1, -1, -1});
}
