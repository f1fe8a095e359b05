// Nodes that are kept free for a time: nothing is placed across that.
#include <catch2/catch.hpp>

#include "controller/plan/why.h"
#include "tests/core/scene.h"
#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Contains;

namespace {

constexpr DurationMs kHour = 60 * kMinute;

CreateReservation reservation(const World& w, DurationMs from_ms, DurationMs until_ms) {
  return {"disks", {"n1"}, w.now + from_ms, w.now + until_ms, std::nullopt, "new disks"};
}

}  // namespace

TEST_CASE("a job is placed only where its limit ends before the reservation") {
  CHECK(starts("nodes 2\nreserved 1 from 60 until 120\nqueued a 1 limit 60\nqueued b 1 limit 60") == "a b");
  CHECK(places("nodes 2\nreserved 1 from 60 until 120\nqueued a 1 limit 61\nqueued b 1 limit 61") == "a:n2");
  CHECK(places("nodes 2\nreserved 1 from 60 until 120\nqueued a 1\nqueued b 1 limit 30") == "a:n2 b:n1");
  CHECK(starts("nodes 2\nreserved 2 from 0 until 30\nqueued a 1 limit 1") == "");
  CHECK(starts("nodes 2x4\nreserved 2 from 60 until 120\nqueued a 1x2 limit 61\nqueued b 1x2 limit 60") == "b");
  // What it usually takes does not count: it may take all its limit.
  CHECK(starts("nodes 1\ndone x 1 took 10 t.sh\nreserved 1 from 60 until 120\nqueued a 1 t.sh") == "");
}

TEST_CASE("jobs of the workspace that it is for go on as ever") {
  const std::string text = "nodes 2\nreserved 2 from 0 until 600 in w2\n";
  CHECK(starts(text + "queued a 1 limit 5\nqueued b 2 limit 60 in w2") == "b");
  CHECK(starts(text + "queued a 1 limit 5") == "");
}

TEST_CASE("a waiting job is promised the time after it, and nobody is kept by it who is gone before") {
  const core::State state = scene("nodes 2\nreserved 2 from 60 until 120\nqueued a 2 limit 90\nqueued b 2 limit 60");
  CHECK(plan::forecast(state, job_of(state, "a"), kSceneNow).start_ms == kSceneNow + 120 * kMinute);
  CHECK(starts(state) == "b");
}

TEST_CASE("why: it says what is reserved until when, and the limit that would do") {
  const core::State state = scene("nodes 2\nreserved 2 from 60 until 120\nqueued a 2 limit 90");
  const plan::Why a = plan::why(state, job_of(state, "a"), kSceneNow);
  const auto reserved = std::find_if(a.obstacles.begin(), a.obstacles.end(),
                                     [](const plan::Obstacle& one) { return one.code == "reserved"; });
  REQUIRE(reserved != a.obstacles.end());
  CHECK(reserved->nodes == 2);
  CHECK_THAT(reserved->text, Contains("2 are free but reserved from 13:00 until 14:00"));
  REQUIRE(a.relaxations.size() == 1);
  CHECK(a.relaxations.front().limit_ms == kHour);
}

TEST_CASE("why: what is reserved for the job's own workspace is not in its way") {
  const core::State state =
      scene("nodes 2\nreserved 1 from 10 until 20 in w2\nreserved 2 from 60 until 120\nqueued a 2 limit 90 in w2");
  const plan::Why a = plan::why(state, job_of(state, "a"), kSceneNow);
  REQUIRE(!a.obstacles.empty());
  CHECK_THAT(a.obstacles.back().text, Contains("2 are free but reserved from 13:00 until 14:00"));
}

TEST_CASE("no job gives way on nodes that are closed for the one it is for") {
  const plan::Settings settings{.preemption = plan::Preemption::classes};
  const core::State state =
      scene("nodes 1\nreserved 1 from 60 until 120\nruns a 1 since 10 limit 60 low\nqueued x 1 limit 90");
  CHECK(plan::make_plan(state, kSceneNow, settings).preemptions.empty());
}

TEST_CASE("a reservation lasts over restarts, and goes when its time is over") {
  World w;
  w.ready_cluster(1);
  REQUIRE(w.command(reservation(w, kHour, 2 * kHour)).ok());
  REQUIRE(w.command(reservation(w, kHour, 2 * kHour)).ok());  // the same again
  CHECK(w.command(reservation(w, kHour, 3 * kHour)).error().code == Code::already_exists);
  w.submit("j", 1);
  w.restart_controller();
  w.settle();
  CHECK(w.job("j").state == JobState::queued);
  w.wait(2 * kHour);
  w.settle();
  CHECK(w.state().reservations.empty());
  CHECK(w.job("j").state == JobState::running);
}

TEST_CASE("what is wrong with a reservation is said with its field") {
  World w;
  w.ready_cluster(1);
  CHECK(w.command(reservation(w, kHour, kHour)).error().message == "until: must be later than from");
  CHECK_THAT(w.command(reservation(w, -2 * kHour, -kHour)).error().message,
             Contains("until: ") && Contains("has passed"));
  CreateReservation other = reservation(w, 0, kHour);
  other.nodes = {"n7"};
  CHECK(w.command(other).error().message == "nodes: node n7 does not exist");
  other.nodes = {};
  CHECK(w.command(other).error().message == "nodes: names no node");
  CHECK(w.command(DeleteReservation{"disks"}).error().code == Code::not_found);
}

TEST_CASE("with its workspace a reservation goes, and the nodes are everybody's again") {
  World w;
  w.ready_cluster(1);
  REQUIRE(w.command(CreateWorkspace{{"g", "other"}, "", {}}).ok());
  CreateReservation create = reservation(w, 0, 10 * kHour);
  create.workspace = WorkspaceRef{"g", "other"};
  REQUIRE(w.command(create).ok());
  w.submit("j", 1);
  w.settle();
  CHECK(w.job("j").state == JobState::queued);
  REQUIRE(w.command(DeleteWorkspace{{"g", "other"}}).ok());
  w.settle();
  CHECK(w.job("j").state == JobState::running);
}
