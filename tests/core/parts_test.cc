// Parts of nodes: jobs that share a node by its GPUs, beside those that take whole ones.
#include <catch2/catch.hpp>
#include <set>
#include <sstream>

#include "controller/core/engine.h"
#include "controller/core/view.h"
#include "tests/core/scene.h"
#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;

namespace {

// A cluster of such nodes, ready.
void gpu_cluster(World& w, int nodes, int gpus) {
  for (int i = 1; i <= nodes; ++i) {
    const std::string name = "n" + std::to_string(i);
    PretendAgent& agent = w.add_agent(name);
    agent.inventory.gpus.clear();
    for (int gpu = 0; gpu < gpus; ++gpu) {
      agent.inventory.gpus.push_back({name + "-gpu" + std::to_string(gpu), "V100", 32});
      agent.inventory.gpus.back().numa_node = gpu < gpus / 2 ? 0 : 1;
    }
    w.report(name);
  }
  w.cluster("nc6", static_cast<std::uint32_t>(nodes));
  w.settle();
}

void submit_part(World& w, const std::string& name, std::uint32_t nodes, std::uint32_t gpus) {
  JobSpec spec = World::spec(nodes);
  spec.gpus_per_node = gpus;
  REQUIRE(w.command(SubmitJob{World::job_ref(name), World::cluster_ref("nc6"), spec, {}, "unique-" + name}).ok());
}

std::vector<std::string> gpus_of(const World& w, const std::string& node, const std::string& job) {
  for (const auto& [key, holding] : w.state().holdings) {
    if (key.first == w.node(node).id && holding.job_name == job) return holding.gpu_uuids;
  }
  return {};
}

// Of a node whose GPUs are described in words "ISLAND/NUMA" ("-": no island; "*": another has it), the positions of
// those that a job gets.
std::string chosen(const std::string& gpus, std::uint32_t count) {
  core::State state;
  core::Node node{.id = {1}};
  core::Holding held{.id = {JobId{1}, 1}, .node = {1}};
  std::istringstream words(gpus);
  for (std::string word; words >> word;) {
    const std::string uuid = std::to_string(node.inventory.gpus.size());
    Gpu gpu{.uuid = uuid, .numa_node = std::stoi(word.substr(word.find('/') + 1))};
    if (word.front() != '-') gpu.nvlink_island = std::stoi(word);
    if (word.back() == '*') held.gpu_uuids.push_back(uuid);
    node.inventory.gpus.push_back(gpu);
  }
  state.holdings.emplace(std::pair(held.node, held.id), held);
  std::string text;
  for (const std::string& uuid : core::choose_gpus(state, node, count)) text += (text.empty() ? "" : " ") + uuid;
  return text;
}

}  // namespace

TEST_CASE("a part's GPUs are on one island of NVLink where that can be, else near one memory") {
  // Bridged pairs: whole ones, even over two memories; the memory alone would have given 0 and 2.
  CHECK(chosen("0/0 1/1 1/0 0/1", 2) == "0 3");
  CHECK(chosen("0/0* 1/1 1/0 0/1", 2) == "1 2");
  // One GPU: that of the pair that is broken already.
  CHECK(chosen("0/0 0/0 2/0 2/0*", 1) == "2");
  CHECK(chosen("-/0 1/0 1/0", 1) == "0");
  // More than an island has: near one memory, whole islands first.
  CHECK(chosen("0/0 0/0 2/0 2/0 4/1 4/1 6/1 6/1", 4) == "0 1 2 3");
  CHECK(chosen("0/0* 0/0 2/0 2/0 4/1 4/1 6/1* 6/1", 3) == "1 2 3");
  CHECK(chosen("0/0 1/0 1/0 -/0 2/1", 3) == "1 2 3");
  CHECK(chosen("0/0* 0/0 2/0 2/0 4/1 4/1 6/1* 6/1*", 4) == "1 2 3 4");
}

TEST_CASE("on one island for all, and without any, the memory decides, and where the fewest are left over") {
  CHECK(chosen("0/0 0/0 0/0 0/0 0/1 0/1 0/1 0/1", 4) == "0 1 2 3");
  CHECK(chosen("0/0* 0/0 0/0 0/0 0/1 0/1 0/1 0/1", 4) == "4 5 6 7");
  CHECK(chosen("0/0 0/0 0/0 0/1 0/1", 2) == "3 4");
  CHECK(chosen("-/0 -/0 -/0 -/1 -/1", 2) == "3 4");
  CHECK(chosen("-/0 -/0 -/1", 1) == "2");
  CHECK(chosen("-/0 -/0 -/1", 3) == "0 1 2");
  CHECK(chosen("-/-1 -/-1 -/-1", 2) == "0 1");
  // None has so many: most of them from the larger.
  CHECK(chosen("-/0 -/0 -/1 -/1 -/1", 4) == "0 2 3 4");
}

TEST_CASE("a node shows who has which of its GPUs") {
  World w;
  gpu_cluster(w, 1, 2);
  submit_part(w, "a", 1, 1);
  w.settle();
  const auto holders = core::view(w.state(), w.node("n1"), w.now).holders;
  CHECK(holders == std::map<std::string, std::string>{{"n1-gpu0", "a (attempt 1)"}});
}

TEST_CASE("jobs share a node when they ask for part of it, and fill the fullest first") {
  CHECK(places("nodes 2x8\nqueued a 1x2\nqueued b 1x4\nqueued c 1x2\nqueued d 1x1") == "a:n1 b:n1 c:n1 d:n2");
  CHECK(places("nodes 2x8\nqueued a 1x6\nqueued b 1x4\nqueued c 1x2\nqueued d 1x4") == "a:n1 b:n2 c:n1 d:n2");
  // A node that is used already goes before a free one: whole nodes stay whole.
  CHECK(places("nodes 3x4\nruns a 1x1\nqueued b 1x3\nqueued c 2") == "b:n1 c:n2,n3");
  // The fullest that has enough, wherever it stands: here n2.
  CHECK(places("nodes 3x4\nruns a 1x2\nruns b 1x3\nqueued c 1x1\nqueued d 1x2\nqueued e 1") == "c:n2 d:n1 e:n3");
  CHECK(places("nodes 3x4\nruns a 1x2\nruns b 1x3\nqueued c 2x1\nqueued d 1") == "c:n2,n1 d:n3");
}

TEST_CASE("a job of whole nodes has nobody beside it, and gets no node that is shared") {
  CHECK(places("nodes 2x4\nruns a 1x1\nqueued b 2\nqueued c 1x1 limit 10") ==
        "");  // b holds what is free: no end is known
  CHECK(places("nodes 2x4\nruns a 1x1 since 0 limit 60\nqueued b 2\nqueued c 1x3 limit 60") == "c:n1");
  CHECK(places("nodes 2x4\nruns a 1x1 since 0 limit 60\nqueued b 2\nqueued c 1x3 limit 61") == "");
  CHECK(places("nodes 1x4\nruns a 1\nqueued b 1x1") == "");
}

TEST_CASE("a gang of parts gets its GPUs on different nodes, all or none") {
  CHECK(places("nodes 3x4\nqueued a 3x2\nqueued b 2x2\nqueued c 2x2") == "a:n1,n2,n3 b:n1,n2");
  CHECK(places("nodes 2x4\nqueued a 1x3\nqueued b 2x2\nqueued c 1x1 limit 5") == "a:n1 c:n1");
}

TEST_CASE("a node with a faulty GPU is no whole node, but its other GPUs are given; a drained one is not") {
  CHECK(places("nodes 2x4\nfaulty 1\nqueued a 1\nqueued b 1\nqueued c 1x3\nqueued d 1x1") == "a:n1 c:n2");
  CHECK(places("nodes 2x4\ndrained 1\nqueued a 1\nqueued b 1x1") == "a:n1");
  // Who needs what is out of service does not hold up the others.
  CHECK(places("nodes 2x4\ndrained 1\nqueued a 2\nqueued b 1") == "b:n1");
  CHECK(places("nodes 2x4\nfaulty 1\nqueued a 2\nqueued b 1") == "b:n1");
  CHECK(places("nodes 2x4\nfaulty 1\nqueued a 1x4\nqueued b 1x4\nqueued c 1x3") == "a:n1 c:n2");
}

TEST_CASE("a part that no node has is passed over") {
  CHECK(places("nodes 2x4\nqueued a 1x5\nqueued b 1x4") == "b:n1");
  CHECK(places("nodes 2\nqueued a 1x2\nqueued b 1") == "b:n1");
  CHECK(places("nodes 2\nqueued a 1x1\nqueued b 1") == "b:n1");  // they have no GPU
}

TEST_CASE("each job has its own GPUs, near one memory where that can be") {
  World w;
  gpu_cluster(w, 1, 8);
  submit_part(w, "a", 1, 2);
  submit_part(w, "b", 1, 4);
  submit_part(w, "c", 1, 2);
  submit_part(w, "d", 1, 1);
  w.settle();
  CHECK(gpus_of(w, "n1", "a") == std::vector<std::string>{"n1-gpu0", "n1-gpu1"});
  CHECK(gpus_of(w, "n1", "b") == std::vector<std::string>{"n1-gpu4", "n1-gpu5", "n1-gpu6", "n1-gpu7"});
  CHECK(gpus_of(w, "n1", "c") == std::vector<std::string>{"n1-gpu2", "n1-gpu3"});
  CHECK(w.job("d").state == JobState::queued);
  const Orders orders = w.orders("n1");
  REQUIRE(orders.holdings.size() == 3);
  CHECK(w.job("a").state == JobState::running);
  CHECK(w.job("c").state == JobState::running);

  w.head_exits("b", 0);
  w.settle();
  CHECK(w.job("b").state == JobState::succeeded);
  CHECK(w.node("n1").state == NodeState::running);
  CHECK(gpus_of(w, "n1", "d") == std::vector<std::string>{"n1-gpu4"});
  for (const char* job : {"a", "c", "d"}) {
    w.head_exits(job, 0);
    w.settle();
  }
  CHECK(w.node("n1").state == NodeState::idle);
}

TEST_CASE("jobs that share a node have ports of their own, whatever came and went before") {
  World w;
  gpu_cluster(w, 1, 3);
  submit_part(w, "a", 1, 1);
  submit_part(w, "b", 1, 1);
  w.settle();
  const std::uint32_t ports_of_a = w.job("a").first_port;
  std::set<std::uint32_t> seen;
  for (int i = 0; i < 100; ++i) {  // each begins to look at another place: at a's and b's, too
    const std::string name = "c" + std::to_string(i);
    submit_part(w, name, 1, 1);
    w.settle();
    REQUIRE(w.job(name).state == JobState::running);
    REQUIRE(w.job(name).first_port != ports_of_a);
    REQUIRE(w.job(name).first_port != w.job("b").first_port);
    seen.insert(w.job(name).first_port);
    w.head_exits(name, 0);
    w.settle();
  }
  CHECK(seen.size() > 40);
}

TEST_CASE("a shared node that is lost ends all its jobs, each on its own") {
  World w;
  gpu_cluster(w, 2, 4);
  submit_part(w, "a", 2, 2);
  submit_part(w, "b", 1, 2);
  submit_part(w, "c", 1, 2);
  w.settle();
  REQUIRE(w.job("a").state == JobState::running);
  REQUIRE(w.job("b").state == JobState::running);
  REQUIRE(w.job("c").state == JobState::running);
  CHECK(w.job("b").last_nodes != w.job("c").last_nodes);
  const std::string beside = w.job("b").last_nodes.front();
  const std::string spared = w.job("c").last_nodes.front();
  w.reboot(beside, "boot-2");
  w.settle();
  CHECK(w.job("c").attempt == 1);
  CHECK(w.job("a").attempt == 2);
  CHECK(w.job("b").attempt == 2);
  CHECK(gpus_of(w, spared, "c").size() == 2);
}

TEST_CASE("parts survive a restart of the controller") {
  World w;
  gpu_cluster(w, 1, 4);
  submit_part(w, "a", 1, 1);
  w.settle();
  w.restart_controller();
  submit_part(w, "b", 1, 3);
  w.settle();
  CHECK(w.job("a").state == JobState::running);
  CHECK(w.job("b").state == JobState::running);
  CHECK(gpus_of(w, "n1", "b") == std::vector<std::string>{"n1-gpu1", "n1-gpu2", "n1-gpu3"});
}
