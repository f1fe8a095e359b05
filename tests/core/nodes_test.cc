// Reports of nodes: epochs, echoes, stale and foreign messages, restart of the controller.
#include <catch2/catch.hpp>

#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Matchers::Contains;

TEST_CASE("the first report of an unknown name makes a node and is acknowledged with its sequence") {
  World w;
  w.add_agent("n1");
  w.report("n1");
  CHECK(w.node("n1").state == NodeState::unassigned);
  CHECK(w.node("n1").live.seen);
  auto acks = w.said<Acknowledge>();
  REQUIRE(acks.size() == 1);
  CHECK(acks[0].sequence == 1);
  CHECK(acks[0].epoch == "boot-1");
  CHECK(w.said<SendOrders>().size() == 1);
  CHECK(w.orders("n1").node_epoch == "boot-1");
}

TEST_CASE("an unchanged report writes nothing and does not wake the plan") {
  World w;
  w.running_job(2);
  w.settle();
  PretendAgent& agent = w.agents.at("n1");
  w.step(NodeSame{"n1", agent.epoch, agent.orders.revision, 77});
  CHECK(w.last_changes.empty());
  CHECK(w.said<Acknowledge>().back().sequence == 77);
  w.report("n1");
  CHECK(w.last_changes.empty());
}

TEST_CASE("an unchanged report says when the node may be left alone") {
  World w;
  w.running_job(2);
  w.settle();
  PretendAgent& agent = w.agents.at("n1");
  const std::uint64_t revision = agent.orders.revision;
  w.step(NodeSame{"n1", agent.epoch, revision, 77});
  CHECK(w.said<Acknowledge>().back().settled_revision == revision);
  w.forget();
  w.step(NodeSame{"n1", agent.epoch, revision - 1, 78});
  CHECK(w.said<Acknowledge>().back().settled_revision == 0);
  // The edge heard it; another life of it is nobody.
  const TimeMs reported = w.node("n1").live.last_report_ms;
  w.step(NodeHeard{"n1", "boot-0", reported + 9});
  CHECK(w.node("n1").live.last_report_ms == reported);
  w.step(NodeHeard{"n1", agent.epoch, reported + 5});
  CHECK(w.node("n1").live.last_report_ms == reported + 5);
  w.step(NodeHeard{"n1", agent.epoch, reported + 3});
  CHECK(w.node("n1").live.last_report_ms == reported + 5);
  CHECK(w.last_changes.empty());
}

TEST_CASE("a node that echoes old orders is told again") {
  World w;
  w.running_job(1);
  PretendAgent& agent = w.agents.at("n1");
  w.forget();
  w.step(NodeSame{"n1", agent.epoch, agent.orders.revision - 1, 78});
  CHECK(w.said<SendOrders>().size() == 1);
}

TEST_CASE("a reboot fences what the old life held, at once, and the job runs again") {
  World w;
  w.ready_cluster(3);
  w.submit("j", 2);
  w.settle();
  const std::uint64_t revision = w.node("n2").revision;
  w.reboot("n2", "boot-2");
  CHECK(w.held("n2") == 0);
  CHECK(w.node("n2").revision > revision);
  CHECK(w.node("n2").state == NodeState::preparing);
  CHECK(w.job("j").verdict == Verdict::requeue);
  CHECK_THAT(w.job("j").cause.message, Contains("rebooted"));
  w.settle();
  CHECK(w.job("j").attempt == 2);
  CHECK(w.job("j").state == JobState::running);
  CHECK(w.job("j").requeues == 1);

  SECTION("a late report of the old life is refused, also after a restart of the controller") {
    w.restart_controller();
    Report late = w.agents.at("n2").report();
    late.epoch = "boot-1";
    w.forget();
    w.step(NodeReported{late});
    REQUIRE(w.said<Refuse>().size() == 1);
    CHECK(w.said<Acknowledge>().empty());
    CHECK(w.node("n2").epoch == "boot-2");
    w.step(NodeSame{"n2", "boot-1", 3, 9});
    CHECK(w.said<Refuse>().size() == 2);
  }
}

TEST_CASE("absence means gone only when the report echoes the newest orders") {
  World w;
  w.running_job(2);
  Report empty = w.agents.at("n2").report();
  empty.holdings.clear();
  empty.orders_revision -= 1;
  w.step(NodeReported{empty});
  CHECK(w.held("n2") == 1);
  CHECK(w.job("j").state == JobState::running);
  empty.orders_revision += 1;
  w.step(NodeReported{empty});
  CHECK(w.held("n2") == 0);
  CHECK(w.job("j").verdict == Verdict::requeue);
  CHECK(w.job("j").cause.infrastructure);
}

TEST_CASE("absence of a stopped holding gives it back without a receipt") {
  World w;
  w.running_job(1);
  REQUIRE(w.terminate("j").ok());
  w.agents.at("n1").holdings.clear();
  w.report("n1");
  CHECK(w.job("j").state == JobState::failed);
  CHECK(w.job("j").receipts.empty());
}

TEST_CASE("a stale attempt's report changes nothing but keeps the node being told to stop") {
  World w;
  w.running_job(1);
  w.agents.at("n1").cleans = false;
  REQUIRE(w.resize("nc6", 0).ok());
  HoldingReport ghost{{w.job("j").id, 7}, HoldingState::running};
  Report report = w.agents.at("n1").report();
  report.holdings.push_back(ghost);
  w.forget();
  w.step(NodeReported{report});
  CHECK(w.said<SendOrders>().size() == 1);
  CHECK(w.orders("n1").holdings.size() == 1);  // does not list what the controller does not know
  CHECK(w.job("j").attempt == 1);
  HoldingReport old{{w.job("j").id, 1}, HoldingState::running};
  report.holdings = {old};
  w.step(NodeReported{report});
  CHECK(w.job("j").state == JobState::stopping);
  CHECK(w.orders("n1").holdings[0].phase == HoldingPhase::stop);
}

TEST_CASE("a holding never goes back: a reordered older report is ignored") {
  World w;
  w.running_job(2);
  Report old = w.agents.at("n1").report();
  w.head_exits("j", 0);
  w.report("n1");
  CHECK(w.job("j").verdict == Verdict::success);
  w.step(NodeReported{old});
  CHECK(w.state().holdings.begin()->second.reported == HoldingState::exited);
}

TEST_CASE("a node that ended its part by itself, as after a lost lease, requeues the job") {
  World w;
  w.running_job(2);
  w.agents.at("n2").holdings.begin()->second.state = HoldingState::clean;
  w.report("n2");
  CHECK(w.job("j").verdict == Verdict::requeue);
  CHECK(w.held("n2") == 0);
}

TEST_CASE("after a restore nothing is concluded from what a node holds for the old database") {
  World w;
  w.running_job(1);
  const std::uint64_t known = w.node("n1").revision;
  w.agents.at("n1").orders.revision = known + 10;  // orders that the restored database does not know
  w.restart_controller("generation-2");
  w.forget();
  Report report = w.agents.at("n1").report();
  report.holdings.clear();
  w.step(NodeReported{report});
  CHECK(w.held("n1") == 1);
  CHECK(w.job("j").state == JobState::running);
  CHECK(w.node("n1").revision == known + 11);
  CHECK(w.said<SendOrders>().size() == 1);
  CHECK(w.said<Acknowledge>().size() == 1);
  CHECK(w.orders("n1").store_generation == "generation-2");
}

TEST_CASE("a restarted controller goes on: leases are fresh, placement waits for the first report") {
  World w;
  w.ready_cluster(2);
  w.submit("j", 1);
  w.settle();
  w.now += 10 * 60'000;
  w.restart_controller();
  CHECK(w.job("j").state == JobState::running);
  CHECK(w.node("n1").live.last_report_ms == w.now);
  w.submit("k", 1);
  CHECK(w.job("k").state == JobState::queued);
  CHECK_THAT(w.reason("k"), Contains("1 idle but not usable yet"));
  w.settle();
  CHECK(w.job("k").state == JobState::running);
  w.head_exits("j", 0);
  w.settle();
  CHECK(w.job("j").state == JobState::succeeded);
}

TEST_CASE("a pending head exit is asked again after a restart: the bump is in the first outcome") {
  World w;
  w.running_job(2);
  w.head_exits("j", 3);
  w.cut("n2");
  w.report("n1");
  const std::uint64_t before = w.node("n2").revision;
  w.restart_controller();
  CHECK(w.node("n2").revision == before + 1);
  REQUIRE(w.last_changes.nodes.size() == 1);
  REQUIRE(w.last_changes.holdings.size() == 1);
  CHECK(w.last_changes.holdings[0].confirm_revision == before + 1);
  w.report("n2");
  CHECK(w.job("j").state == JobState::running);
  w.agents.at("n2").connected = true;
  w.settle();
  CHECK(w.job("j").state == JobState::failed);
}

TEST_CASE("a NodeSame that nothing is known of yet is not taken") {
  World w;
  w.running_job(1);
  w.step(NodeSame{"stranger", "boot-1", 1, 1});
  CHECK_FALSE(w.state().node_by_name.contains("stranger"));
  w.restart_controller();
  w.forget();
  w.step(NodeSame{"n1", "boot-1", w.node("n1").revision, 5});
  CHECK(w.said<Acknowledge>().empty());
  CHECK_FALSE(w.node("n1").live.seen);
}
