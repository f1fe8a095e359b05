// Nodes that get nothing new: drained ones, and those with a faulty GPU.
#include <catch2/catch.hpp>

#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Matchers::Contains;

namespace {

void with_gpus(PretendAgent& agent, int count) {
  agent.inventory.gpus.clear();
  for (int i = 0; i < count; ++i) {
    agent.inventory.gpus.push_back({.uuid = "GPU-" + agent.name + "-" + std::to_string(i), .model = "V100"});
  }
}

NodeView seen(const World& w, const std::string& node) {
  return view(w.state(), w.node(node), w.now);
}

}  // namespace

TEST_CASE("nothing is placed on a drained node; what runs there ends by itself, and who waits is told why") {
  World w;
  w.running_job(2);
  REQUIRE(w.command(DrainNode{"n1", "new memory modules"}, "request-1").ok());
  REQUIRE(w.command(DrainNode{"n1", "new memory modules"}, "request-1").ok());  // sent again by the client's library
  w.settle();
  CHECK(w.job("j").state == JobState::running);
  CHECK_THAT(seen(w, "n1").note, Contains("drained by") && Contains("new memory modules"));
  w.head_exits("j", 0);
  w.settle();
  w.submit("k", 2);
  w.settle();
  CHECK(w.job("k").state == JobState::queued);
  CHECK_THAT(w.reason("k"), Contains("1 idle, 1 drained: new memory modules"));
  w.restart_controller();
  w.settle();
  CHECK(w.job("k").state == JobState::queued);
  REQUIRE(w.command(UndrainNode{"n1"}).ok());
  w.settle();
  CHECK(w.job("k").state == JobState::running);
  CHECK(w.command(UndrainNode{"n1"}).error().code == Code::failed_precondition);
  CHECK(w.command(DrainNode{"n1", ""}).error().code == Code::invalid_argument);
  CHECK(w.command(DrainNode{"nobody", "why"}).error().code == Code::not_found);
}

TEST_CASE("a drain that queues again moves the job to other nodes and does not use its budget") {
  World w;
  w.ready_cluster(3);
  Recovery recovery;
  recovery.max_requeues = 0;
  w.submit("j", 2, "nc6", recovery);
  w.settle();
  REQUIRE(w.job("j").state == JobState::running);
  const std::string first = w.job("j").last_nodes.front();
  REQUIRE(w.command(DrainNode{first, "fans", true}).ok());
  w.settle();
  const Job& job = w.job("j");
  CHECK(job.state == JobState::running);
  CHECK(job.attempt == 2);
  CHECK(job.requeues == 0);
  CHECK(std::find(job.last_nodes.begin(), job.last_nodes.end(), first) == job.last_nodes.end());
}

TEST_CASE("a cluster that shrinks gives its drained node back first, and one that grows is not given it") {
  World w;
  w.ready_cluster(3);
  REQUIRE(w.command(DrainNode{"n1", "fans"}).ok());
  REQUIRE(w.resize("nc6", 2).ok());
  w.settle();
  CHECK(w.node("n1").state == NodeState::unassigned);
  REQUIRE(w.resize("nc6", 3).ok());
  w.settle();
  CHECK(w.node("n1").state == NodeState::unassigned);
  CHECK_THAT(view(w.state(), w.cluster_row("nc6")).reason, Contains("1 drained or with faulty GPUs"));
  REQUIRE(w.command(UndrainNode{"n1"}).ok());
  w.settle();
  CHECK(w.node("n1").state == NodeState::idle);
}

TEST_CASE("autoScale asks for another node beside a drained one") {
  World w;
  w.nodes(2);
  ClusterSpec spec;
  spec.auto_scale = AutoScale{1, 2, 1, 5'000};
  w.cluster("nc6", spec);
  w.settle();
  w.wait(10'000);
  const std::string mine = w.node("n1").cluster ? "n1" : "n2";
  REQUIRE(w.command(DrainNode{mine, "fans"}).ok());
  w.submit("j", 1);
  w.settle();
  CHECK(w.job("j").state == JobState::running);
  CHECK(w.job("j").last_nodes.front() != mine);
}

TEST_CASE("a health check that fails drains the node with its figures; one that passes is kept") {
  World w;
  w.ready_cluster(1);
  REQUIRE(w.command(RecordNodeHealth{"n1", true, "all well", {{"memoryGBps", "11.2"}}}).ok());
  CHECK(w.node("n1").health->passed);
  CHECK_FALSE(w.node("n1").drain.has_value());
  REQUIRE(w.command(RecordNodeHealth{"n1", false, "memoryGBps 2.1 < 5", {{"memoryGBps", "2.1"}}}).ok());
  CHECK(w.node("n1").drain->why == "health check failed: memoryGBps 2.1 < 5");
  w.restart_controller();
  CHECK(w.node("n1").health->figures == std::vector<NamedValue>{{"memoryGBps", "2.1"}});
}

TEST_CASE("a GPU that is faulty ends the job that has it, as infrastructure, and its node gets nothing new") {
  World w;
  w.nodes(2);
  with_gpus(w.agents.at("n1"), 4);
  with_gpus(w.agents.at("n2"), 4);
  w.cluster("nc6", 2);
  w.settle();
  w.submit("j", 1);
  w.settle();
  REQUIRE(w.job("j").last_nodes == std::vector<std::string>{"n1"});
  CHECK(w.orders("n1").holdings.front().gpu_uuids.size() == 4);
  w.agents.at("n1").inventory.gpus[2].fault = "XID 79: it fell off the bus";
  w.report("n1");
  CHECK(w.job("j").cause.code == "GpuFault");
  CHECK_THAT(w.job("j").cause.message, Contains("node n1: GPU GPU-n1-2: XID 79"));
  w.settle();
  CHECK(w.job("j").last_nodes == std::vector<std::string>{"n2"});
  CHECK(w.job("j").requeues == 1);
  CHECK_THAT(seen(w, "n1").note, Contains("1 of 4 GPUs out of service: GPU-n1-2: XID 79"));
  w.submit("k", 1);
  w.settle();
  CHECK_THAT(w.reason("k"), Contains("1 with faulty GPUs: n1: 1 of 4 GPUs out of service"));
  w.agents.at("n1").inventory.gpus[2].fault.clear();  // its agent was restarted and finds nothing wrong
  w.report("n1");
  w.settle();
  CHECK(w.job("k").state == JobState::running);
}

TEST_CASE(
    "a GPU that is missing after a restart of the agent is faulty until the machine boots; MIG instances are not") {
  World w;
  w.nodes(1);
  PretendAgent& agent = w.agents.at("n1");
  with_gpus(agent, 2);
  agent.inventory.gpus.push_back({.uuid = "MIG-1", .model = "V100 MIG 1g", .parent_uuid = "GPU-n1-0"});
  w.cluster("nc6", 1);
  w.settle();
  const std::vector<std::string> given{"GPU-n1-1", "MIG-1"};  // an instance instead of its GPU
  CHECK(gpus_to_give(w.node("n1").inventory) == given);
  agent.inventory.gpus.pop_back();
  w.report("n1");
  CHECK(w.node("n1").inventory.gpus.size() == 2);
  CHECK(in_service(w.node("n1")));
  agent.inventory.gpus.pop_back();
  w.report("n1");
  w.report("n1");
  CHECK(w.node("n1").inventory.gpus.size() == 2);
  CHECK_THAT(out_of_service(w.node("n1")), Contains("1 of 2 GPUs out of service: GPU-n1-1: it is not there any more"));
  w.reboot("n1", "boot-2");
  CHECK(w.node("n1").inventory.gpus.size() == 1);
  CHECK(in_service(w.node("n1")));
}
