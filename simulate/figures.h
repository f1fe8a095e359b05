// What a replay comes to in numbers. Pure; integers throughout, so the same record gives the same numbers everywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "simulate/record.h"

namespace trainyard::simulate {

// Of many values: mean (rounded down), median and 95th percentile (the smallest value that so many do not exceed:
// nearest rank), and the largest. All 0 when there is none.
struct Spread {
  std::size_t count = 0;
  std::int64_t mean = 0, median = 0, p95 = 0, most = 0;
};
Spread spread_of(std::vector<std::int64_t> values);

// Jain's index in ten thousandths: 10,000 when all values are equal, 10,000/n when one of n has everything. None:
// there is no value, or all are 0. REQUIRES: no value is negative
std::optional<std::int64_t> jain_of(const std::vector<std::int64_t>& values);

// Jobs of a size, by the GPUs they ask for.
struct SizeClass {
  std::string name;  // "1", "2-4", ...
  Spread wait_ms, completion_ms;
};

struct Fairness {
  std::size_t parties = 0;
  std::optional<std::int64_t> gpu_time;  // index of the GPU time held
  // Index of the share that each got of the GPU time it wanted while anybody waited; none: nobody waited.
  std::optional<std::int64_t> share;
  std::optional<std::int64_t> slowdown;  // index of the mean slowdown of each one's jobs
};

struct Figures {
  std::size_t jobs = 0, ended = 0, limited = 0, unfinished = 0, impossible = 0;
  DurationMs makespan_ms = 0;  // from the first submission until the last GPU is given back
  // GPUs held of those there are, in ten thousandths: over the makespan; over the time in which anybody waited (none:
  // nobody ever did). The second does not depend on how many jobs the trace has, so it is the one to compare.
  std::int64_t utilisation = 0;
  std::optional<std::int64_t> contended_utilisation;
  DurationMs contended_ms = 0;
  Spread wait_ms;        // from the submission to the first placement, of jobs that started
  Spread completion_ms;  // from the submission to the end, of jobs that came to one
  // Completion through run time, in thousandths; what runs shorter than ten seconds counts as ten: 1,000 is no wait.
  Spread slowdown;
  std::vector<SizeClass> sizes;
  Fairness users, workspaces;
  std::uint64_t requeues = 0;  // attempts beyond a job's first: preempted, or its nodes were lost
  std::uint64_t events = 0, plans = 0;
};

Figures figures_of(const Trace& trace, const Record& record);

}  // namespace trainyard::simulate
