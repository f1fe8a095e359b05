// Who gives way to whom, when, and that nothing goes back and forth.
#include "controller/plan/preempt.h"

#include <catch2/catch.hpp>
#include <random>

#include "tests/core/scene.h"
#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Contains;

namespace {

const plan::Settings kClasses{.preemption = plan::Preemption::classes};

// "a>x b>x": a and b give way to x.
std::string gives_way(const core::State& state, const plan::Settings& settings = {}) {
  std::string all;
  for (const core::Preemption& one : plan::make_plan(state, kSceneNow, settings).preemptions) {
    all += (all.empty() ? "" : " ") + state.jobs.at(one.job).name + ">" + state.jobs.at(one.gives_way_to).name;
  }
  return all;
}
std::string gives_way(const std::string& text, const plan::Settings& settings = {}) {
  return gives_way(scene(text), settings);
}

}  // namespace

TEST_CASE("a lower class gives way where the operator has switched it on") {
  const std::string text = "nodes 2\nruns a 2 since 10 low\nqueued x 1 high";
  CHECK(gives_way(text, kClasses) == "a>x");
  CHECK(gives_way(text) == "");
  CHECK(gives_way(text, {.preemption = plan::Preemption::off}) == "");
  CHECK(gives_way("nodes 2\nruns a 2 since 10\nqueued x 1", kClasses) == "");           // the same class
  CHECK(gives_way("nodes 2\nruns a 1 since 10 low\nqueued x 1 high", kClasses) == "");  // there is room
}

TEST_CASE("the lowest class gives way first, then who loses least; no more than are needed") {
  CHECK(gives_way("nodes 3\nruns a 1 since 90 low\nruns b 1 since 10 low\nruns c 1 since 20 low\nqueued x 1",
                  kClasses) == "b>x");
  CHECK(gives_way("nodes 3\nruns a 1 since 90 low\nruns b 1 since 10\nruns c 1 since 20 low\nqueued x 1 high",
                  kClasses) == "c>x");
  // b alone is not enough; with a it is not needed any more.
  CHECK(gives_way("nodes 4\nruns a 4 since 90 low\nqueued x 4", kClasses) == "a>x");
  CHECK(gives_way("nodes 4\nruns b 1 since 10 low\nruns a 3 since 90 low\nqueued x 3", kClasses) == "a>x");
  // Even all of them would not do: nobody is stopped for nothing.
  CHECK(gives_way("nodes 4\nruns a 2 since 90 low\nruns b 2 since 20 high\nqueued x 3", kClasses) == "");
  CHECK(gives_way("nodes 2x4\nruns a 1x2 since 90 low\nruns b 1x2 since 80 low\nruns c 1x4 since 70 high\n"
                  "queued x 1x3",
                  kClasses) == "b>x a>x");
}

TEST_CASE("who has a checkpoint loses what came after it") {
  core::State state = scene("nodes 3\nruns a 1 since 90 low\nruns b 1 since 10 low\nruns c 1 since 20 low\nqueued x 1");
  const auto tell = [&](const std::string& name, Progress progress) {
    const core::Job& job = job_of(state, name);
    state.progress[{job.id, job.attempt}] = progress;
  };
  CHECK(gives_way(state, kClasses) == "b>x");
  tell("a", {100, 0, 91});  // 8 minutes of 90
  CHECK(gives_way(state, kClasses) == "a>x");
  tell("c", {1'000, 2'000, 999});
  CHECK(gives_way(state, kClasses) == "c>x");
  tell("c", {~0ULL, 0, ~0ULL});  // nonsense counts as nothing
  CHECK(gives_way(state, kClasses) == "a>x");
  tell("a", {5, 0, 9});
  CHECK(gives_way(state, kClasses) == "a>x");
}

TEST_CASE("nobody gives way on a node that would not be given to the job") {
  const std::string text = "nodes 2\nruns a 1 since 10 low\nruns b 1 since 90 low\nqueued x 1 high\n";
  CHECK(gives_way(text, kClasses) == "a>x");
  for (const char* what : {"drained n1", "cut n1", "leaving n1"}) {
    CAPTURE(what);
    CHECK(gives_way(text + what, kClasses) == "b>x");
  }
  CHECK(gives_way("nodes 2\nengine n2\nruns a 1 since 10 low\nruns b 1 since 90 low\nqueued x 1 high image",
                  kClasses) == "b>x");
}

TEST_CASE("who has just begun is spared") {
  CHECK(gives_way("nodes 1\nruns a 1 since 4 low\nqueued x 1 high", kClasses) == "");
  CHECK(gives_way("nodes 1\nruns a 1 since 5 low\nqueued x 1 high", kClasses) == "a>x");
}

TEST_CASE("what is being stopped already is not asked for twice") {
  core::State state = scene(
      "nodes 3\nruns a 1 since 50 low\nruns b 1 since 10 low\nruns c 1 since 9 low\n"
      "queued x 1 high\nqueued y 1 high");
  CHECK(gives_way(state, kClasses) == "c>x b>y");
  core::Job& job = state.jobs.at(job_of(state, "c").id);
  job.state = core::JobState::stopping;
  job.verdict = core::Verdict::requeue;
  CHECK(gives_way(state, kClasses) == "b>y");
}

TEST_CASE("a workspace takes back what it is guaranteed from those that borrow") {
  const std::string text =
      "nodes 4\nquota w guaranteed 2\nquota w2 guaranteed 2\n"
      "runs a 1 since 50 in w2\nruns b 1 since 40 in w2\nruns c 1 since 30 in w2\n"
      "runs d 1 since 20 in w2\n";
  CHECK(gives_way(text + "queued x 1") == "d>x");
  CHECK(gives_way(text + "queued x 2") == "d>x c>x");
  CHECK(gives_way(text + "queued x 1\nqueued y 1\nqueued z 1") == "d>x c>y");  // z would be more than guaranteed
  CHECK(gives_way(text + "queued x 3") == "");
  CHECK(gives_way(
            "nodes 3\nquota w guaranteed 2\nruns a 1 since 50 in w2\nruns b 1 since 40 in w2\nruns c 1 since 30 in w2\n"
            "queued x 1\nqueued y 1\nqueued z 1") == "c>x b>y");
  CHECK(gives_way(text + "queued x 1 in w3") == "");  // nothing is guaranteed to it
  CHECK(gives_way(text + "queued x 1 high in w3") == "");
}

TEST_CASE("a guarantee goes before a class: of another workspace, only who borrows gives way to a higher one") {
  const std::string text = "nodes 2\nquota w2 guaranteed 1\nruns a 1 since 50 low in w2\nruns b 1 since 40 low in w2\n";
  CHECK(gives_way(text + "queued x 1 high", kClasses) == "b>x");
  CHECK(gives_way(text + "queued x 2 high", kClasses) == "");
  CHECK(gives_way(text + "queued x 2 high in w2", kClasses) == "b>x a>x");                  // its own lower class does
  CHECK(gives_way(text + "quota w guaranteed 2\nqueued x 2 high", kClasses) == "b>x a>x");  // guaranteed to both
}

TEST_CASE("what is taken back from a higher class is not lent out again while its owner waits or runs") {
  const auto rule = GENERATE(plan::Preemption::quota, plan::Preemption::classes);
  World w;
  w.plan_settings.preemption = rule;
  w.ready_cluster(2);
  REQUIRE(w.command(CreateWorkspace{{"g", "w2"}, "", {}}).ok());
  REQUIRE(w.command(CreateExperiment{{"g", "w2", "e"}}).ok());
  REQUIRE(w.command(SetQuota{{"g", "w"}, {0, 2, 1}}).ok());
  SubmitJob borrows{{"g", "w2", "e", "borrows"}, World::cluster_ref("nc6"), World::spec(2), {}, "borrows"};
  borrows.spec.priority = Priority::high;
  REQUIRE(w.command(borrows).ok());
  w.settle();
  const auto lent = [&]() -> const core::Job& { return w.state().jobs.begin()->second; };
  REQUIRE(lent().state == JobState::running);
  w.wait(6 * kMinute);
  w.submit("x", 2);
  w.settle();
  REQUIRE(w.job("x").state == JobState::running);
  CHECK(lent().state == JobState::queued);
  w.wait(60 * kMinute);
  CHECK(w.job("x").attempt == 1);
  CHECK(lent().attempt == 1);
  w.head_exits("x", 0);
  w.settle();
  CHECK(lent().state == JobState::running);
}

TEST_CASE("behind a job that cannot be helped others are, where they start beside what it is promised") {
  // a needs all four nodes, of which r gives none: it is promised them for +50, when l is gone.
  const std::string text =
      "nodes 4\nruns r 3 since 10 limit 60 high\nruns l 1 since 10 low\nqueued a 4 limit 60 high\n";
  CHECK(gives_way(text + "queued b 1 limit 40 high", kClasses) == "l>b");
  CHECK(gives_way(text + "queued b 1 limit 49 high", kClasses) == "");  // l is not gone at once
  CHECK(gives_way(text + "queued b 1 limit 60 high", kClasses) == "");  // a would wait for it
  CHECK(gives_way(text + "queued b 1 high", kClasses) == "");
  // There may be more that cannot be helped.
  CHECK(gives_way(text + "queued b 1 limit 60 high\nqueued c 1 limit 40 high", kClasses) == "l>c");
  CHECK(gives_way(text + "queued b 1 limit 60 high\nqueued c 1 limit 60 high", kClasses) == "");
}

TEST_CASE("what is free and promised to a job that cannot be helped is not given to those behind it") {
  // n6 is idle, for a: it gets it with r's nodes.
  const std::string text =
      "nodes 6\nruns r 3 since 10 limit 60 high\nruns l 1 since 10 low\nruns m 1 since 20 low\n"
      "queued a 4 limit 60 high\n";
  CHECK(gives_way(text + "queued b 1 high", kClasses) == "l>b");
  CHECK(gives_way(text + "queued b 1 high\nqueued c 1 high", kClasses) == "l>b m>c");
  CHECK(gives_way(text + "queued b 2 high", kClasses) == "l>b m>b");
  CHECK(gives_way(text + "queued b 3 high", kClasses) == "");
}

TEST_CASE("nobody gives way for a job behind another one that would take the nodes") {
  const std::string text = "nodes 3\nquota w guaranteed 1\nruns r 1 since 10 limit 60 in w2\nruns l 1 since 6 in w2\n";
  // a, to which nothing is guaranteed, would start on n3 and what l gave back.
  CHECK(gives_way(text + "queued a 2 high in w3\nqueued b 1") == "");
  CHECK(gives_way(text + "queued a 3 high in w3\nqueued b 1") == "");
  CHECK(gives_way(text + "queued a 3 high in w3\nqueued b 1 limit 40") == "");  // n3 is free for b as it is
}

TEST_CASE("a preempted job is queued again without its budget, gets notice, and runs when there is room") {
  World w;
  w.plan_settings = kClasses;
  w.ready_cluster(1);
  SubmitJob low{World::job_ref("low"), World::cluster_ref("nc6"), World::spec(1), {}, "low"};
  low.spec.priority = Priority::low;
  low.spec.recovery.max_requeues = 0;
  REQUIRE(w.command(low).ok());
  w.settle();
  w.wait(6 * kMinute);
  w.agents.at("n1").cleans = false;
  w.submit("x", 1);
  w.settle();
  REQUIRE(w.job("low").state == JobState::stopping);
  CHECK_THAT(w.reason("low"), Contains("x of workspace w has a higher priority") && Contains("queued again"));
  CHECK(w.orders("n1").holdings.at(0).notice_ms == 30'000);
  CHECK(w.orders("n1").holdings.at(0).grace_ms == 10'000);
  w.agents.at("n1").cleans = true;
  w.settle();
  CHECK(w.job("x").state == JobState::running);
  CHECK(w.job("low").state == JobState::queued);
  CHECK(w.job("low").requeues == 0);
  w.wait(30 * kMinute);
  CHECK(w.job("x").attempt == 1);  // nothing goes back and forth
  w.head_exits("x", 0);
  w.settle();
  CHECK(w.job("low").state == JobState::running);
  CHECK(w.job("low").attempt == 2);
}

TEST_CASE("who is spared at first gives way when it has run long enough, without any other event") {
  World w;
  w.plan_settings = kClasses;
  w.ready_cluster(1);
  SubmitJob low{World::job_ref("low"), World::cluster_ref("nc6"), World::spec(1), {}, "low"};
  low.spec.priority = Priority::low;
  REQUIRE(w.command(low).ok());
  w.settle();
  w.submit("x", 1);
  w.settle();
  w.wait(4 * kMinute);
  CHECK(w.job("low").state == JobState::running);
  w.wait(2 * kMinute);
  CHECK(w.job("x").state == JobState::running);
}

TEST_CASE("a terminated job gets no notice, a drained one does") {
  World w;
  w.running_job(1);
  w.agents.at("n1").cleans = false;
  SECTION("terminated") {
    REQUIRE(w.terminate("j").ok());
    CHECK(w.orders("n1").holdings.at(0).notice_ms == 0);
  }
  SECTION("drained") {
    REQUIRE(w.command(DrainNode{"n1", "disk", true}).ok());
    CHECK(w.orders("n1").holdings.at(0).notice_ms == 30'000);
  }
}

TEST_CASE("after preemptions whoever they are for fits, in thousands of random states") {
  std::mt19937 random(5);
  const auto draw = [&](int from, int to) {
    return std::to_string(from + static_cast<int>(random() % static_cast<unsigned>(to - from + 1)));
  };
  const char* const classes[] = {" low", "", " high"};
  const char* const places[] = {"", " in w2", " by bob in w2", " in w3"};
  int preempted = 0, behind = 0;
  for (int round = 0; round < 2'000; ++round) {
    // Of classes or of guarantees; in an order that does not change when somebody is gone.
    const bool by_class = random() % 2 == 0;
    const plan::Settings settings{.order = {.fair_share = false},
                                  .preemption = by_class ? plan::Preemption::classes : plan::Preemption::quota};
    std::string text = "nodes 8x4\n";
    if (!by_class || random() % 2 == 0)
      text += "quota w guaranteed " + draw(1, 16) + "\nquota w2 guaranteed " + draw(1, 16) + "\n";
    int left = 8;
    for (int i = 0; i < 6 && left > 0; ++i) {
      const int nodes = 1 + static_cast<int>(random() % static_cast<unsigned>(left));
      left -= nodes;
      text += "runs r" + std::to_string(i) + " " + std::to_string(nodes) + (random() % 2 ? "x" + draw(1, 4) : "") +
              " since " + draw(0, 60) + classes[random() % 3] + places[random() % 4] + "\n";
    }
    for (int i = 0; i < 4; ++i) {
      text += "queued q" + std::to_string(i) + " " + draw(1, 8) + (random() % 2 ? "x" + draw(1, 4) : "") +
              classes[random() % 3] + places[random() % 4] + "\n";
    }
    core::State state = scene(text);
    INFO(text);
    const plan::Plan first = plan::make_plan(state, kSceneNow, settings);
    if (first.preemptions.empty() || !first.placements.empty()) continue;
    std::set<JobId> gone, winners;
    for (const core::Preemption& one : first.preemptions) {
      CHECK(gone.insert(one.job).second);
      winners.insert(one.gives_way_to);
    }
    preempted += static_cast<int>(gone.size());
    for (const JobId winner : winners) {
      behind += std::any_of(state.jobs.begin(), state.jobs.find(winner), [&](const auto& other) {
        return other.second.state == core::JobState::queued && !winners.contains(other.first) &&
               core::priority_of(other.second) == core::priority_of(state.jobs.at(winner));
      });
    }
    // When they are queued again, the winners start all the same.
    for (const JobId id : gone) {
      for (const core::HoldingKey& key : std::set<core::HoldingKey>(state.job_holdings.at(id))) {
        state.holdings.erase(key);
      }
      state.jobs.at(id).state = core::JobState::queued;
    }
    for (auto& [id, node] : state.nodes) {
      if (core::holds_nothing(state, id)) node.state = core::NodeState::idle;
    }
    core::rebuild_indexes(state);
    const plan::Plan second = plan::make_plan(state, kSceneNow, settings);
    // Those who could not be helped may be now; the others need no more.
    for (const core::Preemption& one : second.preemptions) CHECK_FALSE(winners.contains(one.gives_way_to));
    std::size_t started = 0;
    for (const core::Placement& placement : second.placements) started += winners.contains(placement.job) ? 1 : 0;
    CHECK(started == winners.size());
  }
  CHECK(preempted > 100);
  CHECK(behind > 10);
}
