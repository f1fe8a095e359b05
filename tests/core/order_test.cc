// Whose turn it is: classes, age, guaranteed numbers, fair shares; and limits of workspaces.
#include <catch2/catch.hpp>

#include "controller/plan/shares.h"
#include "controller/plan/why.h"
#include "tests/core/scene.h"
#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Contains;

namespace {

constexpr DurationMs kHour = 60 * kMinute;

std::uint64_t use_of(const core::State& state, const core::Payer& payer, TimeMs now_ms) {
  return plan::Shares(state, now_ms).use_of(payer);
}

}  // namespace

TEST_CASE("owners have their turns by what they had: who had nothing goes first") {
  const std::string nodes = "nodes 2\n";
  CHECK(starts(nodes + "had alice in w 60\nqueued a 1 by alice\nqueued b 1 by alice\nqueued c 1 by bob") == "c a");
  // What runs counts, too, and each GPU that is given counts for the next turn.
  CHECK(starts("nodes 4\nruns r 1 since 5 by alice\nqueued a 1 by alice\nqueued b 1 by bob\nqueued c 1 by bob\n"
               "queued d 1 by bob") == "b c a");
  CHECK(starts("nodes 4\nqueued a 1 by alice\nqueued b 1 by alice\nqueued c 1 by alice\nqueued d 1 by bob\n"
               "queued e 1 by bob") == "a d b e");
  // Classes go before shares.
  CHECK(starts(nodes + "had alice in w 600\nqueued a 1 by alice high\nqueued b 1 by bob\nqueued c 1 by bob") == "a b");
}

TEST_CASE("a class of the operator's goes where its number says") {
  core::State state = scene("nodes 1\nqueued a 1\nqueued b 1 high\nqueued c 1 low\nqueued d 1");
  const auto put = [&](const std::string& name, int number) {
    state.jobs.at(job_of(state, name).id).new_priority = Priority{number};
    core::rebuild_indexes(state);
  };
  put("a", 200);
  CHECK(starts(state) == "a");
  put("a", 50);
  CHECK(starts(state) == "b");
  state.classes = {{"urgent", Priority{500}}};
  put("b", -200);
  const plan::Why c = plan::why(state, job_of(state, "c"), kSceneNow);
  REQUIRE(!c.relaxations.empty());
  CHECK(c.relaxations.back().text == "with priority high it would start now");
  put("b", 100);
  const plan::Why d = plan::why(state, job_of(state, "d"), kSceneNow);
  REQUIRE(!d.relaxations.empty());
  CHECK(d.relaxations.back().text == "with priority urgent it would start now");
  CHECK(d.relaxations.back().priority_class == "urgent");
}

TEST_CASE("workspaces share by their weights, their owners within them") {
  const std::string busy = "nodes 6\nquota w2 weight 2\n";
  std::string queue;
  for (int i = 0; i < 6; ++i) {
    queue += "queued a" + std::to_string(i) + " 1 by alice\nqueued b" + std::to_string(i) + " 1 by bob in w2\n";
  }
  CHECK(starts(busy + queue) == "a0 b0 b1 a1 b2 b3");
  // Two owners of one workspace get no more than one of another.
  CHECK(
      starts("nodes 4\nqueued a 1 by alice\nqueued b 1 by bob\nqueued c 1 by carol in w2\nqueued d 1 by carol in w2") ==
      "a c b d");
}

TEST_CASE("what a workspace had counts for all its owners, also when none of those that had it is there any more") {
  CHECK(starts("nodes 1\nhad alice in w 600\nqueued b 1 by bob\nqueued c 1 by carol in w2") == "c");
  CHECK(starts("nodes 1\nhad alice in w 600\nhad dan in w2 900\nqueued b 1 by bob\nqueued c 1 by carol in w2") == "b");
}

TEST_CASE("without fair share the oldest goes first") {
  CHECK(starts("nodes 2\nhad alice in w 60\nqueued a 1 by alice\nqueued b 1 by alice\nqueued c 1 by bob",
               {.order = {.fair_share = false}}) == "a b");
}

TEST_CASE("who has waited too long goes before fair share") {
  core::State state = scene("nodes 1\nhad alice in w 6000\nqueued a 1 by alice\nqueued b 1 by bob");
  CHECK(starts(state) == "b");
  state.jobs.at(job_of(state, "a").id).created_ms = kSceneNow - 3 * 24 * kHour - 1;
  CHECK(starts(state) == "a");
}

TEST_CASE("what was had counts half after each half-life") {
  constexpr DurationMs kWeek = 7 * 24 * kHour;
  CHECK(core::decayed(1'024, 0, kWeek) == 1'024);
  CHECK(core::decayed(1ULL << 40, kWeek, kWeek) == 1ULL << 39);
  CHECK(core::decayed(1ULL << 40, 3 * kWeek, kWeek) == 1ULL << 37);
  CHECK(core::decayed(1ULL << 40, kWeek / 2, kWeek) == (1ULL << 40) / 4 * 3);
  CHECK(core::decayed(~0ULL, 100 * kWeek, kWeek) == 0);
  std::uint64_t last = 1ULL << 50;
  for (DurationMs elapsed = 0; elapsed < 4 * kWeek; elapsed += kHour) {
    const std::uint64_t now = core::decayed(1ULL << 50, elapsed, kWeek);
    CHECK(now <= last);
    last = now;
  }
}

TEST_CASE("a workspace never exceeds its limit; jobs of others go past its waiting ones") {
  const std::string text = "nodes 4x4\nquota w2 limit 8\nruns r 1 since 5 limit 60 in w2\n";
  CHECK(starts(text + "queued a 2 in w2\nqueued b 1 in w2\nqueued c 1 in w2\nqueued d 1") == "d b");
  CHECK(starts(text + "queued a 1x2 in w2\nqueued b 1x2 in w2\nqueued c 1x1 in w2") == "a b");
  const core::State state = scene(text + "queued a 2 in w2\nqueued never 3 in w2");
  const plan::Why a = plan::why(state, job_of(state, "a"), kSceneNow);
  CHECK(a.possible);
  CHECK(a.obstacles.front().code == "quota");
  CHECK(a.obstacles.front().text == "workspace w2 has 4 of at most 8 GPUs, and this needs 8");
  REQUIRE(!a.relaxations.empty());
  CHECK(a.relaxations.back().text == "with a limit of 12 GPUs of workspace w2 it would start now");
  CHECK_FALSE(plan::why(state, job_of(state, "never"), kSceneNow).possible);
  CHECK_THAT(core::why_queued(state, job_of(state, "never")), Contains("can never start until an operator raises"));
}

TEST_CASE("what keeps a workspace within its guarantee goes before all classes, in the workspace's own order") {
  CHECK(starts("nodes 4\nquota w2 guaranteed 2\nqueued a 4 high\nqueued b 1 low in w2") == "b");
  // By class among those to whom something is guaranteed.
  const std::string both = "nodes 2\nquota w guaranteed 2\nquota w2 guaranteed 2\n";
  CHECK(starts(both + "queued a 1 low\nqueued b 1 in w2\nqueued c 1 high in w3") == "b a");
  // Its own low job does not go past its high one, for which more is needed.
  CHECK(starts("nodes 4\nquota w2 guaranteed 2\nqueued big 3 high in w2\nqueued small 1 low in w2\nqueued x 1") ==
        "big x");
  // Another owner's does, unless it has waited too long.
  core::State state = scene("nodes 4\nquota w2 guaranteed 2\nqueued big 4 by alice in w2\nqueued small 1 by bob in w2");
  CHECK(starts(state) == "small");
  state.jobs.at(job_of(state, "big").id).created_ms = kSceneNow - 3 * 24 * kHour - 1;
  CHECK(starts(state) == "big");
  // More than that is its turn like everybody's.
  CHECK(starts("nodes 3\nquota w2 guaranteed 1\nqueued a 1 in w2\nqueued b 1 in w2\nqueued c 2 high") == "a c");
}

TEST_CASE("a workspace that has less than it is guaranteed goes first within the class") {
  const std::string text = "nodes 4\nhad alice in w2 6000\nquota w2 guaranteed 2\n";
  CHECK(starts(text + "queued a 1\nqueued b 1 by alice in w2\nqueued c 1 by alice in w2\nqueued d 1 by alice in w2\n"
                      "queued e 1") == "b c a e");
  CHECK(starts(text + "queued c 2\nqueued b 3 by alice in w2") == "b");  // also with a job that exceeds it
}

TEST_CASE("what a payer's holdings had is kept when they are given back, over restarts too") {
  World w;
  w.ready_cluster(2);
  w.submit("j", 2);
  w.settle();
  const core::Payer payer = core::payer_of(w.state(), w.job("j"));
  CHECK(w.state().held.at(payer).gpus == 2);
  const TimeMs placed_ms = w.state().holdings.begin()->second.since_ms;
  w.wait(kHour);
  const auto running = use_of(w.state(), payer, w.now);
  CHECK(running == static_cast<std::uint64_t>(2 * (w.now - placed_ms) + 2 * kHour));
  w.head_exits("j", 0);
  w.settle();
  CHECK(w.state().held.empty());
  CHECK(w.state().spent.at(payer).gpu_ms == static_cast<std::uint64_t>(2 * (w.now - placed_ms)));
  w.restart_controller();
  CHECK(use_of(w.state(), payer, w.now) ==
        static_cast<std::uint64_t>(2 * (w.state().spent.at(payer).at_ms - placed_ms)));
  REQUIRE(w.command(DeleteWorkspace{{"g", "w"}}).ok());
  w.settle();
  CHECK(w.state().spent.empty());
}

TEST_CASE("a quota is set by an operator, as a whole, and checked") {
  World w;
  CHECK(w.command(SetQuota{{"g", "w"}, {4, 5, 1}}).error().message == "quota.guaranteed: is more than quota.limit");
  CHECK(w.command(SetQuota{{"g", "w"}, {4, 2, 0}}).error().code == Code::invalid_argument);
  REQUIRE(w.command(SetQuota{{"g", "w"}, {4, 2, 3}}).ok());
  w.restart_controller();
  CHECK(w.state().workspaces.begin()->second.quota == core::Quota{4, 2, 3});
}
