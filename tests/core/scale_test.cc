// autoScale from queued and running jobs, with an idle time; switching between the two kinds; low-priority clusters.
#include <catch2/catch.hpp>

#include "tests/core/scene.h"
#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Matchers::Contains;

namespace {

constexpr DurationMs kIdle = 60'000;

ClusterView seen(const World& w, const std::string& name) {
  return view(w.state(), w.cluster_row(name));
}

ClusterSpec automatic(std::uint32_t minimum, std::uint32_t maximum, std::uint32_t initial = 0) {
  ClusterSpec spec;
  spec.auto_scale = AutoScale{minimum, maximum, initial, kIdle};
  return spec;
}

ClusterSpec low_priority(std::uint32_t target) {
  ClusterSpec spec;
  spec.vm_priority = VmPriority::low_priority;
  spec.target_node_count = target;
  return spec;
}

Result<Subject> auto_scale(World& w, std::uint32_t minimum, std::uint32_t maximum) {
  return w.command(AutoScaleCluster{World::cluster_ref("nc6"), minimum, maximum});
}

bool noted(const World& w, const std::string& what, const std::string& why) {
  return std::any_of(w.timeline.begin(), w.timeline.end(), [&](const TimelineLine& line) {
    return line.what == what && line.why.find(why) != std::string::npos;
  });
}

}  // namespace

TEST_CASE("autoScale takes no nodes for jobs that their workspace's limit keeps") {
  World w;
  w.nodes(4);
  w.cluster("nc6", automatic(0, 4));
  REQUIRE(w.command(SetQuota{{"g", "w"}, {2, 0, 1}}).ok());
  for (const char* name : {"a", "b", "c"}) w.submit(name, 1);
  w.settle();
  CHECK(w.job("b").state == JobState::running);
  CHECK(w.job("c").state == JobState::queued);
  CHECK(seen(w, "nc6").current_node_count == 2);
  w.head_exits("a", 0);
  w.settle();
  CHECK(w.job("c").state == JobState::running);
  CHECK(seen(w, "nc6").current_node_count == 2);
}

TEST_CASE("autoScale brings up what queued jobs need, and gives it back after the idle time") {
  World w;
  w.nodes(5);
  w.cluster("nc6", automatic(0, 4));
  w.settle();
  CHECK(seen(w, "nc6").current_node_count == 0);
  CHECK_FALSE(w.cluster_row("nc6").resizing);
  w.submit("j", 2);
  w.settle();
  CHECK(w.job("j").state == JobState::running);
  CHECK(seen(w, "nc6").current_node_count == 2);
  CHECK(noted(w, "auto-scale", "0 -> 2 nodes: 0 busy, 2 needed by 1 queued job(s)"));
  w.submit("more", 3);  // 2 busy + 3 are more than the maximum
  w.settle();
  CHECK(seen(w, "nc6").current_node_count == 4);
  CHECK(w.job("more").state == JobState::queued);
  w.head_exits("j", 0);
  w.settle();
  CHECK(w.job("more").state == JobState::running);
  w.wait(kIdle - 10'000);
  CHECK(seen(w, "nc6").current_node_count == 4);  // one idle, not yet for long enough
  w.wait(20'000);
  CHECK(seen(w, "nc6").current_node_count == 3);
  w.head_exits("more", 0);
  w.settle();
  w.wait(kIdle - 10'000);
  CHECK(seen(w, "nc6").counts.idle == 3);
  w.wait(20'000);
  CHECK(seen(w, "nc6").current_node_count == 0);
  CHECK(w.state().free_inventory.size() == 5);
  CHECK_FALSE(w.cluster_row("nc6").resizing);
}

TEST_CASE("autoScale never goes below its minimum, and the initial count is for the beginning only") {
  World w;
  w.nodes(4);
  w.cluster("nc6", automatic(1, 4, 3));
  w.settle();
  CHECK(seen(w, "nc6").counts.idle == 3);
  w.wait(kIdle + 10'000);
  CHECK(seen(w, "nc6").counts.idle == 1);
  w.wait(10 * kIdle);
  CHECK(seen(w, "nc6").counts.idle == 1);
  w.restart_controller();
  w.settle();
  CHECK(seen(w, "nc6").counts.idle == 1);
}

TEST_CASE("an idle node that a job takes up again does not count its old idle time") {
  World w;
  w.nodes(1);
  w.cluster("nc6", automatic(0, 1));
  w.submit("first", 1);
  w.settle();
  w.head_exits("first", 0);
  w.settle();
  w.wait(kIdle - 5'000);
  w.submit("second", 1);
  w.settle();
  w.head_exits("second", 0);
  w.settle();
  w.wait(kIdle - 5'000);
  CHECK(seen(w, "nc6").counts.idle == 1);
  w.wait(10'000);
  CHECK(seen(w, "nc6").current_node_count == 0);
}

TEST_CASE("a cluster that gets fewer nodes than it needs says why, with numbers") {
  World w;
  w.nodes(2);
  w.cluster("other", ClusterSpec{.vm_size = "Standard_NC6", .target_node_count = 1});
  w.cluster("nc6", automatic(0, 4));
  w.submit("j", 3);
  w.settle();
  CHECK(seen(w, "nc6").reason ==
        "target 3 of autoScale 0 to 4 (0 busy, 3 needed by 1 queued job), has 1: inventory has 0 free Standard_NC6 "
        "nodes (1 in other clusters)");
  CHECK_THAT(w.reason("j"), Contains("needs 3 idle nodes of nc6; 1 idle; target 3 of autoScale 0 to 4"));
  w.submit("never", 5);
  CHECK(w.reason("never") == "needs 5 nodes; nc6's maximum is 4: it can never start until the cluster is resized");
  CHECK_THAT(w.job("never").warnings.at(0), Contains("nc6's maximum is 4"));
}

TEST_CASE("a broken node does not stand in the way of a job that needs its place") {
  World w;
  w.nodes(3);
  w.cluster("nc6", automatic(2, 3));
  w.settle();
  w.cut("n1");
  w.wait(31'000);
  w.submit("j", 2);
  w.settle();
  CHECK(w.job("j").state == JobState::running);
  CHECK(w.job("j").last_nodes == std::vector<std::string>{"n2", "n3"});
}

TEST_CASE("the two kinds of scale settings can be switched at any time") {
  World w;
  w.nodes(4);
  w.cluster("nc6", 3);
  w.settle();
  w.submit("j", 1);
  w.settle();
  REQUIRE(auto_scale(w, 0, 2).ok());
  w.settle();
  // Above its maximum at once, the rest after its idle time.
  CHECK(seen(w, "nc6").current_node_count == 2);
  CHECK(w.job("j").state == JobState::running);
  w.wait(5 * kIdle + 10'000);
  CHECK(seen(w, "nc6").current_node_count == 1);
  REQUIRE(w.resize("nc6", 4).ok());
  w.settle();
  CHECK(seen(w, "nc6").current_node_count == 4);
  w.wait(10 * kIdle);
  CHECK(seen(w, "nc6").current_node_count == 4);
  CHECK_FALSE(w.cluster_row("nc6").spec.auto_scale.has_value());
  CHECK(noted(w, "resize", "autoScale 0 to 2 -> target 4"));
}

TEST_CASE("a dedicated cluster takes nodes of a low-priority one when the inventory has none") {
  World w;
  w.nodes(3);
  w.cluster("spot", low_priority(3));
  w.settle();
  w.submit("cheap", 2, "spot");
  w.settle();
  REQUIRE(w.job("cheap").state == JobState::running);
  w.cluster("nc6", 1);
  SECTION("an idle one is enough") {
    w.settle();
    CHECK(w.node("n3").cluster == w.cluster_row("nc6").id);
    CHECK(w.job("cheap").state == JobState::running);
    CHECK_THAT(seen(w, "spot").reason, Contains("target 3, has 2: inventory has 0 free Standard_NC6 nodes"));
  }
  SECTION("jobs are queued again with their grace, outside their budget") {
    w.settle();
    REQUIRE(w.resize("nc6", 2).ok());
    CHECK(w.job("cheap").verdict == Verdict::requeue);
    CHECK(w.orders(w.job("cheap").last_nodes[0]).holdings.at(0).grace_ms == Recovery{}.grace_ms);
    w.settle();
    CHECK(seen(w, "nc6").counts.idle == 2);
    CHECK(w.job("cheap").state == JobState::queued);
    CHECK(w.job("cheap").requeues == 0);
    CHECK(w.job("cheap").attempt == 1);
    CHECK_THAT(w.reason("cheap"), Contains("attempt 1 ended: node n1 of low-priority cluster spot was taken back for "
                                           "cluster nc6"));
    CHECK(noted(w, "running -> stopping", "was taken back for cluster nc6"));
    // Nothing is taken from a dedicated cluster, and what comes back goes to the low-priority one.
    CHECK(seen(w, "spot").current_node_count == 1);
    REQUIRE(w.resize("nc6", 0).ok());
    w.settle();
    CHECK(w.job("cheap").state == JobState::running);
    CHECK(w.job("cheap").attempt == 2);
    CHECK(seen(w, "spot").current_node_count == 3);
  }
}

TEST_CASE("of empty nodes those go first that are not ready, or with autoScale those that nobody needed for longest") {
  CHECK(takes("nodes 3\ntarget 2") == "-n3");
  CHECK(takes("nodes 3\npreparing n1\ntarget 2") == "-n1");
  CHECK(takes("nodes 3\ncut n2\npreparing n1\ntarget 2") == "-n2");
  CHECK(takes("nodes 3\nruns a 2\ntarget 1") == "-n3 -n1");
  CHECK(takes("nodes 3\npreparing n1\nauto 0 2") == "-n2");
}

TEST_CASE("nodes of another size that are on their way to the inventory are no reason to wait") {
  World w;
  w.nodes(2);
  w.add_agent("big", "Standard_NC24").cleans = false;
  w.cluster("spot", low_priority(2));
  ClusterSpec other;
  other.vm_size = "Standard_NC24";
  other.target_node_count = 1;
  w.cluster("other", other);
  w.settle();
  w.submit("a", 1, "other");
  w.settle();
  REQUIRE(w.job("a").state == JobState::running);
  REQUIRE(w.resize("other", 0).ok());
  w.settle();
  REQUIRE(w.node("big").state == NodeState::leaving);
  w.cluster("nc6", 1);
  w.settle();
  CHECK(seen(w, "nc6").current_node_count == 1);
}

TEST_CASE("no more low-priority nodes are taken back than are missing, however often the plan looks") {
  World w;
  w.nodes(4);
  w.cluster("spot", low_priority(4));
  w.settle();
  for (auto& [name, agent] : w.agents) agent.cleans = false;
  w.submit("a", 2, "spot");
  w.submit("b", 2, "spot");
  w.settle();
  w.cluster("nc6", 1);
  for (int look = 0; look < 3; ++look) {  // each wakes the plan, while the victim does not get clean
    w.submit("waits" + std::to_string(look), 4, "spot");
    w.settle();
  }
  CHECK(seen(w, "spot").counts.leaving == 1);
  CHECK(w.job("a").state == JobState::running);
  CHECK(w.job("b").state == JobState::stopping);
  for (auto& [name, agent] : w.agents) agent.cleans = true;
  w.settle();
  CHECK(seen(w, "nc6").counts.idle == 1);
  CHECK(seen(w, "spot").current_node_count == 3);
}
