// Jobs in containers, as the controller sees them: which nodes they get, and one digest for all of a job's nodes and
// attempts.
#include <catch2/catch.hpp>

#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;

namespace {

Result<Subject> submit(World& w, const std::string& name, std::uint32_t nodes) {
  SubmitJob job{World::job_ref(name), World::cluster_ref("nc6"), World::spec(nodes), {}, "unique-" + name};
  job.spec.image = "a:1";
  job.mapping.container_image = "r.example/a:1";
  return w.command(std::move(job));
}

// n1 has no runtime, the others have one.
World three_nodes() {
  World w;
  w.nodes(3);
  w.agents.at("n1").inventory.container_runtime = "none: docker has no socket at /run/docker.sock";
  w.agents.at("n2").inventory.container_runtime = "podman 4.3.1";
  w.agents.at("n3").inventory.container_runtime = "docker 20.10.24";
  w.cluster("nc6", 3);
  w.settle();
  return w;
}

}  // namespace

TEST_CASE("a container job gets nodes that run containers, and waits for no others") {
  World w = three_nodes();
  REQUIRE(submit(w, "big", 3).ok());
  REQUIRE(submit(w, "two", 2).ok());
  w.submit("host", 1);
  w.settle();
  CHECK(w.job("two").last_nodes == std::vector<std::string>{"n2", "n3"});
  CHECK(w.job("host").last_nodes == std::vector<std::string>{"n1"});  // it did not wait behind "big", which cannot run
  CHECK(w.reason("big").starts_with("runs in a container, which 2 nodes of nc6 can; needs 3 idle nodes"));
  w.agents.at("n1").inventory.container_runtime = "docker 20.10.24";
  w.head_exits("two", 0);
  w.head_exits("host", 0);
  w.settle();
  CHECK(w.job("big").state == JobState::running);
}

TEST_CASE("where no node of the cluster runs containers, the job is refused with the node's own words") {
  World w;
  w.nodes(1);
  w.agents.at("n1").inventory.container_runtime = "none: docker has no socket at /run/docker.sock";
  w.cluster("nc6", 1);
  w.settle();
  const auto refused = submit(w, "j", 1);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().code == Code::failed_precondition);
  CHECK(refused.error().message.find("n1: docker has no socket at /run/docker.sock") != std::string::npos);
  w.cluster("empty", 0);
  SubmitJob later{World::job_ref("later"), World::cluster_ref("empty"), World::spec(1), {}, "u"};
  later.mapping.container_image = "r.example/a:1";
  CHECK(w.command(std::move(later)).ok());  // nobody knows yet what its nodes will have
}

TEST_CASE("the head's digest is pinned for all nodes and attempts") {
  World w = three_nodes();
  w.agents.at("n2").prepares = w.agents.at("n3").prepares = false;
  REQUIRE(submit(w, "j", 2).ok());
  w.settle();
  const AttemptId first{w.job("j").id, 1};
  w.agents.at("n3").holdings.at(first).image_digest = "sha256:peer";
  w.settle();
  CHECK(w.job("j").image_digest.empty());  // only the head's counts
  w.agents.at("n2").holdings.at(first).image_digest = "sha256:head";
  w.report("n2");
  w.settle();
  CHECK(w.job("j").image_digest == "sha256:head");
  CHECK(w.agents.at("n3").orders.holdings.at(0).image_digest == "sha256:head");
  w.agents.at("n2").prepares = w.agents.at("n3").prepares = true;
  w.agents.at("n2").holdings.at(first).image_digest = "sha256:moved";
  w.report("n2");
  w.settle();
  CHECK(w.job("j").image_digest == "sha256:head");
  w.restart_controller();
  w.settle();
  w.reboot("n2", "boot-2");
  w.settle();
  CHECK(w.job("j").attempt == 2);
  for (const char* node : {"n2", "n3"}) CHECK(w.orders(node).holdings.at(0).image_digest == "sha256:head");
}
