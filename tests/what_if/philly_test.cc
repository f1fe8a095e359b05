// The first two thousand jobs of a real trace: no GPU has two owners at any time, and every job that can run ends.
#include <zlib.h>

#include <cstdlib>
#include <filesystem>

#include "simulate/import.h"
#include "tests/what_if/stories.h"

using namespace trainyard;
using namespace trainyard::simulate;
using namespace trainyard::simulate::test;

namespace {

// In the folder that TRAINYARD_TRACES names, or beside the checkout.
std::string trace_path() {
  const char* named = std::getenv("TRAINYARD_TRACES");
  const std::filesystem::path beside = std::filesystem::path(TRAINYARD_SOURCE_DIR).parent_path() / "shared" / "traces";
  return (named != nullptr ? std::filesystem::path(named) : beside) / "philly_82k.csv.gz";
}

std::string unpacked(const std::string& path) {
  std::string text;
  const gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) return text;
  char buffer[65536];
  for (int got = 0; (got = gzread(file, buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<size_t>(got));
  gzclose(file);
  return text;
}

}  // namespace

TEST_CASE("two thousand jobs of Philly: nothing is given out twice, everybody's turn comes") {
  const std::string text = unpacked(trace_path());
  if (text.empty()) {
    WARN("skipped: there is no " << trace_path() << " (TRAINYARD_TRACES says where the traces are)");
    return;
  }
  auto all = find_format("philly")->read(text, "philly", 8);
  REQUIRE(all);
  Trace trace = select(std::move(*all), {.most_jobs = 2'000});
  assume_limits(trace, 2);
  for (const Policy& policy : policies()) {
    Scenario scenario = scenario_of(policy.name, 1);
    scenario.cluster = equal_nodes(16, 8);  // few: a queue builds up
    std::size_t looked = 0;
    const Record record = replay(trace, scenario, [&](const core::State& state) {
      if (++looked % 10 == 0) core::check_invariants(state);  // aborts with the name of what is broken
    });
    const Figures figures = figures_of(trace, record);
    CHECK(figures.unfinished == 0);
    CHECK(figures.ended + figures.impossible == 2'000);
    CHECK(figures.contended_ms > 0);
    for (const Step& step : record.steps) REQUIRE(step.gpus_held <= record.gpus);
    CHECK(record.steps.back().gpus_held == 0);
    DurationMs held_ms = 0;
    for (std::size_t i = 0; i < trace.size(); ++i) {
      if (record.jobs[i].fate != Fate::ended) continue;
      held_ms += record.jobs[i].gpu_ms;
      REQUIRE(record.jobs[i].gpu_ms == trace[i].duration_s * 1000 * trace[i].nodes * trace[i].gpus_per_node);
    }
    CHECK(held_ms == record.gpu_ms);
  }
}
