// What a replay records and what figures come of it, against numbers that were worked out by hand.
#include "controller/core/core.h"
#include "tests/what_if/stories.h"

using namespace trainyard;
using namespace trainyard::simulate;
using namespace trainyard::simulate::test;

namespace {

// On 4 nodes of a GPU each: a (2 nodes, an hour) starts at once, b (4 nodes, an hour) waits for it, c (2 nodes, half an
// hour) fills in. 120 + 240 + 60 = 420 GPU minutes of 4 x 120; while b waits, 2 + 2 GPUs for 30 minutes, then 2.
const char* const kThree = "0 2 60 60 ann\n0 4 60 60 bob\n0 2 30 30 ann";

}  // namespace

TEST_CASE("waits, completions and utilisation are those of the hand-made schedule") {
  const Outcome outcome = run(trace_of(kThree), scenario_of("easy", 4));
  const Figures& figures = outcome.figures;
  CHECK(figures.jobs == 3);
  CHECK(figures.ended == 3);
  CHECK(figures.makespan_ms == 120 * kMinute_ms);
  CHECK(figures.utilisation == 8'750);  // 420 of 480
  CHECK(figures.contended_ms == 60 * kMinute_ms);
  CHECK(figures.contended_utilisation == 7'500);   // 180 of 240
  CHECK(figures.wait_ms.mean == 20 * kMinute_ms);  // 0, 60, 0
  CHECK(figures.wait_ms.median == 0);
  CHECK(figures.wait_ms.p95 == 60 * kMinute_ms);
  CHECK(figures.completion_ms.mean == 70 * kMinute_ms);  // 60, 120, 30
  CHECK(figures.completion_ms.median == 60 * kMinute_ms);
  CHECK(figures.slowdown.mean == 1'333);  // 1, 2, 1
  CHECK(figures.requeues == 0);
}

TEST_CASE("sizes and users are told apart") {
  const Figures figures = run(trace_of(kThree), scenario_of("easy", 4)).figures;
  REQUIRE(figures.sizes.size() == 1);  // 2 GPUs and 4 GPUs are one class
  CHECK(figures.sizes[0].name == "2-4");
  CHECK(figures.sizes[0].wait_ms.count == 3);
  // ann held 180 GPU minutes, bob 240: (420)^2 / (2 x (180^2 + 240^2)) = 176,400 / 180,000.
  CHECK(figures.users.parties == 2);
  CHECK(figures.users.gpu_time == 9'800);
  // While bob waited ann got all that she wanted, bob nothing.
  CHECK(figures.users.share == 5'000);
  // Mean slowdowns 1 and 2: 9 / (2 x 5).
  CHECK(figures.users.slowdown == 9'000);
  CHECK(figures.workspaces.parties == 1);
  CHECK(figures.workspaces.gpu_time == 10'000);
}

TEST_CASE("parts of nodes share them; what does not fit waits for the node that is free first") {
  Trace trace;
  for (const std::uint32_t gpus : {3U, 2U, 4U, 1U}) {
    TraceJob job;
    job.gpus_per_node = gpus;
    job.duration_s = job.limit_s = static_cast<std::int64_t>(gpus) * 600;
    trace.push_back(job);
  }
  Scenario scenario = scenario_of("easy", 1);
  scenario.cluster = equal_nodes(2, 4);
  // n1 [a a a d], n2 [b b . .]; c wants 4 on one node: n2 when b is done, after 20 minutes.
  CHECK(starts_of(replay(trace, scenario)) == Starts{0, 0, 20, 0});
}

TEST_CASE("nodes that differ: a job gets one that has enough") {
  Trace trace(1);
  trace[0].gpus_per_node = 8;
  trace[0].duration_s = 60;
  trace.push_back(trace[0]);
  Scenario scenario = scenario_of("easy", 1);
  scenario.cluster = *parse_cluster(R"({"nodes": [{"count": 3, "gpus": 4}, {"count": 1, "gpus": 8}]})", "c.json");
  CHECK(scenario.cluster.gpus() == 20);
  CHECK(starts_of(replay(trace, scenario)) == Starts{0, 1});
}

TEST_CASE("a program that is not done at its limit is ended there") {
  const Outcome outcome = run(trace_of("0 1 90 60\n0 1 10"), scenario_of("easy", 1));
  CHECK(outcome.figures.limited == 1);
  CHECK(outcome.figures.ended == 1);
  CHECK(outcome.record.jobs[0].end_ms == 60 * kMinute_ms);
  CHECK(starts_of(outcome.record) == Starts{0, 60});
}

TEST_CASE("preparing and cleaning up hold the GPUs, too") {
  Scenario scenario = scenario_of("easy", 1);
  scenario.prepare_ms = 2 * kMinute_ms;
  scenario.clean_ms = kMinute_ms;
  const Outcome outcome = run(trace_of("0 1 10 60\n0 1 10 60"), scenario);
  CHECK(starts_of(outcome.record) == Starts{0, 13});
  CHECK(outcome.figures.makespan_ms == 26 * kMinute_ms);
  CHECK(outcome.figures.utilisation == 10'000);
}

TEST_CASE("a job that the whole cluster could not run is said so and left out") {
  const Outcome outcome = run(trace_of("0 5 10\n1 4 10"), scenario_of("easy", 4));
  CHECK(outcome.figures.impossible == 1);
  CHECK(outcome.figures.ended == 1);
  CHECK(starts_of(outcome.record) == Starts{-1, 1});
}

TEST_CASE("twice the load: the same jobs follow each other twice as fast") {
  Scenario scenario = scenario_of("easy", 1);
  scenario.load_percent = 200;
  CHECK(starts_of(replay(trace_of("0 1 10\n20 1 10\n60 1 10"), scenario)) == Starts{0, 10, 30});
}

TEST_CASE("attempts beyond the first are counted as requeues") {
  const Trace trace = trace_of("0 1 10\n0 1 10");
  Recorder recorder(trace, 1);
  core::Changes changes;
  core::Job& job = changes.jobs.emplace_back();
  job.id = {7};
  recorder.submitted(0, job.id, 1, 0);
  recorder.take(changes, 0);
  job.attempt = 1;
  job.state = core::JobState::running;
  recorder.take(changes, kMinute_ms);
  job.state = core::JobState::queued;  // preempted
  recorder.take(changes, 5 * kMinute_ms);
  job.attempt = 2;
  job.state = core::JobState::succeeded;
  recorder.take(changes, 9 * kMinute_ms);
  const Record record = recorder.finish(0, 0);
  CHECK(record.jobs[0].start_ms == kMinute_ms);  // the first start: what a wait is measured to
  CHECK(record.contended_ms == 5 * kMinute_ms);
  CHECK(figures_of(trace, record).requeues == 1);
}

TEST_CASE("the same trace twice gives the same bytes") {
  const Trace trace = trace_of(kThree);
  const auto text = [&] { return report(trace, {run(trace, scenario_of("easy", 4))}).dump(); };
  CHECK(text() == text());
}

TEST_CASE("spreads and Jain's index by their definitions") {
  const Spread spread = spread_of({5, 1, 4, 2, 3});
  CHECK(spread.mean == 3);
  CHECK(spread.median == 3);
  CHECK(spread.p95 == 5);
  CHECK(spread_of({1, 2}).median == 1);  // nearest rank
  CHECK(spread_of({}).count == 0);
  CHECK(jain_of({5, 5, 5}) == 10'000);
  CHECK(jain_of({1, 0, 0, 0}) == 2'500);
  CHECK(jain_of({1, 3}) == 8'000);
  CHECK(jain_of({0, 0}) == std::nullopt);
}
