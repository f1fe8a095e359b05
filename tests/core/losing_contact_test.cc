// The three points of losing contact: unreachable, gang broken, fenced.
#include <catch2/catch.hpp>

#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Matchers::Contains;

TEST_CASE("unreachable is shown and does nothing to the job; a node that comes back is as before") {
  World w;
  w.running_job(2);
  w.cut("n2");
  w.wait(40'000);
  CHECK_FALSE(w.node("n2").live.reachable);
  CHECK(w.job("j").state == JobState::running);
  CHECK_THAT(w.reason("j"), Contains("n2 unreachable since 12:00"));
  CHECK(view(w.state(), w.node("n2"), w.now).state == "unreachable");
  CHECK(view(w.state(), w.cluster_row("nc6")).counts.unusable == 1);
  w.heal("n2");
  w.wait(200'000);
  CHECK(w.job("j").state == JobState::running);
  CHECK(w.job("j").attempt == 1);
}

TEST_CASE("gang broken: the reachable nodes come back, the job runs again only after the fence") {
  World w;
  w.ready_cluster(4);
  w.submit("j", 3);
  w.settle();
  w.cut("n3");
  w.wait(119'000);
  CHECK(w.job("j").state == JobState::running);
  w.wait(10'000);
  CHECK(w.job("j").state == JobState::stopping);
  CHECK(w.job("j").verdict == Verdict::requeue);
  CHECK(w.held("n1") == 0);
  CHECK(w.held("n2") == 0);
  CHECK(w.held("n3") == 1);
  CHECK(w.node("n1").state == NodeState::idle);
  CHECK(w.execution_state("j") == "running");
  CHECK_THAT(w.reason("j"), Contains("will be queued again; waiting for clean-up of n3 (unreachable since"));
  w.submit("other", 2);
  CHECK(w.job("other").state == JobState::preparing);
  w.settle();
  SECTION("an operator confirms that it is off") {
    CHECK(w.fence("n3", false).error().code == Code::failed_precondition);
    CHECK(w.fence("n1").error().code == Code::failed_precondition);
    CHECK(w.fence("nowhere").error().code == Code::not_found);
    REQUIRE(w.fence("n3").ok());
    CHECK(w.job("j").state == JobState::queued);
  }
  SECTION("its lease and the kill time pass") {
    const TimeMs fence_at = w.node("n3").live.last_report_ms + 3'600'000 + 36'000 + 60'000;
    w.wait(fence_at - w.now - 1'000);
    CHECK(w.job("j").state == JobState::stopping);
    w.wait(1'000);
    CHECK(w.job("j").state == JobState::queued);
  }
  SECTION("it comes back with another boot identity") {
    w.reboot("n3", "boot-2");
    CHECK(w.job("j").state == JobState::queued);
  }
  SECTION("it comes back in the same life and cleans up") {
    w.heal("n3");
    CHECK(w.job("j").state == JobState::stopping);
    w.settle();
    CHECK(w.job("j").state == JobState::queued);
    CHECK(w.node("n3").state == NodeState::idle);
  }
  CHECK(w.job("j").requeues == 1);
}

TEST_CASE("a lease for ever is never fenced by time") {
  World w;
  Recovery recovery;
  recovery.lease_ms = kForever;
  w.running_job(2, recovery);
  w.cut("n2");
  w.wait(24 * 3600'000);
  CHECK(w.job("j").state == JobState::stopping);
  CHECK(w.held("n2") == 1);
}

TEST_CASE("mpirun's early exit does not turn a node loss into a user failure") {
  World w;
  w.running_job(2);
  w.cut("n2");
  w.head_exits("j", 255);
  SECTION("the exit is seen before the node is called unreachable") {
    w.wait(5'000);
    CHECK(w.job("j").state == JobState::running);
    CHECK(w.job("j").exit_code == 255);
    w.wait(26'000);
  }
  SECTION("the exit is seen after") {
    w.agents.at("n1").connected = false;
    w.wait(31'000);
    w.heal("n1");
  }
  CHECK(w.job("j").state == JobState::stopping);
  CHECK(w.job("j").verdict == Verdict::requeue);
  CHECK(w.job("j").cause.code == "NodeLost");
  w.settle();
  REQUIRE(w.fence("n2").ok());
  CHECK(w.job("j").state == JobState::queued);
}

TEST_CASE("on_node_loss fail, and a cut head") {
  World w;
  Recovery recovery;
  recovery.on_node_loss = OnNodeLoss::fail;
  w.running_job(2, recovery);
  w.cut("n1");
  w.wait(121'000);
  CHECK(w.job("j").verdict == Verdict::failure);
  CHECK(w.job("j").cause.infrastructure);
  REQUIRE(w.fence("n1").ok());
  CHECK(w.job("j").state == JobState::failed);
}

TEST_CASE("a job's own gang_abort_after counts") {
  World w;
  Recovery recovery;
  recovery.gang_abort_after_ms = 5 * 60'000;
  w.running_job(2, recovery);
  w.cut("n2");
  w.wait(4 * 60'000);
  CHECK(w.job("j").state == JobState::running);
  w.wait(65'000);
  CHECK(w.job("j").state == JobState::stopping);
}

TEST_CASE("rerunAfter gangBroken: the next attempt does not wait for the cut-off node, which stays unusable") {
  World w;
  w.ready_cluster(3);
  Recovery recovery;
  recovery.rerun_after = RerunAfter::gang_broken;
  w.submit("j", 2, "nc6", recovery);
  w.settle();
  w.cut("n2");
  w.wait(130'000);
  CHECK(w.job("j").attempt == 2);
  CHECK(w.job("j").state == JobState::running);
  CHECK(w.job("j").last_nodes == std::vector<std::string>{"n1", "n3"});
  CHECK(w.held("n2") == 1);
  w.submit("k", 1);
  CHECK(w.job("k").state == JobState::queued);
  w.heal("n2");  // still runs the old attempt: it is told to stop, and its report is refused
  CHECK(w.orders("n2").holdings.at(0).phase == HoldingPhase::stop);
  CHECK(w.job("k").state == JobState::queued);
  w.settle();
  CHECK(w.job("j").attempt == 2);
  CHECK(w.job("j").state == JobState::running);
  CHECK(w.job("k").state == JobState::running);
  CHECK(w.job("k").last_nodes == std::vector<std::string>{"n2"});
}

TEST_CASE("a pool's fence command runs once when a gang is broken; success fences at once") {
  World w;
  w.ready_cluster(3, "fenced");
  w.submit("j", 2);
  w.settle();
  w.cut("n2");
  w.wait(40'000);
  CHECK(w.said<RunFence>().empty());
  w.wait(90'000);
  REQUIRE(w.said<RunFence>().size() == 1);
  CHECK(w.said<RunFence>()[0].node_name == "n2");
  CHECK(w.said<RunFence>()[0].pool == "fenced");
  CHECK(w.node("n2").live.fence_state == "running");
  CHECK(w.job("j").state == JobState::stopping);
  SECTION("success") {
    w.step(FenceFinished{"n2", true, "off"});
    CHECK(w.held("n2") == 0);
    w.settle();
    CHECK(w.job("j").attempt == 2);
    CHECK(w.job("j").state == JobState::running);
    w.wait(600'000);
    CHECK(w.said<RunFence>().size() == 1);  // nothing is left to fence
  }
  SECTION("failure is shown and tried again while needed") {
    w.step(FenceFinished{"n2", false, "no route to BMC"});
    CHECK_THAT(view(w.state(), w.node("n2"), w.now).note, Contains("fence command failed: no route to BMC"));
    CHECK(w.held("n2") == 1);
    w.wait(29'000);
    CHECK(w.said<RunFence>().size() == 1);
    w.wait(2'000);
    CHECK(w.said<RunFence>().size() == 2);
    w.step(FenceFinished{"n2", true, ""});
    w.settle();
    CHECK(w.job("j").attempt == 2);
  }
  SECTION("the node came back while the command ran: nothing is placed on it before the command ends") {
    w.heal("n2");
    w.settle();
    CHECK(w.node("n2").state == NodeState::idle);
    w.submit("k", 1);
    w.settle();
    const Job& k = w.job("k");
    CHECK((k.state == JobState::queued || k.last_nodes[0] != "n2"));
    w.step(FenceFinished{"n2", true, ""});
    CHECK_FALSE(w.node("n2").live.reachable);
  }
  SECTION("a restarted controller runs it again") {
    w.restart_controller();
    w.cut("n2");
    w.wait(130'000);
    CHECK(w.said<RunFence>().size() == 2);
  }
}

TEST_CASE("a non-zero exit with a cut node runs the fence command without waiting for gang_abort_after") {
  World w;
  w.running_job(2, {}, "fenced");
  w.cut("n2");
  w.head_exits("j", 1);
  w.wait(31'000);
  CHECK(w.said<RunFence>().size() == 1);
}

TEST_CASE("what was fenced meanwhile is told to stop when its node comes back in the same life") {
  World w;
  w.running_job(2);
  w.cut("n2");
  w.wait(121'000);
  REQUIRE(w.fence("n2").ok());
  PretendAgent& agent = w.agents.at("n2");
  CHECK(agent.holdings.size() == 1);
  w.heal("n2");
  CHECK(w.held("n2") == 0);
  CHECK(w.orders("n2").holdings.empty());
  CHECK(w.job("j").attempt == 1);  // nothing is placed on it before it has shown that it knows
  agent.cleans = false;
  w.settle();
  CHECK(agent.holdings.begin()->second.state == HoldingState::stopping);
  CHECK(w.job("j").attempt == 1);
  CHECK_THAT(view(w.state(), w.node("n2"), w.now).note, Contains("still runs something that was fenced"));
  agent.cleans = true;
  w.settle();
  CHECK(w.job("j").attempt == 2);
  CHECK(w.job("j").state == JobState::running);
}

TEST_CASE("success with one node unreachable waits for its fence; the exit code is shown at once") {
  World w;
  w.running_job(2);
  w.cut("n2");
  w.head_exits("j", 0);
  w.wait(31'000);
  CHECK(w.job("j").state == JobState::stopping);
  CHECK(w.job("j").exit_code == 0);
  CHECK(w.execution_state("j") == "running");
  REQUIRE(w.fence("n2").ok());
  CHECK(w.job("j").state == JobState::succeeded);
}

TEST_CASE("a tick at next_deadline always makes progress") {
  World w;
  w.running_job(2, {}, "fenced");
  w.cut("n1");
  w.cut("n2");
  for (int i = 0; i < 100 && w.core->next_deadline() != 0; ++i) {
    const TimeMs at = w.core->next_deadline();
    REQUIRE(at > w.now);
    w.now = at;
    w.step(Tick{});
  }
  CHECK(w.job("j").state == JobState::queued);
}
