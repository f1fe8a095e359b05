// Clusters: taking nodes from the inventory, resize with its options, delete with one node unreachable.
#include <catch2/catch.hpp>

#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Matchers::Contains;

namespace {
ClusterView seen(const World& w, const std::string& name) {
  return view(w.state(), w.cluster_row(name));
}
}  // namespace

TEST_CASE("a cluster goes from resizing to steady with idle nodes, taken by size without case, lowest id first") {
  World w;
  w.nodes(1, "standard_nc6");
  w.nodes(1, "Standard_D2");
  w.nodes(2, "STANDARD_NC6");
  w.cluster("nc6", 2);
  CHECK(w.cluster_row("nc6").resizing);
  CHECK(w.node("n1").state == NodeState::preparing);
  CHECK(w.node("n3").state == NodeState::preparing);
  CHECK(w.node("n4").state == NodeState::unassigned);
  CHECK_THAT(seen(w, "nc6").reason, Contains("2 nodes preparing"));
  w.settle();
  CHECK_FALSE(w.cluster_row("nc6").resizing);
  CHECK(seen(w, "nc6").counts.idle == 2);
  CHECK(seen(w, "nc6").reason.empty());
  CHECK(w.orders("n1").cluster == "g/w/nc6");
}

TEST_CASE("a node is idle only when it has echoed the orders that gave it to the cluster") {
  World w;
  w.nodes(1);
  w.cut("n1");
  w.cluster("nc6", 1);
  w.report("n1");  // echoes what it knew before
  CHECK(w.node("n1").state == NodeState::preparing);
  w.agents.at("n1").connected = true;
  w.report("n1");  // is told again
  w.report("n1");
  CHECK(w.node("n1").state == NodeState::idle);
}

TEST_CASE("an inventory with too few nodes is explained") {
  World w;
  w.nodes(2);
  w.nodes(2, "Standard_D2");
  w.cut("n2");
  w.wait(31'000);
  w.cluster("nc6", 3);
  w.settle();
  CHECK(seen(w, "nc6").reason ==
        "target 3, has 1: inventory has 0 free Standard_NC6 nodes (1 unreachable, 2 of other sizes)");
  w.submit("j", 3);
  CHECK_THAT(w.reason("j"), Contains("needs 3 idle nodes of nc6; 1 idle; target 3, has 1"));
}

TEST_CASE("resize down takes idle nodes first, then the gang that loses least, whole") {
  World w;
  w.ready_cluster(5);
  w.submit("older", 2);
  w.settle();
  w.wait(60'000);
  w.submit("younger", 2);
  w.settle();
  SECTION("an idle node is enough") {
    REQUIRE(w.resize("nc6", 4).ok());
    w.settle();
    CHECK(w.node("n5").state == NodeState::unassigned);
    CHECK(w.job("younger").state == JobState::running);
    CHECK_FALSE(w.cluster_row("nc6").resizing);
  }
  SECTION("then the youngest gang, requeued outside its budget") {
    REQUIRE(w.resize("nc6", 3).ok());
    CHECK(w.job("younger").verdict == Verdict::requeue);
    CHECK(w.job("younger").cause.code == "ClusterResized");
    CHECK(w.job("older").state == JobState::running);
    w.settle();
    CHECK(w.job("younger").state == JobState::queued);
    CHECK(w.job("younger").requeues == 0);
    CHECK(seen(w, "nc6").current_node_count == 3);
    CHECK(w.state().free_inventory.size() == 2);
  }
  SECTION("terminate") {
    REQUIRE(w.resize("nc6", 3, DeallocationOption::terminate).ok());
    w.settle();
    CHECK(w.job("younger").state == JobState::failed);
  }
  SECTION("wait for job completion") {
    REQUIRE(w.resize("nc6", 3, DeallocationOption::wait_for_job_completion).ok());
    w.settle();
    CHECK(w.job("younger").state == JobState::running);
    CHECK(seen(w, "nc6").counts.leaving == 1);  // n5 was idle and is gone
    CHECK(w.cluster_row("nc6").resizing);
    w.head_exits("younger", 0);
    w.settle();
    CHECK(w.job("younger").state == JobState::succeeded);
    CHECK(seen(w, "nc6").current_node_count == 3);
  }
  SECTION("a second resize does not wait any more") {
    REQUIRE(w.resize("nc6", 3, DeallocationOption::wait_for_job_completion).ok());
    REQUIRE(w.resize("nc6", 3, DeallocationOption::requeue).ok());
    w.settle();
    CHECK(w.job("younger").state == JobState::queued);
  }
}

TEST_CASE("resize while a job prepares, with one node unreachable: nothing is given out twice") {
  World w;
  w.ready_cluster(2);
  w.agents.at("n1").prepares = w.agents.at("n2").prepares = false;
  w.submit("j", 2);
  w.cut("n2");
  w.wait(31'000);
  REQUIRE(w.resize("nc6", 0).ok());
  w.settle();
  CHECK(w.job("j").state == JobState::stopping);
  CHECK(w.node("n1").state == NodeState::unassigned);
  CHECK(w.node("n2").state == NodeState::leaving);
  CHECK(w.held("n2") == 1);
  CHECK(seen(w, "nc6").current_node_count == 1);
  w.cluster("other", 2);
  w.settle();
  CHECK(w.node("n1").cluster == w.cluster_row("other").id);
  CHECK(seen(w, "other").current_node_count == 1);
  REQUIRE(w.fence("n2").ok());
  CHECK(w.node("n2").state == NodeState::unassigned);
  CHECK(w.job("j").state == JobState::queued);
  CHECK(seen(w, "nc6").current_node_count == 0);
  CHECK_FALSE(w.cluster_row("nc6").resizing);
}

TEST_CASE("an unreachable node that holds nothing leaves at once") {
  World w;
  w.ready_cluster(2);
  w.cut("n2");
  w.wait(31'000);
  REQUIRE(w.resize("nc6", 1).ok());
  CHECK(w.node("n2").state == NodeState::unassigned);
  CHECK(w.node("n1").state == NodeState::idle);
  w.heal("n2");
  w.settle();
  CHECK(w.state().free_inventory.size() == 1);
}

TEST_CASE("fencing a node is refused while it may still report, and says until when") {
  World w;
  w.ready_cluster(2);
  auto refused = w.fence("n2");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message.find("node n2 is reachable (it reported at ") == 0);
  w.cut("n2");
  w.wait(31'000);
  REQUIRE_FALSE(w.node("n2").live.reachable);
  // What was heard before a restart is forgotten: the node has its time again.
  w.restart_controller();
  refused = w.fence("n2");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message.find("node n2 may still report: this controller started at ") == 0);
  w.wait(31'000);
  CHECK(w.fence("n2").ok());
}

TEST_CASE("deleting a cluster does not wait for unreachable nodes: they are detached with orphan holdings") {
  World w;
  w.running_job(2);
  w.submit("queued", 1);
  w.cut("n2");
  w.wait(31'000);
  REQUIRE(w.command(DeleteCluster{World::cluster_ref("nc6")}).ok());
  CHECK(w.job("queued").state == JobState::failed);
  CHECK(w.job("queued").cause.code == "ClusterDeleted");
  CHECK(w.node("n2").state == NodeState::unassigned);
  CHECK(w.held("n2") == 1);
  CHECK_FALSE(w.state().free_inventory.contains(w.node("n2").id));
  auto again = w.command(CreateCluster{World::cluster_ref("NC6"), {}});
  REQUIRE_FALSE(again.ok());
  CHECK(again.error().code == Code::already_exists);
  CHECK_THAT(again.error().message, Contains("is being deleted"));
  w.restart_controller();
  w.settle();
  CHECK_FALSE(w.state().cluster_by_path.contains("g/w/nc6"));
  CHECK(w.job("j").state == JobState::stopping);  // "terminated" is said only when nothing of it is left
  CHECK(w.execution_state("j") == "terminating");
  w.heal("n2");
  w.settle();
  CHECK(w.job("j").state == JobState::failed);
  CHECK(w.state().free_inventory.size() == 2);
}

TEST_CASE("deleting a group takes everything with it; the name is free again when it is gone") {
  World w;
  w.running_job(3);
  w.submit("next", 1);
  w.cut("n3");
  w.wait(31'000);
  REQUIRE(w.command(DeleteGroup{"G"}).ok());
  auto early = w.command(CreateGroup{"g", "here", {}});
  CHECK(early.error().code == Code::already_exists);
  CHECK(w.command(CreateExperiment{{"g", "w", "x"}}).error().code == Code::failed_precondition);
  w.restart_controller();
  w.wait(40'000);
  CHECK(w.state().groups.empty());
  CHECK(w.state().workspaces.empty());
  CHECK(w.state().jobs.empty());
  CHECK(w.state().clusters.empty());
  CHECK(w.state().accounts.empty());
  CHECK(w.state().shares.empty());
  CHECK(w.held("n3") == 1);
  CHECK(w.command(CreateGroup{"g", "here", {}}).ok());
  w.wait(2 * 60 * 60'000);
  CHECK(w.held("n3") == 0);  // fenced by its lease
  w.heal("n3");
  w.settle();
  CHECK(w.state().free_inventory.size() == 3);
}
