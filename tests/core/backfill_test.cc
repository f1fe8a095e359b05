// Backfill: who starts, who waits, and that nobody's promise is broken.
#include "controller/plan/backfill.h"

#include <catch2/catch.hpp>
#include <random>

#include "controller/plan/future.h"
#include "tests/core/scene.h"

using namespace trainyard;
using namespace trainyard::test;

TEST_CASE("the queue's order decides while everything fits") {
  CHECK(starts("nodes 4\nqueued a 1\nqueued b 2\nqueued c 1\nqueued d 1") == "a b c");
  CHECK(starts("nodes 2\nqueued a 1 low\nqueued b 1\nqueued c 1 high") == "c b");
}

TEST_CASE("a short job fills in where it delays nobody") {
  const std::string busy = "nodes 4\nruns a 2 since 10 limit 60\nqueued b 4 limit 60\n";
  CHECK(starts(busy + "queued c 2 limit 50") == "c");  // gone when a is
  CHECK(starts(busy + "queued c 2 limit 51") == "");   // b would wait a minute longer
  CHECK(starts(busy + "queued c 2") == "");            // nobody knows how long it takes
  CHECK(starts(busy + "queued c 3 limit 10\nqueued d 1 limit 10\nqueued e 1 limit 10\nqueued f 1 limit 10") == "d e");
}

TEST_CASE("beside a promise a job of any length may start, if enough is left") {
  CHECK(starts("nodes 4\nruns a 2 since 10 limit 60\nqueued b 3 limit 60\nqueued c 1") == "c");
  CHECK(starts("nodes 4\nruns a 2 since 10 limit 60\nqueued b 3 limit 60\nqueued c 2") == "");
}

TEST_CASE("with one reservation only the first waiting job is protected: EASY") {
  // d delays c, the second that waits, but not b.
  const std::string text =
      "nodes 4\nruns a 3 since 0 limit 60\nqueued b 4 limit 10\nqueued c 4 limit 10\nqueued d 1 limit 60";
  CHECK(starts(text, {.reservations = 1}) == "d");
  const std::string later =
      "nodes 4\nruns a 3 since 0 limit 60\nqueued b 3 limit 10\nqueued c 4 limit 10\nqueued d 1 limit 70";
  CHECK(starts(later, {.reservations = 1}) == "d");
  CHECK(starts(later + "\nqueued e 1", {.reservations = 2}) == "d");
  CHECK(starts("nodes 4\nruns a 3 since 0 limit 60\nqueued b 3 limit 10\nqueued c 4 limit 10\nqueued d 1 limit 71",
               {.reservations = 2}) == "");
}

TEST_CASE("without a look behind the first waiting job the queue's order is strict") {
  const std::string text = "nodes 4\nruns a 2 since 10 limit 60\nqueued b 1\nqueued c 3 limit 60\nqueued d 1 limit 1";
  CHECK(starts(text, {.reservations = 1}) == "b d");
  CHECK(starts(text, {.reservations = 1, .depth = 0}) == "b");
}

TEST_CASE("a job that needs nodes which are not there holds what is free") {
  CHECK(starts("nodes 4\ncut 1\nqueued a 4 limit 60\nqueued b 1 limit 1") == "");
  CHECK(starts("nodes 4\nqueued a 5 limit 60\nqueued b 1 limit 1") == "b");  // can never run here: passed over
}

TEST_CASE("without a limit the time of jobs of the same script counts") {
  const std::string busy = "nodes 4\ndone x 2 took 20 train.sh\nruns a 2 since 0 limit 60\nqueued b 4 limit 60\n";
  CHECK(starts(busy + "queued c 2 train.sh") == "c");
  CHECK(starts(busy + "queued c 2 other.sh") == "");
  CHECK(starts(busy + "queued c 1 train.sh") == "");  // of another size
  // The longest of the newest counts, and a tenth.
  CHECK(
      starts("nodes 4\ndone x 2 took 55 t.sh\ndone y 2 took 1 t.sh\nruns a 2 since 0 limit 60\nqueued b 4\nqueued c 2 "
             "t.sh") == "");
  CHECK(
      starts("nodes 4\ndone x 2 took 54 t.sh\ndone y 2 took 1 t.sh\nruns a 2 since 0 limit 60\nqueued b 4\nqueued c 2 "
             "t.sh") == "c");
}

TEST_CASE("an elastic job is judged by what jobs of its program took on the nodes that it would get") {
  // big is promised all four nodes for +150; c would get three now.
  const std::string busy = "nodes 4\nruns a 1 since 0 limit 150\nqueued big 4 limit 60\nqueued c 4 min 2 t.sh\n";
  CHECK(starts(busy + "done x 4 took 100 t.sh") == "");  // on four: nobody knows how long it takes on three
  CHECK(starts(busy + "done x 4 took 100 t.sh\ndone y 3 took 130 t.sh") == "c");
  CHECK(starts(busy + "done x 4 took 100 t.sh\ndone y 3 took 140 t.sh") == "");
  CHECK(starts(busy + "done x 4 min 2 got 3 took 130 t.sh") == "c");  // what it got counts, not what it wanted
  CHECK(starts(busy + "done x 4 min 2 got 2 took 130 t.sh") == "c");  // more nodes are no slower
  CHECK(starts(busy + "done x 4 min 2 got 2 took 140 t.sh") == "");
  CHECK(starts(busy + "done x 1 took 10 t.sh") == "");  // it never gets so few
  // Fewer nodes are no faster, whatever one run says.
  CHECK(starts(busy + "done x 4 took 140 t.sh\ndone y 3 took 10 t.sh") == "");
}

TEST_CASE("a running elastic job ends when jobs on as many nodes did") {
  const std::string text =
      "nodes 4\ndone x 4 took 50 t.sh\ndone y 2 took 100 t.sh\nruns a 4 min 2 got 2 since 0 t.sh\n"
      "queued b 4 limit 10\n";
  CHECK(starts(text + "queued c 2 limit 110") == "c");
  CHECK(starts(text + "queued c 2 limit 111") == "");
}

TEST_CASE("run times of a program are kept for the sizes that were learnt last") {
  std::string text = "nodes 1\n";
  for (int size = 1; size <= 40; ++size)
    text += "done x" + std::to_string(size) + " " + std::to_string(size) + " took 10 t.sh\n";
  text += "done again 25 took 20 t.sh\ndone other 41 took 10 t.sh\n";
  const core::State state = scene(text);
  REQUIRE(state.run_times.size() == 1);
  const auto& sizes = state.run_times.begin()->second;
  CHECK(sizes.size() == 16);
  CHECK(sizes.contains(25));  // learnt anew
  CHECK_FALSE(sizes.contains(26));
  CHECK(sizes.contains(27));
}

TEST_CASE("a job that outlives its estimate is expected to take as long again") {
  const std::string text = "nodes 2\ndone x 1 took 10 t.sh\nruns a 1 since 30 t.sh\nqueued b 2\n";
  CHECK(starts(text + "queued c 1 limit 30") == "c");
  CHECK(starts(text + "queued c 1 limit 31") == "");
}

TEST_CASE("a job that is over its limit is expected to take another minute") {
  const std::string over = "nodes 2\nruns a 1 since 70 limit 60\nqueued b 2 limit 30\n";
  CHECK(starts(over + "queued c 1 limit 1") == "c");
  CHECK(starts(over + "queued c 1 limit 2") == "");
}

TEST_CASE("a busy node that is drained, cut off or leaving does not come free for anybody") {
  const std::string text =
      "nodes 3\nruns a 1 since 0 limit 10\nruns b 1 since 0 limit 60\nqueued c 2 limit 60\nqueued d 1 limit 60\n";
  CHECK(starts(text) == "");  // c starts when a has ended
  for (const char* what : {"drained n1", "cut n1", "leaving n1"}) {
    CAPTURE(what);
    CHECK(starts(text + what) == "d");  // c waits for b, and d is over by then
  }
}

TEST_CASE("jobs in containers run where there is an engine, and hold up nobody on other nodes") {
  CHECK(places("nodes 3\nengine n2\nqueued a 1 image\nqueued b 1") == "a:n2 b:n1");
  CHECK(places("nodes 3\nengine n2\nqueued a 2 image\nqueued b 1") == "b:n1");  // never
  CHECK(places("nodes 3\nengine n2\nruns x 2 since 0 limit 60\nqueued a 1 image limit 30\nqueued b 1 limit 600") ==
        "b:n3");
}

TEST_CASE("the forecast says when a job starts, after whom, and on what that rests") {
  const core::State state = scene(
      "nodes 4\nruns a 2 since 10 limit 60\nqueued b 4 limit 60\nqueued c 2 limit 50\nqueued d 1\nqueued e 4\nqueued f "
      "9");
  const auto of = [&](const std::string& name) { return plan::forecast(state, job_of(state, name), kSceneNow); };
  CHECK(of("b").start_ms == kSceneNow + 50 * kMinute);
  CHECK(of("b").before == 0);
  CHECK(of("b").firm);
  CHECK(of("c").start_ms == kSceneNow);
  CHECK(of("d").start_ms == kSceneNow + 110 * kMinute);
  CHECK(of("d").before == 2);
  CHECK(of("e").start_ms > kSceneNow + 24 * 60 * kMinute);  // behind d, of which nobody knows how long it takes
  CHECK(of("f").start_ms == plan::Future::kNever);
}

// What a queue does over time: whatever is submitted behind it, the first waiting job starts no later than promised.
TEST_CASE("no job of a random queue is delayed by those behind it") {
  std::mt19937 random(7);
  const auto draw = [&](int from, int to) {
    return std::to_string(from + static_cast<int>(random() % (to - from + 1)));
  };
  for (int round = 0; round < 2'000; ++round) {
    std::string text = "nodes 8\n";
    int left = 8;
    for (int i = 0; i < 3 && left > 0; ++i) {
      const int nodes = 1 + static_cast<int>(random() % static_cast<unsigned>(left));
      left -= nodes;
      text += "runs r" + std::to_string(i) + " " + std::to_string(nodes) + " since " + draw(0, 30) + " limit " +
              draw(31, 90) + "\n";
    }
    for (int i = 0; i < 6; ++i)
      text += "queued q" + std::to_string(i) + " " + draw(1, 8) + " limit " + draw(1, 90) + "\n";
    core::State state = scene(text);
    std::map<std::string, TimeMs> promised;
    for (int i = 0; i < 6; ++i) {
      const std::string name = "q" + std::to_string(i);
      promised[name] = plan::forecast(state, job_of(state, name), kSceneNow).start_ms;
    }
    // The plan starts exactly those that are promised now.
    for (const auto& placement : plan::make_plan(state, kSceneNow).placements) {
      INFO(text);
      CHECK(promised.at(state.jobs.at(placement.job).name) == kSceneNow);
      promised.erase(state.jobs.at(placement.job).name);
    }
    for (const auto& [name, start_ms] : promised) {
      INFO(text << name);
      CHECK(start_ms > kSceneNow);
      CHECK(start_ms < kSceneNow + 1'000 * kMinute);
    }
  }
}
