// The life of a job: placement, phases, verdicts, clean-up, receipts.
#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Matchers::Contains;

TEST_CASE("a job runs through all phases and every attempt ends through stopping, also success") {
  World w;
  w.ready_cluster(4);
  w.submit("j", 4);
  CHECK(w.job("j").state == JobState::preparing);
  CHECK(w.job("j").attempt == 1);
  for (int i = 1; i <= 4; ++i) {
    const Orders orders = w.orders("n" + std::to_string(i));
    REQUIRE(orders.holdings.size() == 1);
    CHECK(orders.cluster == "g/w/nc6");
    CHECK(orders.store_generation == kGeneration);
    CHECK(orders.holdings[0].phase == HoldingPhase::prepare);
    CHECK(orders.holdings[0].gpu_uuids == std::vector<std::string>{"gpu-n" + std::to_string(i)});
    REQUIRE(orders.holdings[0].launch);
    CHECK(orders.holdings[0].launch->members.size() == 4);
    CHECK(orders.holdings[0].launch->members[orders.holdings[0].member].node_name == "n" + std::to_string(i));
  }
  w.settle();
  CHECK(w.job("j").state == JobState::running);
  CHECK(w.execution_state("j") == "running");
  w.head_exits("j", 0);
  for (auto& [name, agent] : w.agents) agent.cleans = false;
  w.report("n1");
  CHECK(w.job("j").state == JobState::stopping);
  CHECK(w.job("j").exit_code == 0);
  CHECK(w.execution_state("j") == "running");
  CHECK_THAT(w.reason("j"), Contains("exited 0 at 12:00:00; waiting for clean-up of n1, n2, n3 and 1 more"));
  for (int i = 1; i <= 3; ++i) w.agents.at("n" + std::to_string(i)).cleans = true;
  w.settle();
  CHECK(w.job("j").state == JobState::stopping);
  CHECK_THAT(w.reason("j"), Contains("waiting for clean-up of n4"));
  CHECK(w.node("n1").state == NodeState::idle);
  CHECK(w.node("n4").state == NodeState::running);
  w.agents.at("n4").cleans = true;
  w.settle();
  CHECK(w.job("j").state == JobState::succeeded);
  REQUIRE(w.job("j").receipts.size() == 4);
  CHECK(w.job("j").receipts[3].node_name == "n4");
  CHECK(w.job("j").receipts[3].processes_killed == 1);
  CHECK(w.job("j").ended_ms != 0);
}

TEST_CASE("a partial release of a gang is durable and its nodes are given out at once") {
  World w;
  w.running_job(2);
  w.agents.at("n2").cleans = false;
  REQUIRE(w.terminate("j").ok());
  CHECK(w.execution_state("j") == "terminating");
  w.settle();
  w.restart_controller();
  CHECK(w.held("n1") == 0);
  CHECK(w.held("n2") == 1);
  w.settle();
  w.submit("small", 1);
  CHECK(w.job("small").last_nodes == std::vector<std::string>{"n1"});
  w.agents.at("n2").cleans = true;
  w.settle();
  CHECK(w.job("j").state == JobState::failed);
  CHECK(w.job("j").cause.code == "Terminated");
}

TEST_CASE("a non-zero exit becomes a failure only when every node has reported after it") {
  World w;
  w.running_job(3);
  w.head_exits("j", 7);
  const std::uint64_t before = w.node("n2").revision;
  w.report("n1");
  CHECK(w.job("j").state == JobState::running);
  CHECK(w.job("j").exit_code == 7);
  CHECK(w.node("n2").revision == before + 1);
  CHECK_THAT(w.reason("j"), Contains("exited 7") && Contains("waiting for every node's report"));
  w.report("n2");
  CHECK(w.job("j").state == JobState::running);
  Report late = w.agents.at("n3").report();
  late.orders_revision = before;  // sent before it knew of the exit: confirms nothing
  w.step(NodeReported{late});
  CHECK(w.job("j").state == JobState::running);
  w.report("n3");
  CHECK(w.job("j").state == JobState::stopping);
  w.settle();
  CHECK(w.job("j").state == JobState::failed);
  CHECK(w.job("j").cause.code == "JobFailed");
  REQUIRE(w.job("j").errors.size() == 1);
  CHECK_FALSE(w.job("j").errors[0].infrastructure);
  CHECK(w.job("j").requeues == 0);
}

TEST_CASE("the rank that failed first is kept with the job, but not where a lost node was the reason") {
  World w;
  Recovery recovery;
  recovery.max_requeues = 0;
  w.running_job(2, recovery);
  w.head_exits("j", 3);
  const NodeError first{"JobFailed", "rank 1 on node n2 ended with exit code 3", {{"rank", "1"}}, false};
  w.agents.at("n1").holdings.begin()->second.error = first;
  SECTION("every node has reported: the user's failure") {
    w.report("n1");
    w.settle();
    CHECK(w.job("j").state == JobState::failed);
    REQUIRE(w.job("j").errors.size() == 1);
    CHECK(w.job("j").errors[0] == first);
    CHECK(w.job("j").cause.message == first.message);
  }
  SECTION("a node is gone: infrastructure") {
    w.cut("n2");
    w.report("n1");
    w.wait(31'000);
    REQUIRE(w.fence("n2").ok());
    CHECK(w.job("j").state == JobState::failed);
    REQUIRE(w.job("j").errors.size() == 1);
    CHECK(w.job("j").errors[0].code == "NodeLost");
  }
}

TEST_CASE("containers are directories of their account, like shares; attempts have ports of their own") {
  World w;
  w.ready_cluster(2);
  SubmitJob submit{World::job_ref("j"), World::cluster_ref("nc6"), World::spec(2)};
  submit.spec.blob_file_systems = {{"a", "nowhere", "data", ""}};
  CHECK_THAT(w.command(submit).error().message,
             Contains("mountVolumes.azureBlobFileSystems[0]: share nowhere is not in storage account a"));
  submit.spec.blob_file_systems[0].container_name = "s";
  REQUIRE(w.command(submit).ok());
  w.settle();
  const auto launch = w.orders("n1").holdings.at(0).launch;
  REQUIRE(launch->volumes.size() == submit.spec.file_shares.size() + 1);
  CHECK(launch->volumes.back().relative_mount_path == "data");
  CHECK(launch->first_port >= 20'000);
  CHECK(launch->first_port + kTaskPorts <= 32'768);
  w.reboot("n2", "boot-2");
  w.settle();
  REQUIRE(w.job("j").attempt == 2);
  CHECK(w.orders("n1").holdings.at(0).launch->first_port != launch->first_port);
}

TEST_CASE("a job that will find no shared directory is told so") {
  World w;
  w.ready_cluster(2);
  SubmitJob submit{World::job_ref("j"), World::cluster_ref("nc6"), World::spec(2)};
  submit.spec.file_shares.clear();
  submit.spec.command_line = "./a.out $AZ_BATCHAI_SHARED_JOB_TEMP";
  REQUIRE(w.command(submit).ok());
  REQUIRE(w.job("j").warnings.size() == 1);
  CHECK_THAT(w.job("j").warnings[0], Contains("$AZ_BATCHAI_SHARED_JOB_TEMP will be empty"));
}

TEST_CASE("a one-node job's failure needs no other report") {
  World w;
  w.running_job(1);
  w.head_exits("j", 1);
  w.report("n1");
  CHECK(w.job("j").state == JobState::stopping);
  CHECK(w.job("j").verdict == Verdict::failure);
}

TEST_CASE("a peer that says it lost its part turns the head's exit into a requeue") {
  World w;
  w.running_job(2);
  w.head_exits("j", 1);
  w.report("n1");
  auto& part = w.agents.at("n2").holdings.begin()->second;
  part.state = HoldingState::lost;
  part.error = {"NodeLost", "the shim died", {}, true};
  w.report("n2");
  CHECK(w.job("j").verdict == Verdict::requeue);
  CHECK(w.job("j").requeues == 1);
  w.settle();
  CHECK(w.job("j").attempt == 2);
  CHECK(w.job("j").state == JobState::running);
  CHECK_FALSE(w.job("j").exit_code.has_value());
}

TEST_CASE("infrastructure failures use the budget, then the job fails with the cause") {
  World w;
  w.running_job(1);
  for (int attempt = 1; attempt <= 2; ++attempt) {
    auto& part = w.agents.at("n1").holdings.begin()->second;
    part.state = HoldingState::lost;
    part.error = {"NodeLost", "the shim died", {}, true};
    w.settle();
  }
  CHECK(w.job("j").state == JobState::failed);
  CHECK(w.job("j").attempt == 2);
  CHECK_THAT(w.job("j").cause.message, Contains("the shim died") && Contains("1 of 1 requeues were used"));
}

TEST_CASE("a failed preparation stops it everywhere; the machines' fault is requeued, the user's is not") {
  const bool infrastructure = GENERATE(false, true);
  World w;
  w.ready_cluster(2);
  w.agents.at("n1").prepares = false;
  w.agents.at("n2").prepares = false;
  w.submit("j", 2);
  auto& part = w.agents.at("n2").holdings.begin()->second;
  part.state = HoldingState::failed;
  part.error = {"JobPreparationFailed", "exit code 3", {}, infrastructure};
  w.report("n2");
  CHECK(w.job("j").state == JobState::stopping);
  CHECK(w.orders("n1").holdings[0].phase == HoldingPhase::stop);
  w.agents.at("n1").prepares = w.agents.at("n2").prepares = true;
  w.settle();
  if (infrastructure) {
    CHECK(w.job("j").state == JobState::running);
    CHECK(w.job("j").attempt == 2);
  } else {
    CHECK(w.job("j").state == JobState::failed);
    REQUIRE(w.job("j").errors.size() == 1);
    CHECK(w.job("j").errors[0].message == "node n2: exit code 3");
  }
}

TEST_CASE("what a node cannot end is an alarm of the job and the node until it is over; its GPUs stay taken") {
  World w;
  w.running_job(2);
  CHECK(w.orders("n1").holdings[0].launch->run_as.uid >= 20'000);  // of the workspace's own
  CHECK(w.orders("n1").holdings[0].launch->run_as == w.job("j").run_as);
  w.agents.at("n1").cleans = false;
  REQUIRE(w.terminate("j").ok());
  w.settle();
  const std::string what = "process 77 (python3) does not end: state D";
  const auto say = [&w](const std::string& text) {
    w.agents.at("n1").holdings.begin()->second.stuck = text;
    w.report("n1");
    w.report("n1");  // said once
  };
  const auto alarms = [&w] {
    return std::count_if(w.timeline.begin(), w.timeline.end(), [](const TimelineLine& line) {
      return line.subject.starts_with("job:") && line.what.starts_with("ALARM");
    });
  };
  say(what);
  CHECK(w.reason("j").find("ALARM: node n1: " + what) != std::string::npos);
  CHECK(view(w.state(), w.node("n1"), w.now).note.find(what) != std::string::npos);
  CHECK(alarms() == 1);
  CHECK(w.held("n1") == 1);
  CHECK(w.held("n2") == 0);
  CHECK(w.job("j").state == JobState::stopping);
  say("");
  CHECK(w.reason("j").find("ALARM") == std::string::npos);
  say(what);
  CHECK(alarms() == 2);
  w.agents.at("n1").cleans = true;
  w.settle();
  CHECK(w.job("j").state == JobState::failed);
  CHECK(w.held("n1") == 0);
  CHECK(w.state().stuck.empty());
}

TEST_CASE("the first verdict wins, except that a cancel replaces a requeue") {
  World w;
  w.running_job(1);
  w.agents.at("n1").cleans = false;
  SECTION("success stays") {
    w.head_exits("j", 0);
    w.report("n1");
    CHECK(w.terminate("j").ok());
    w.agents.at("n1").cleans = true;
    w.settle();
    CHECK(w.job("j").state == JobState::succeeded);
  }
  SECTION("requeue gives way") {
    REQUIRE(w.resize("nc6", 0).ok());
    CHECK(w.job("j").verdict == Verdict::requeue);
    REQUIRE(w.terminate("j").ok());
    CHECK(w.execution_state("j") == "terminating");
    w.agents.at("n1").cleans = true;
    w.settle();
    CHECK(w.job("j").state == JobState::failed);
    CHECK(w.terminate("j").ok());  // of a finished job: no change
    CHECK(w.job("j").cause.code == "Terminated");
  }
}

TEST_CASE("a queued job that is terminated fails at once and holds nothing") {
  World w;
  w.cluster("nc6", 1);
  w.submit("j", 1);
  REQUIRE(w.terminate("j").ok());
  CHECK(w.job("j").state == JobState::failed);
  CHECK(w.state().queues.empty());
}

TEST_CASE("limits: maxWallClockTime cancels, the preparation limit fails") {
  World w;
  w.ready_cluster(1);
  SECTION("wall clock") {
    JobSpec spec = World::spec(1);
    spec.max_wall_clock_ms = 60'000;
    REQUIRE(w.command(SubmitJob{World::job_ref("j"), World::cluster_ref("nc6"), spec, {}, "u"}).ok());
    w.settle();
    w.wait(59'000);
    CHECK(w.job("j").state == JobState::running);
    CHECK(w.core->next_deadline() == w.job("j").started_ms + 60'000);
    w.wait(2'000);
    CHECK(w.job("j").state == JobState::failed);
    CHECK(w.job("j").cause.code == "TimeLimit");
  }
  SECTION("preparation") {
    w.agents.at("n1").prepares = false;
    w.submit("j", 1);
    w.wait(30 * 60'000 + 1'000);
    CHECK(w.job("j").state == JobState::failed);
    CHECK(w.job("j").cause.code == "PreparationTimeLimit");
  }
}

TEST_CASE("a deleted job is gone when nothing reachable is left; unreachable holdings stay as orphans") {
  World w;
  w.running_job(2);
  w.cut("n2");
  w.wait(31'000);
  CHECK_FALSE(w.node("n2").live.reachable);
  REQUIRE(w.remove("j").ok());
  REQUIRE(w.find_job("j") != nullptr);
  CHECK(w.job("j").deleting);
  w.settle();
  CHECK(w.find_job("j") == nullptr);
  CHECK(w.held("n2") == 1);
  const NodeView shown = view(w.state(), w.node("n2"), w.now);
  CHECK(shown.state == "unreachable");
  REQUIRE(shown.running.size() == 1);
  CHECK_THAT(shown.running[0], Contains("j (attempt 1) orphan"));
  w.restart_controller();
  w.heal("n2");
  w.settle();
  CHECK(w.held("n2") == 0);
  CHECK(w.node("n2").state == NodeState::idle);
}

TEST_CASE("why a job waits: numbers, names, and who is before it") {
  World w;
  w.ready_cluster(4);
  w.submit("cifar_1", 1);
  w.settle();
  w.agents.at("n4").connected = false;
  w.submit("big", 4);
  w.submit("small", 1);
  CHECK(w.reason("big") == "needs 4 idle nodes of nc6; 3 idle, 1 running cifar_1");
  CHECK(w.reason("small") == "needs 1 idle node of nc6; 3 idle, 1 running cifar_1; behind 1 job, first: big (needs 4)");
  w.wait(31'000);
  CHECK_THAT(w.reason("big"), Contains("2 idle, 1 running cifar_1, 1 unreachable"));
  w.submit("huge", 5);
  CHECK(w.reason("huge") == "needs 5 nodes; nc6's target is 4: it can never start until the cluster is resized");
  REQUIRE(w.job("huge").warnings.size() == 1);
}

TEST_CASE("a job that can never fit does not block those behind it; one that must wait does") {
  World w;
  w.ready_cluster(2);
  w.submit("huge", 3);
  w.submit("fits", 1);
  CHECK(w.job("fits").state == JobState::preparing);
  w.submit("waits", 2);
  w.submit("behind", 1);
  CHECK(w.job("waits").state == JobState::queued);
  CHECK(w.job("behind").state == JobState::queued);
  REQUIRE(w.resize("nc6", 3).ok());
  CHECK(w.job("behind").state == JobState::queued);
}

TEST_CASE("priority comes before age") {
  World w;
  w.nodes(1);
  w.cluster("nc6", 1);
  w.submit("old", 1);
  JobSpec spec = World::spec(1);
  spec.priority = Priority::high;
  REQUIRE(w.command(SubmitJob{World::job_ref("urgent"), World::cluster_ref("nc6"), spec, {}, "u"}).ok());
  w.settle();
  CHECK(w.job("urgent").state == JobState::running);
  CHECK(w.job("old").state == JobState::queued);
}

TEST_CASE("a job that has ended runs again as a new one, under the next free name") {
  World w;
  w.running_job(2);
  const auto early = w.command(RerunJob{World::job_ref("j"), "", "u2"});
  REQUIRE(!early.ok());
  CHECK(early.error().code == Code::failed_precondition);
  CHECK_THAT(early.error().message, Contains("has not ended"));
  w.head_exits("j", 3);
  w.settle();
  CHECK(w.execution_state("j") == "failed");

  REQUIRE(w.command(RerunJob{World::job_ref("j"), "", "u2"}, "request-1").ok());
  CHECK(w.job("j-2").rerun_of == "j");
  CHECK(*w.job("j-2").spec == *w.job("j").spec);
  CHECK(w.job("j-2").segment != w.job("j").segment);
  CHECK(w.execution_state("j") == "failed");  // its record stays
  REQUIRE(w.command(RerunJob{World::job_ref("j"), "", "u3"}, "request-1").ok());
  CHECK(w.find_job("j-3") == nullptr);  // the same request: not twice
  w.settle();
  CHECK(w.execution_state("j-2") == "running");
  w.restart_controller();
  w.settle();
  CHECK(w.job("j-2").rerun_of == "j");
  w.head_exits("j-2", 0);
  w.settle();
  CHECK(w.execution_state("j-2") == "succeeded");

  REQUIRE(w.command(RerunJob{World::job_ref("j-2"), "", "u4"}).ok());
  CHECK(w.job("j-3").rerun_of == "j-2");
  REQUIRE(w.command(RerunJob{World::job_ref("j"), "again", "u5"}).ok());
  CHECK(w.job("again").rerun_of == "j");
  CHECK(w.command(RerunJob{World::job_ref("j"), "j-2", "u6"}).error().code == Code::already_exists);
  CHECK(w.command(RerunJob{World::job_ref("nobody"), "", "u7"}).error().code == Code::not_found);
}

TEST_CASE("secrets go to the nodes of an attempt only, and are part of no launch") {
  World w;
  w.ready_cluster(3);
  JobSpec spec = World::spec(2);
  spec.secrets = {{"TOKEN", "sealed"}};
  REQUIRE(w.command(SubmitJob{World::job_ref("j"), World::cluster_ref("nc6"), spec, {}, "u"}).ok());
  int told = 0;
  for (const char* name : {"n1", "n2", "n3"}) {
    for (const HoldingOrder& order : w.orders(name).holdings) {
      CHECK(order.secrets == spec.secrets);
      CHECK(order.launch->spec.secrets.empty());
      ++told;
    }
  }
  CHECK(told == 2);
  REQUIRE(w.terminate("j").ok());
  for (const char* name : {"n1", "n2", "n3"}) {
    for (const HoldingOrder& order : w.orders(name).holdings) CHECK(order.secrets.empty());
  }
}
