// What keeps a job out of the queue: a hold, other jobs' ends; and its priority while it waits.
#include <catch2/catch.hpp>

#include "controller/plan/why.h"
#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Contains;

namespace {

Result<Subject> submit_after(World& w, const std::string& name, std::vector<DependsOn> dependencies) {
  SubmitJob submit{World::job_ref(name), World::cluster_ref("nc6"), World::spec(1), {}, name};
  submit.dependencies = std::move(dependencies);
  return w.command(submit);
}

std::string code_of(const World& w, const std::string& name) {
  return w.job(name).cause.code;
}

}  // namespace

TEST_CASE("a held job is not started until it is released, and says who holds it and why") {
  World w;
  w.ready_cluster(1);
  SubmitJob submit{World::job_ref("j"), World::cluster_ref("nc6"), World::spec(1), {}, "j"};
  submit.hold = "waits for the new data";
  REQUIRE(w.command(submit).ok());
  w.settle();
  CHECK(w.execution_state("j") == "queued");
  CHECK_THAT(w.reason("j"), Contains("held by ") && Contains("waits for the new data") && Contains("job release"));
  w.submit("behind", 1);
  w.settle();
  CHECK(w.job("behind").state == JobState::running);  // it keeps nobody else from starting
  w.head_exits("behind", 0);
  w.settle();
  w.restart_controller();
  w.settle();
  CHECK(w.execution_state("j") == "queued");
  REQUIRE(w.command(ReleaseJob{World::job_ref("j")}).ok());
  w.settle();
  CHECK(w.job("j").state == JobState::running);
  const auto late = w.command(HoldJob{World::job_ref("j"), ""});
  CHECK(late.error().code == Code::failed_precondition);
  CHECK_THAT(late.error().message, Contains("job j runs already: only a queued job can be held"));
}

TEST_CASE("a job that is queued again can be held before it is") {
  World w;
  w.running_job(1);
  w.agents.at("n1").cleans = false;
  REQUIRE(w.command(DrainNode{"n1", "disk", true}).ok());
  w.settle();
  REQUIRE(w.job("j").state == JobState::stopping);
  REQUIRE(w.command(HoldJob{World::job_ref("j"), "look at the disk first"}).ok());
  w.agents.at("n1").cleans = true;
  REQUIRE(w.command(UndrainNode{"n1"}).ok());
  w.settle();
  CHECK(w.job("j").state == JobState::queued);
  REQUIRE(w.command(ReleaseJob{World::job_ref("j")}).ok());
  w.settle();
  CHECK(w.job("j").state == JobState::running);
}

TEST_CASE("a job starts when what it waits for has ended as it should") {
  World w;
  w.ready_cluster(4);
  w.submit("prepare", 1);
  REQUIRE(submit_after(w, "train", {{"", "prepare", After::ok}}).ok());
  REQUIRE(submit_after(w, "tidy", {{"e", "prepare", After::any}, {"", "train", After::any}}).ok());
  REQUIRE(submit_after(w, "alarm", {{"", "prepare", After::not_ok}}).ok());
  w.settle();
  CHECK(w.reason("train") == "waits for e/prepare (running) to succeed");
  CHECK(w.reason("tidy") == "waits for e/prepare (running) to end, e/train (queued) to end");
  w.restart_controller();
  w.settle();
  CHECK(w.execution_state("train") == "queued");
  w.head_exits("prepare", 0);
  w.settle();
  CHECK(w.job("train").state == JobState::running);
  CHECK(w.reason("tidy") == "waits for e/train (running) to end");
  CHECK(w.job("alarm").state == JobState::failed);
  CHECK(code_of(w, "alarm") == "DependencyNeverMet");
  CHECK(w.job("alarm").cause.message ==
        "it waited for e/prepare (afterNotOk), which has succeeded: it can never start");
  w.head_exits("train", 1);
  w.settle();
  CHECK(w.job("tidy").state == JobState::running);
}

TEST_CASE("a chain of jobs ends with its first that fails, however long it is") {
  World w;
  w.ready_cluster(1);
  w.submit("j0", 1);
  for (int i = 1; i < 200; ++i) {
    REQUIRE(submit_after(w, "j" + std::to_string(i), {{"", "j" + std::to_string(i - 1), After::ok}}).ok());
  }
  w.settle();
  SECTION("it failed") {
    w.head_exits("j0", 3);
  }
  SECTION("it is terminated") {
    REQUIRE(w.terminate("j0").ok());
  }
  SECTION("it is deleted") {
    REQUIRE(w.remove("j0").ok());
  }
  w.settle();
  CHECK(w.job("j1").state == JobState::failed);
  CHECK(w.job("j199").state == JobState::failed);
  CHECK(code_of(w, "j199") == "DependencyNeverMet");
  CHECK(w.state().dependents.empty());
}

TEST_CASE("a dependency that is missing, or can never be met, is refused with its field") {
  World w;
  w.ready_cluster(1);
  CHECK_THAT(submit_after(w, "j", {{"", "nobody", After::ok}}).error().message,
             Contains("properties.dependencies[0]: job nobody is not in experiment e"));
  w.submit("failed", 1);
  w.settle();
  w.head_exits("failed", 1);
  w.settle();
  const auto never = submit_after(w, "j", {{"", "failed", After::any}, {"", "failed", After::ok}});
  CHECK(never.error().code == Code::failed_precondition);
  CHECK(never.error().message == "properties.dependencies[1]: job failed has failed: afterOk can never be met");
  REQUIRE(submit_after(w, "j", {{"", "failed", After::not_ok}}).ok());
  REQUIRE(submit_after(w, "j", {{"E", "FAILED", After::not_ok}}).ok());  // the same again
  CHECK_THAT(submit_after(w, "j", {}).error().message, Contains("with another definition"));
  w.settle();
  CHECK(w.job("j").state == JobState::running);
}

TEST_CASE("a queued job's priority can be changed, and lasts") {
  World w;
  w.running_job(1);
  w.submit("a", 1);
  w.submit("b", 1);
  w.settle();
  REQUIRE(w.command(PrioritizeJob{World::job_ref("b"), Priority::high}).ok());
  w.restart_controller();
  w.settle();
  CHECK(priority_of(w.job("b")) == Priority::high);
  w.head_exits("j", 0);
  w.settle();
  CHECK(w.job("b").state == JobState::running);
  CHECK(w.job("a").state == JobState::queued);
  w.head_exits("b", 0);
  w.settle();
  CHECK(w.command(PrioritizeJob{World::job_ref("b"), Priority::low}).error().code == Code::failed_precondition);
}

TEST_CASE("why: a held job says so, and that it would start when it is released") {
  World w;
  w.ready_cluster(2);
  w.submit("j", 2);
  w.submit("waits", 1);
  REQUIRE(w.command(HoldJob{World::job_ref("waits"), "later"}).ok());
  w.settle();
  const auto busy = plan::why(w.state(), w.job("waits"), w.now);
  REQUIRE(busy.obstacles.front().code == "heldBack");
  CHECK_THAT(busy.obstacles.front().text, Contains("later"));
  CHECK(busy.position == 0);
  CHECK(busy.relaxations.empty());
  w.head_exits("j", 0);
  w.settle();
  const auto idle = plan::why(w.state(), w.job("waits"), w.now);
  REQUIRE(idle.relaxations.size() == 1);
  CHECK(idle.relaxations.front().kind == plan::Relaxation::Kind::release);
  CHECK(idle.best.start_ms == plan::Future::kNever);
}

TEST_CASE("the jobs of a cluster that is deleted end, also those that are held or wait for others") {
  World w;
  w.ready_cluster(1);
  w.submit("a", 2);
  SubmitJob held{World::job_ref("held"), World::cluster_ref("nc6"), World::spec(1), {}, "held"};
  held.hold = "";
  REQUIRE(w.command(held).ok());
  REQUIRE(submit_after(w, "after", {{"", "held", After::any}}).ok());
  REQUIRE(w.command(DeleteCluster{World::cluster_ref("nc6")}).ok());
  w.settle();
  for (const char* name : {"a", "held", "after"}) CHECK(w.job(name).state == JobState::failed);
}
