// The plan: pure, and at size.
#include <catch2/catch.hpp>

#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;

namespace {

Tables big(int nodes, int jobs, std::uint32_t job_size) {
  Tables tables;
  tables.meta.store_generation = kGeneration;
  tables.meta.next_id = 1'000'000;
  tables.groups.push_back({{1}, "g", "here"});
  tables.workspaces.push_back({{2}, {1}, "w", "here"});
  tables.experiments.push_back({{3}, {2}, "e"});
  Cluster cluster{{4}, {2}, "nc6"};
  cluster.spec.vm_size = "Standard_NC6";
  cluster.spec.target_node_count = static_cast<std::uint32_t>(nodes);
  tables.clusters.push_back(cluster);
  for (int i = 0; i < nodes; ++i) {
    Node node;
    node.id = {static_cast<std::uint64_t>(100 + i)};
    node.name = "n" + std::to_string(i);
    node.inventory.flavour = "Standard_NC6";
    node.epoch = "boot-1";
    node.cluster = ClusterId{4};
    node.state = NodeState::idle;
    tables.nodes.push_back(node);
  }
  auto spec = std::make_shared<const JobSpec>(World::spec(job_size));
  for (int i = 0; i < jobs; ++i) {
    Job job;
    job.id = {static_cast<std::uint64_t>(500'000 + i)};
    job.experiment = {3};
    job.cluster = {4};
    job.cluster_path = "g/w/nc6";
    job.name = "j" + std::to_string(i);
    job.spec = spec;
    tables.jobs.push_back(job);
  }
  return tables;
}

}  // namespace

// How long that takes, bench/run shows.
TEST_CASE("a plan of 10,000 nodes and 100,000 queued jobs uses every node") {
  Core core({}, big(10'000, 100'000, 4), kStart);
  core.take_outcome();
  for (int i = 0; i < 10'000; ++i) {
    Report report{"n" + std::to_string(i), kGeneration, "boot-1", 0, 1};
    report.inventory.flavour = "Standard_NC6";
    core.step({kStart, NodeReported{report}});
  }
  const plan::Plan plan = plan::make_plan(core.state(), kStart);
  CHECK(plan.placements.size() == 2'500);
  CHECK(plan.placements[0].nodes.size() == 4);
  core.apply_plan(plan, kStart);
  CHECK(plan::make_plan(core.state(), kStart).placements.empty());
  check_invariants(core.state());
}

TEST_CASE("a shrinking cluster places nothing on what it gives back") {
  World w;
  w.nodes(2);
  w.cluster("nc6", 2);
  w.settle();
  w.agents.at("n1").cleans = false;
  w.submit("holds", 1);
  w.settle();
  w.submit("waits", 1);
  w.settle();
  CHECK(w.job("waits").state == JobState::running);
  REQUIRE(w.resize("nc6", 1).ok());
  w.settle();
  CHECK(w.job("holds").state == JobState::running);
  CHECK(w.job("waits").state == JobState::queued);
}
