// Node set-up: once per allocation and boot, unusable when it fails, tried again, taken away when the node leaves.
#include <catch2/catch.hpp>

#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Matchers::Contains;

namespace {

ClusterSpec with_task(std::uint32_t target) {
  ClusterSpec spec;
  spec.target_node_count = target;
  spec.node_setup.task.command_line = "install";
  spec.node_setup.task.std_out_err_path_prefix = "$AZ_BATCHAI_MOUNT_ROOT/afs";
  spec.node_setup.file_shares.push_back({"a", "https://a.file.core.windows.net/s", "s", "afs"});
  return spec;
}

ClusterView seen(const World& w) {
  return view(w.state(), w.cluster_row("nc6"));
}

const NodeError kFailed{"SetupTaskFailed", "the set-up task exited with code 3", {{"exitCode", "3"}}, false};

}  // namespace

TEST_CASE("a node is preparing until it is set up; jobs wait for it") {
  World w;
  w.nodes(1);
  w.agents.at("n1").sets_up = false;
  w.cluster("nc6", with_task(1));
  w.submit("j", 1);
  w.settle();
  CHECK(w.node("n1").state == NodeState::preparing);
  CHECK_THAT(view(w.state(), w.node("n1"), w.now).note, Contains("its cluster's set-up runs"));
  CHECK(w.job("j").state == JobState::queued);
  const auto setup = w.orders("n1").setup;
  REQUIRE(setup.has_value());
  CHECK(setup->setup->cluster == "g/w/nc6");
  CHECK(setup->setup->path_suffix == "trainyard/g/workspaces/w/clusters/nc6/unique-nc6");
  CHECK(setup->setup->volumes == std::vector<Volume>{{Volume::Kind::local, "/srv/a/s", "afs"}});
  w.restart_controller();
  w.agents.at("n1").sets_up = true;
  w.settle();
  CHECK(w.job("j").state == JobState::running);
  CHECK(w.agents.at("n1").setup_runs.size() == 1);
}

TEST_CASE("a set-up runs once per allocation and once per boot") {
  World w;
  w.nodes(1);
  w.cluster("nc6", with_task(1));
  w.settle();
  PretendAgent& agent = w.agents.at("n1");
  for (int job = 0; job < 3; ++job) {
    w.submit("j" + std::to_string(job), 1);
    w.settle();
    w.head_exits("j" + std::to_string(job), 0);
    w.settle();
  }
  w.cut("n1");
  w.wait(60'000);
  w.heal("n1");
  w.restart_controller();
  w.settle();
  CHECK(agent.setup_runs.size() == 1);
  w.reboot("n1", "boot-2");
  CHECK(w.node("n1").state == NodeState::preparing);
  w.settle();
  CHECK(w.node("n1").state == NodeState::idle);
  CHECK(agent.setup_runs.size() == 2);
  REQUIRE(w.resize("nc6", 0).ok());
  w.settle();
  CHECK_FALSE(agent.setup.has_value());
  REQUIRE(w.resize("nc6", 1).ok());
  w.settle();
  CHECK(agent.setup_runs.size() == 3);
  CHECK(std::set<std::uint64_t>(agent.setup_runs.begin(), agent.setup_runs.end()).size() == 3);
}

TEST_CASE("a node whose set-up failed is unusable, with the reason, and is tried again after growing pauses") {
  World w;
  w.nodes(2);
  PretendAgent& agent = w.agents.at("n1");
  agent.setup_error = kFailed;
  w.cluster("nc6", with_task(2));
  w.settle();
  CHECK(w.node("n1").state == NodeState::unusable);
  CHECK(seen(w).counts.unusable == 1);
  CHECK(seen(w).counts.idle == 1);
  REQUIRE(seen(w).errors.size() == 1);
  CHECK(seen(w).errors[0].code == "SetupTaskFailed");
  CHECK(seen(w).errors[0].details == std::vector<NamedValue>{{"exitCode", "3"}, {"node", "n1"}});
  CHECK_THAT(seen(w).reason, Contains("n1 is unusable"));
  CHECK_THAT(view(w.state(), w.node("n1"), w.now).note,
             Contains("SetupTaskFailed: the set-up task exited with code 3"));
  w.submit("j", 2);
  CHECK_THAT(w.reason("j"), Contains("1 idle, 1 unusable"));
  w.wait(w.settings.setup_retry_ms - 10'000);
  CHECK(agent.setup_runs.size() == 1);
  w.wait(20'000);
  CHECK(agent.setup_runs.size() == 2);
  CHECK(w.node("n1").state == NodeState::unusable);
  w.wait(w.settings.setup_retry_ms + 10'000);
  CHECK(agent.setup_runs.size() == 2);  // the second pause is longer
  w.restart_controller();
  agent.setup_error.reset();
  w.wait(w.settings.setup_retry_ms);
  CHECK(agent.setup_runs.size() == 3);
  CHECK(w.job("j").state == JobState::running);
  CHECK(seen(w).errors.empty());
  CHECK(w.node("n1").reason.empty());
}

TEST_CASE("pauses between set-ups that fail grow twofold, up to the longest") {
  World w;
  w.nodes(1);
  w.agents.at("n1").setup_error = kFailed;
  w.cluster("nc6", with_task(1));
  w.settle();
  DurationMs expected = w.settings.setup_retry_ms;
  for (int failures = 1; failures <= 10; ++failures) {
    REQUIRE(w.node("n1").state == NodeState::unusable);
    CHECK(w.node("n1").setup_retry_ms - w.node("n1").state_changed_ms == expected);
    w.wait(expected + 1'000);
    expected = std::min(2 * expected, w.settings.setup_retry_longest_ms);
  }
  CHECK(expected == w.settings.setup_retry_longest_ms);
}

TEST_CASE(
    "a volume of a node's set-up stops to work: the job fails with its error, the node is unusable until it is set up "
    "again") {
  const NodeError error{"AZFMountError", "cannot use //server/s at afs on node n1: no answer", {{"node", "n1"}}, false};
  World w;
  w.nodes(2);
  w.cluster("nc6", with_task(1));
  w.settle();
  const std::string name = w.node("n1").state == NodeState::idle ? "n1" : "n2";
  PretendAgent& agent = w.agents.at(name);
  SECTION("with a job") {
    w.submit("j", 1);
    w.submit("k", 1);
    w.settle();
    REQUIRE(w.job("j").state == JobState::running);
    agent.setup->state = SetupState::failed;
    agent.setup->error = error;
    agent.cleans = false;
    for (auto& [id, holding] : agent.holdings) {
      holding.state = HoldingState::failed;
      holding.error = error;
    }
    w.report(name);
    CHECK(w.job("j").state == JobState::stopping);
    CHECK_THAT(view(w.state(), w.node(name), w.now).note, Contains("AZFMountError: cannot use //server/s at afs"));
    agent.cleans = true;
    w.settle();
    CHECK(w.job("j").state == JobState::failed);
    CHECK(w.job("j").cause.code == "AZFMountError");
  }
  SECTION("without") {
    w.restart_controller();
    CHECK(w.node(name).state == NodeState::idle);
    w.settle();
    CHECK(w.node(name).state == NodeState::idle);
    agent.setup->state = SetupState::failed;
    agent.setup->error = error;
    w.report(name);
    w.submit("k", 1);
    w.settle();
  }
  CHECK(w.node(name).state == NodeState::unusable);
  CHECK_THAT(seen(w).reason, Contains(name + " is unusable"));
  CHECK(w.job("k").state == JobState::queued);
  w.restart_controller();
  w.settle();
  CHECK(agent.setup_runs.size() == 1);
  w.wait(w.settings.setup_retry_ms + 10'000);
  CHECK(agent.setup_runs.size() == 2);
  CHECK(w.job("k").state == JobState::running);
}

TEST_CASE("a node whose set-up broke gives no parts of itself while its jobs end") {
  World w;
  PretendAgent& agent = w.add_agent("n1");
  agent.inventory.gpus = {{"gpu0", "V100", 32}, {"gpu1", "V100", 32}};
  w.report("n1");
  w.cluster("nc6", with_task(1));
  w.settle();
  JobSpec spec = World::spec(1);
  spec.gpus_per_node = 1;
  const auto submit = [&](const std::string& name) {
    REQUIRE(w.command(SubmitJob{World::job_ref(name), World::cluster_ref("nc6"), spec, {}, "unique-" + name}).ok());
  };
  submit("j");
  w.settle();
  REQUIRE(shared_units(w.state(), w.node("n1")) == 1);
  agent.cleans = false;
  agent.setup->state = SetupState::failed;
  agent.setup->error = kFailed;
  w.report("n1");
  submit("k");
  w.settle();
  CHECK(shared_units(w.state(), w.node("n1")) == 0);
  CHECK(w.job("k").state == JobState::queued);
}

TEST_CASE("an operator's repair does not wait for the pause; only an unusable node is repaired") {
  World w;
  w.nodes(1);
  PretendAgent& agent = w.agents.at("n1");
  agent.setup_error = kFailed;
  w.cluster("nc6", with_task(1));
  w.settle();
  REQUIRE(w.node("n1").state == NodeState::unusable);
  agent.setup_error.reset();
  REQUIRE(w.command(RepairNode{"n1"}, "request-1").ok());
  REQUIRE(w.command(RepairNode{"n1"}, "request-1").ok());  // sent again by the client's library
  w.settle();
  CHECK(w.node("n1").state == NodeState::idle);
  CHECK(agent.setup_runs.size() == 2);
  const auto again = w.command(RepairNode{"n1"});
  REQUIRE_FALSE(again.ok());
  CHECK(again.error().code == Code::failed_precondition);
  CHECK(w.command(RepairNode{"nobody"}).error().code == Code::not_found);
}

TEST_CASE("a leaving node is given back only when nothing of its set-up is left") {
  World w;
  w.nodes(1);
  PretendAgent& agent = w.agents.at("n1");
  w.cluster("nc6", with_task(1));
  w.settle();
  agent.takes_down = false;
  SECTION("in contact") {
    REQUIRE(w.resize("nc6", 0).ok());
    w.settle();
    CHECK(w.node("n1").state == NodeState::leaving);
    CHECK_FALSE(w.orders("n1").setup.has_value());
    agent.takes_down = true;
    w.settle();
    CHECK(w.node("n1").state == NodeState::unassigned);
  }
  SECTION("not while a job of waitforjobcompletion still uses its mounts") {
    w.submit("j", 1);
    w.settle();
    REQUIRE(w.resize("nc6", 0, DeallocationOption::wait_for_job_completion).ok());
    w.settle();
    CHECK(w.orders("n1").setup.has_value());
    agent.takes_down = true;
    w.head_exits("j", 0);
    w.settle();
    CHECK(w.node("n1").state == NodeState::unassigned);
    CHECK_FALSE(agent.setup.has_value());
  }
  SECTION("cut off, with its cluster deleted: not given to another one before it is clean") {
    w.cut("n1");
    w.wait(31'000);
    REQUIRE(w.command(DeleteCluster{World::cluster_ref("nc6")}).ok());
    CHECK(w.node("n1").state == NodeState::unassigned);
    w.cluster("other", with_task(1));
    w.heal("n1");
    w.settle();
    CHECK(w.node("n1").state == NodeState::unassigned);
    agent.takes_down = true;
    w.settle();
    CHECK(w.node("n1").state == NodeState::idle);
    CHECK(w.node("n1").cluster == w.cluster_row("other").id);
  }
}

TEST_CASE("late and repeated reports of a set-up change nothing") {
  World w;
  w.nodes(1);
  PretendAgent& agent = w.agents.at("n1");
  agent.setup_error = kFailed;
  w.cluster("nc6", with_task(1));
  w.settle();
  const Report failed = agent.report();
  agent.setup_error.reset();
  REQUIRE(w.command(RepairNode{"n1"}).ok());
  w.step(NodeReported{failed});  // of the run before
  CHECK(w.node("n1").state == NodeState::preparing);
  w.settle();
  w.step(NodeReported{failed});
  CHECK(w.node("n1").state == NodeState::idle);
  const Report done = agent.report();
  REQUIRE(w.resize("nc6", 0).ok());
  w.settle();
  REQUIRE(w.node("n1").state == NodeState::unassigned);
  w.step(NodeReported{done});  // the node had its set-up then
  CHECK(w.state().free_inventory.contains(w.node("n1").id));
}

TEST_CASE("a cluster's volumes must exist, and what they are called is said") {
  World w;
  ClusterSpec spec = with_task(1);
  spec.vm_size = "Standard_NC6";
  spec.node_setup.blob_file_systems.push_back({"a", "nowhere", "bfs", ""});
  const auto created = w.command(CreateCluster{World::cluster_ref("nc6"), spec, "u"});
  REQUIRE_FALSE(created.ok());
  CHECK_THAT(created.error().message,
             Contains("properties.nodeSetup.mountVolumes.azureBlobFileSystems[0]: share nowhere is not in storage "
                      "account a"));
}
