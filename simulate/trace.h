// A trace: the jobs that somebody submitted, when, and how long they ran. Pure.
//
// As a file (CSV, the first line names the columns, in any order):
//   submit_s,user,workspace,nodes,gpus_per_node,duration_s,limit_s,priority
//   0,ann,vision,2,4,3600,7200,normal
// submit_s and duration_s must be there. Left out or empty: user and workspace are "-", nodes is 1, gpus_per_node is 0
// (whole nodes), limit_s is what the controller takes where nobody chose a limit (seven days), priority is normal.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/model.h"
#include "common/result.h"

namespace trainyard::simulate {

struct TraceJob {
  std::int64_t submit_s = 0;  // of any clock, the same for all jobs
  std::string user = "-", workspace = "-";
  std::uint32_t nodes = 1;
  std::uint32_t gpus_per_node = 0;  // 0: whole nodes
  std::int64_t duration_s = 0;      // that its program runs, from the first process to the last one's end
  std::int64_t limit_s = 0;         // 0: nobody chose one
  Priority priority = Priority::normal;
  friend bool operator==(const TraceJob&, const TraceJob&) = default;
};

// By submission; jobs of the same second in the file's order.
using Trace = std::vector<TraceJob>;

// What the columns may hold.
inline constexpr std::int64_t kLatestSubmit_s = 100'000'000'000, kLongest_s = 100LL * 366 * 86'400;
inline constexpr std::int64_t kMostNodes = 1'000'000, kMostGpus = 1'024;

// `name` of the file, for errors, which name line and column.
Result<Trace> read_trace(std::string_view text, const std::string& name);
std::string write_trace(const Trace& trace);

// Part of a trace. Jobs from `from_s` on, before `until_s`, the first `most_jobs` of them.
struct Selection {
  std::optional<std::int64_t> from_s, until_s;
  std::size_t most_jobs = 0;  // 0: all
};
Trace select(Trace trace, const Selection& selection);

// Gives each job without a limit one of `factor` times its duration, a minute at least. For traces that have none:
// without limits nothing can be planned. REQUIRES: factor > 0
void assume_limits(Trace& trace, std::int64_t factor);

void sort_by_submission(Trace& trace);

}  // namespace trainyard::simulate
