// Which queued jobs of a cluster start now. Pure.
//
// The rule: jobs are taken in their order (order.h). One whose workspace would exceed its limit of GPUs is passed over.
// One that fits starts, on as many nodes as it wants and can have; one that fits with a shorter time limit only, and
// accepts that, starts with the longest that does. One that does not fit is promised the earliest
// time at which it can start by the limits of what runs; the first `reservations` such jobs keep their promise, and
// those behind them start now only if that takes nothing away from a promise. A job that nothing known could ever give
// enough nodes (they are unreachable, say) holds all that is free: nobody starts before it.
//
// So a gang neither starves (the first waiting job's promise can only get nearer, because every job has a time limit)
// nor deadlocks (a job gets all its nodes in one placement, or none).
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "controller/core/placement.h"
#include "controller/core/state.h"
#include "controller/plan/future.h"
#include "controller/plan/pass.h"
#include "controller/plan/settings.h"
#include "controller/plan/shares.h"

namespace trainyard::plan {

// How long the job will hold its nodes, at most, once it starts: its own time limit, or what jobs like it took.
struct Expected {
  DurationMs duration_ms = 0;
  bool firm = true;  // false: only the limit that every job has
};
// What is believed of times: what the plan goes by; the best case (jobs take what they usually take); the worst (every
// job takes all its limit).
enum class Belief { plan, best, worst };
// `nodes`: on so many of them; 0: on those that it has, and while it waits on the fewest that it starts on.
Expected expected_duration(const core::State& state, const core::Job& job, Belief belief = Belief::plan,
                           std::uint32_t nodes = 0);

// What it needs of the nodes.
Shape shape_of(const core::State& state, const core::Job& job);
// What is otherwise than in the state, and all that is asked.
struct Suppose {
  const core::Job* instead = nullptr;  // the job of that id is in the queue as this one says
  std::set<JobId> gone = {};           // these have given back what they hold
  DurationMs later_ms = 0;             // it is so much later
  // If there are any, nothing else is asked than whether all these are placed: the pass ends as soon as that is known.
  std::set<JobId> asked = {};
};
// Nodes that waiting jobs are promised.
using Promises = std::map<JobId, std::vector<NodeId>>;

// The placements of one cluster's queue, on its nodes but those that it gives back. `shares` learns what they get, and
// `promises`, if given, who is promised what. O(free nodes + jobs looked at); the first promise looks at all that runs,
// each one at all nodes.
std::vector<core::Placement> fill(const Pass& pass, Shares& shares, const Suppose& suppose = {},
                                  Promises* promises = nullptr);
// Whether the job would be among them.
bool starts(const core::State& state, const core::Cluster& cluster, TimeMs now_ms, const Settings& settings,
            const core::Job& job, const std::optional<core::Quota>& quota = std::nullopt);
// Whether all that are asked for would be.
bool all_start(const Pass& pass, Shares& shares, const Suppose& suppose);

// When a queued job will start, if limits and estimates hold and nothing is submitted before it.
struct Forecast {
  // kNever: it waits for something that has no time (its workspace's limit, too), or behind more jobs than are looked
  // through.
  TimeMs start_ms = Future::kNever;
  bool firm = true;                  // false: rests on a limit that nobody chose
  std::uint32_t before = 0;          // jobs that start before it
  std::vector<TimeMs> turns_before;  // when those start that have their turn before it
  std::uint32_t turn = 0;  // 1: it is the first of the queue that has its turn; 0: not among those looked through
};
Forecast forecast(const core::State& state, const core::Job& job, TimeMs now_ms, Belief belief = Belief::plan,
                  const Settings& settings = {});

}  // namespace trainyard::plan
