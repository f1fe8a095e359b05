// Traces and scenarios as one reads them, for the tests of `trainyard simulate`.
#pragma once

#include <catch2/catch.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "simulate/replay.h"
#include "simulate/report.h"

namespace trainyard::simulate::test {

inline constexpr std::int64_t kMinute_s = 60;
inline constexpr DurationMs kMinute_ms = 60'000;

// "submit nodes minutes [limit-minutes [user]]", a job a line; of whole nodes, all times in minutes. Without a limit:
// the run time.
inline Trace trace_of(const std::string& lines) {
  Trace trace;
  std::istringstream text(lines);
  for (std::string line; std::getline(text, line);) {
    std::istringstream words(line);
    std::int64_t submit = 0, minutes = 0, limit = 0;
    TraceJob job;
    REQUIRE(words >> submit >> job.nodes >> minutes);
    if (!(words >> limit)) limit = minutes;
    words >> job.user;
    job.workspace = "w";
    job.submit_s = submit * kMinute_s;
    job.duration_s = minutes * kMinute_s;
    job.limit_s = limit * kMinute_s;
    trace.push_back(job);
  }
  return trace;
}

// Nodes with one GPU each.
inline Scenario scenario_of(const std::string& policy, std::uint32_t nodes) {
  const auto found = policy_named(policy);
  REQUIRE(found);
  return {policy, *found, equal_nodes(nodes, 1)};
}

// When each job started, in minutes since the first submission; -1: never.
inline std::vector<std::int64_t> starts_of(const Record& record) {
  std::vector<std::int64_t> starts;
  for (const JobRecord& job : record.jobs) starts.push_back(job.start_ms < 0 ? -1 : job.start_ms / kMinute_ms);
  return starts;
}

using Starts = std::vector<std::int64_t>;

}  // namespace trainyard::simulate::test
