// The simulator by hand, and with --suite as the test that CTest runs. See --help.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>

#include "tests/simulation/farm.h"

namespace {

using namespace trainyard::simulator;

struct Wanted {
  std::uint64_t seeds = 20, first = 1, events = 10'000;
  std::uint32_t nodes = 50, jobs = 200, at_once = 2;
  std::string mode = "both";
  std::uint64_t only = 0;
  bool trace = false, suite = false, until_failure = false;
};

void print(const FarmResult& result, double seconds) {
  fmt::print(
      "{} seeds, {} failed; {} events, {} of them in the controller's core; {} jobs; at least {} events and {} jobs "
      "each; {:.1f} s\n",
      result.runs, result.failures, result.events, result.core_events, result.jobs, result.fewest_events,
      result.fewest_jobs, seconds);
  std::fflush(stdout);
}

FarmResult timed(const Seeds& seeds) {
  const auto began = std::chrono::steady_clock::now();
  FarmResult result = run_all(seeds);
  print(result, std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  return result;
}

// True when every fault kind and every transition happened.
bool print_coverage(const Coverage& coverage) {
  bool complete = true;
  for (const std::string& what : required_coverage()) {
    if (coverage.contains(what)) continue;
    complete = false;
    fmt::print("NEVER HAPPENED: {}\n", what);
  }
  for (const auto& [what, count] : coverage) fmt::print("{:>10}  {}\n", count, what);
  return complete;
}

Seeds seeds_of(const Wanted& wanted, std::uint64_t first, std::uint64_t count) {
  Seeds seeds{.at_once = wanted.at_once, .until_failure = wanted.until_failure};
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const bool liveness = wanted.mode == "liveness" || (wanted.mode == "both" && seed % 2 == 0);
    seeds.runs.push_back({.seed = seed,
                          .nodes = wanted.nodes,
                          .jobs = wanted.jobs,
                          .events = wanted.events,
                          .mode = liveness ? Mode::liveness : Mode::safety});
  }
  return seeds;
}

int run_one(const Wanted& wanted) {
  Options options = seeds_of(wanted, wanted.only, 1).runs.front();
  options.trace = wanted.trace;
  if (!wanted.trace) return run_all({{options}, 1}).failures == 0 ? 0 : 1;
  Simulation simulation(options);
  const RunResult result = simulation.run();
  fmt::print("seed {}: {} events, {} jobs, {} virtual seconds, trace {:016x}\n", options.seed, result.events,
             result.jobs, result.virtual_ms / 1000, result.trace_hash);
  return 0;
}

// What CTest runs: 200 seeds of both modes, the same seed twice, and one run with 5,000 nodes.
int run_suite(Wanted wanted) {
  fmt::print("200 seeds, 50 nodes each, every second one in liveness mode:\n");
  FarmResult all = timed(seeds_of(wanted, 1, 200));
  fmt::print("the same seeds again, for the same trace:\n");
  const FarmResult again = timed(seeds_of(wanted, 1, 4));
  bool same = true;
  for (std::size_t at = 0; at < again.hashes.size(); ++at) same = same && again.hashes[at] == all.hashes[at];
  if (!same) fmt::print("NOT DETERMINISTIC: a seed that ran twice left two different traces\n");
  fmt::print("one seed with 5,000 nodes:\n");
  wanted.nodes = 5'000;
  wanted.jobs = 5'000;
  wanted.events = 6'000'000;
  wanted.mode = "safety";
  const FarmResult large = timed(seeds_of(wanted, 1, 1));
  for (const auto& [what, count] : large.coverage) all.coverage[what] += count;
  const bool complete = print_coverage(all.coverage);
  const bool enough = all.fewest_events >= 10'000 && all.fewest_jobs >= 200;
  const bool passed = all.failures + again.failures + large.failures == 0 && same && complete && enough;
  fmt::print("{}\n", passed ? "passed" : "FAILED");
  return passed ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Wanted wanted;
  CLI::App app("Runs the real cores of controller and agents in virtual time, with faults, and checks every promise");
  app.add_option("--seeds", wanted.seeds, "how many seeds")->capture_default_str();
  app.add_option("--first", wanted.first, "the first of them")->capture_default_str();
  app.add_option("--seed", wanted.only, "only this seed");
  app.add_option("--nodes", wanted.nodes, "nodes of each run")->capture_default_str();
  app.add_option("--min-jobs", wanted.jobs, "jobs of each run, at least")->capture_default_str();
  app.add_option("--events", wanted.events, "events of each run, at least")->capture_default_str();
  app.add_option("--jobs", wanted.at_once, "runs at a time")->capture_default_str();
  app.add_option("--mode", wanted.mode, "safety, liveness (heals all faults and waits for rest), or both in turn")
      ->check(CLI::IsMember({"safety", "liveness", "both"}));
  app.add_flag("--trace", wanted.trace, "with --seed: print every line of the trace");
  app.add_flag("--until-failure", wanted.until_failure, "stop at the first seed that fails");
  app.add_flag("--suite", wanted.suite, "what the tests run");
  CLI11_PARSE(app, argc, argv);
  if (wanted.suite) return run_suite(wanted);
  if (wanted.only != 0) return run_one(wanted);
  const FarmResult result = timed(seeds_of(wanted, wanted.first, wanted.seeds));
  print_coverage(result.coverage);
  return result.failures == 0 ? 0 : 1;
}
