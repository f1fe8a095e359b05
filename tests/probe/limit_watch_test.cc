// What an attempt has of a node that it shares, from what the agent knows of its GPUs; no controller is touched.
#include "agent/loop/limit_watch.h"

#include <stdlib.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

using namespace trainyard;
using namespace trainyard::agent;
namespace fs = std::filesystem;

namespace {

// A node with four GPUs, each with two cores, and an attempt on it.
struct Node {
  boost::asio::io_context io{1};
  ExecutorContext context{.io = io};
  Place place;

  Node() {
    char pattern[] = "/tmp/trainyard-part-XXXXXX";
    REQUIRE(::mkdtemp(pattern) != nullptr);
    place = {.name = "s-j1-a1", .spool = pattern, .cgroup = std::string(pattern) + "/cgroup"};
    fs::create_directories(place.job_cgroup());
    fs::create_directories(place.spool + "/logs");
    context.facts.cores = 8;
    context.limits = {
        .memory_bytes = 4'000, .processes = 100, .cpu_percent = 800, .disks = {{"/dev/d", 400, 0, 0, 40}}};
    context.parts_memory_bytes = 4'000;
    for (int i = 0; i < 4; ++i) {
      context.gpus.push_back({.uuid = "GPU-" + std::to_string(i)});
      context.gpus.back().cores = std::to_string(2 * i) + "-" + std::to_string(2 * i + 1);
    }
  }
  ~Node() { fs::remove_all(place.spool); }

  std::shared_ptr<LimitWatch> attempt(std::uint32_t gpus_per_node, const std::vector<std::string>& uuids) {
    auto launch = std::make_shared<Launch>();
    launch->job_name = "j";
    launch->spec.gpus_per_node = gpus_per_node;
    return std::make_shared<LimitWatch>(context, place, launch, 0, HoldingPaths(), uuids);
  }
};

}  // namespace

TEST_CASE("a part of a node has its GPUs' share of everything, a whole node all of it") {
  Node node;
  const auto whole = node.attempt(0, {"GPU-0", "GPU-1", "GPU-2", "GPU-3"});
  CHECK(whole->settings().memory_bytes == 4'000);
  CHECK(whole->settings().cpu_percent == 800);
  CHECK(whole->settings().disks == node.context.limits.disks);
  CHECK(whole->settings().cores.empty());
  CHECK((whole->facts().cores == 8 && !whole->facts().part));

  const auto part = node.attempt(2, {"GPU-3", "GPU-0"});
  CHECK(part->settings().memory_bytes == 2'000);
  CHECK(part->settings().cpu_percent == 400);
  CHECK(part->settings().disks == std::vector<DiskLimit>{{"/dev/d", 200, 0, 0, 20}});
  CHECK(part->settings().cores == "0-1,6-7");
  CHECK((part->facts().cores == 4 && part->facts().part));
  ShimSpec process;
  part->hold(process, false);
  CHECK(process.cores == "0-1,6-7");  // no controller holds it there
  CHECK(process.limit_groups.empty());
}

TEST_CASE("with v1's controllers a part's memory is limited although a whole node's is not; the operator may say no") {
  Node node;
  node.context.limits.memory_bytes = 0;
  CHECK(node.attempt(0, {"GPU-0"})->settings().memory_bytes == 0);
  CHECK(node.attempt(1, {"GPU-0"})->settings().memory_bytes == 1'000);
  node.context.parts_memory_bytes = 0;
  for (Gpu& gpu : node.context.gpus) gpu.cores.clear();
  const auto part = node.attempt(1, {"GPU-0"});
  CHECK((part->settings().memory_bytes == 0 && part->settings().cores.empty()));
  CHECK(part->facts().cores == 8);
}

TEST_CASE("OutOfMemory of a part names its limit and how many of the GPUs it has; its log says what it has") {
  Node node;
  node.context.parts_memory_bytes = 4ULL << 30;
  node.context.controllers.memory_v2 = true;
  const auto part = node.attempt(1, {"GPU-2"});
  CHECK(!part->out_of_memory());
  std::ofstream(node.place.job_cgroup() + "/memory.events") << "oom 1\noom_kill 1\n";
  const auto error = part->out_of_memory();
  REQUIRE(error.has_value());
  CHECK(error->message.find("more than the 1.00 GiB of memory that they may use there (the job has 1 of 4 GPUs)") !=
        std::string::npos);
  CHECK(error->details.at(1) == NamedValue{"limitBytes", std::to_string(1ULL << 30)});
  node.context.limits.memory_bytes = 4ULL << 30;
  const auto all = node.attempt(0, {"GPU-0"})->out_of_memory();
  REQUIRE(all.has_value());
  CHECK(all->message.find("GPUs") == std::string::npos);

  node.context.controllers = {};
  REQUIRE(node.attempt(1, {"GPU-2"})->create().ok());
  std::ifstream log(node.place.log("execution.log"));
  const std::string said((std::istreambuf_iterator<char>(log)), {});
  CHECK(said.find("has 1 of 4 GPUs of the node, processors 4-5 (by affinity only") != std::string::npos);
  CHECK(said.find("1.00 GiB of memory") != std::string::npos);
}
