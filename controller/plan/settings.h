// What an operator decides about the plan: configuration, and what it says to nobody's harm when it is left out. Alone
// in a file, because whoever reads the configuration needs nothing else of the plan.
#pragma once

#include <cstdint>

#include "common/time.h"

namespace trainyard::plan {

// How jobs of a class follow each other: see order.h.
struct OrderSettings {
  bool fair_share = true;
  // Who waits longer goes before fair share, so that nobody waits for ever behind those who had less.
  DurationMs age_limit_ms = 3LL * 24 * 3600 * 1000;
};

enum class Preemption { off, quota, classes };

struct Settings {
  // How many waiting jobs of a cluster have a promise: 1 is EASY backfill, more is conservative for so many.
  std::uint32_t reservations = 16;
  // How many jobs behind the first waiting one are looked at: what is further behind waits its turn. 0: no backfill,
  // the queue's order is strict.
  std::uint32_t depth = 10'000;
  OrderSettings order = {};
  // Who must give way to jobs that wait: nobody; borrowers, for what a workspace is guaranteed; jobs of lower classes,
  // too.
  Preemption preemption = Preemption::quota;
  DurationMs preemption_min_run_ms = 5 * 60'000;  // who has run for less is spared
};

}  // namespace trainyard::plan
