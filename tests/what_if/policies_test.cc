// The textbook's examples: what strict order, EASY and conservative backfill make of the same few jobs.
#include "tests/what_if/stories.h"

using namespace trainyard;
using namespace trainyard::simulate;
using namespace trainyard::simulate::test;

namespace {

Starts starts(const std::string& policy, const std::string& trace) {
  return starts_of(replay(trace_of(trace), scenario_of(policy, 4)));
}

}  // namespace

TEST_CASE("EASY fills the hole beside a waiting gang, strict order leaves it open") {
  // a runs on 2 of 4 nodes for an hour, b waits for all 4, c is short and small.
  const std::string trace = "0 2 60\n0 4 60\n0 2 30";
  CHECK(starts("fifo", trace) == Starts{0, 60, 120});
  CHECK(starts("easy", trace) == Starts{0, 60, 0});
  CHECK(starts("conservative", trace) == Starts{0, 60, 0});
}

TEST_CASE("EASY lets a job delay the second that waits, conservative does not") {
  // b is promised for minute 60, c for 70; d is beside b but would hold one of c's nodes until minute 80.
  const std::string trace = "0 3 60\n0 3 10\n0 4 10\n0 1 80";
  CHECK(starts("easy", trace) == Starts{0, 60, 80, 0});
  CHECK(starts("conservative", trace) == Starts{0, 60, 70, 80});
  CHECK(starts("fifo", trace) == Starts{0, 60, 70, 80});
}

TEST_CASE("a job that ends before its limit lets the waiting ones start at once") {
  // a said 60 minutes and took 20: c, which was too long to fit before b, still waits for b.
  const std::string trace = "0 2 20 60\n0 4 60\n0 2 61";
  CHECK(starts("easy", trace) == Starts{0, 20, 80});
}

TEST_CASE("priorities go before age; who runs goes on") {
  Trace trace = trace_of("0 4 10\n1 4 10\n2 4 10");
  trace[2].priority = Priority::high;
  for (const char* policy : {"conservative", "easy", "fifo"}) {
    CHECK(starts_of(replay(trace, scenario_of(policy, 4))) == Starts{0, 20, 10});
  }
}

TEST_CASE("an unknown policy is answered with those that there are") {
  CHECK_THAT(policy_named("best").error().message,
             Catch::StartsWith("there is no policy \"best\"; there are conservative, easy, fifo"));
}
