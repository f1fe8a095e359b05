// Which running jobs give way to those that wait. Pure.
//
// The rule: of the first waiting jobs of a cluster, each in its turn may take GPUs back
//   - as a workspace that stays within what it is guaranteed, from workspaces that have more than that (they borrow),
//     as long as those keep what they are guaranteed;
//   - as a job of a higher class, from jobs of a lower one, where the operator has switched that on.
// Behind one that cannot be helped, nobody gives way for a job that would not start then: what the first is promised is
// not taken from it, nor what comes free for it earlier by that. Each of these costs a look at the whole queue, so only
// the first few are tried.
// Who has run less than `min_run_ms` is spared. Jobs of the lowest class give way first, and of those the one that
// loses least: what it ran for since the checkpoint that it tells, or since its beginning. No more give way than are
// needed, and none if even all would not do. What is being stopped already counts as free.
//
// So nothing goes back and forth: who gave way has a lower class, or its workspace no right to take anything back.
#pragma once

#include <vector>

#include "controller/core/placement.h"
#include "controller/plan/backfill.h"

namespace trainyard::plan {

// `shares` as after `fill`, whose placements and promises these are. Nothing is looked up where nobody waits who may
// take anything; else O(the cluster's nodes and what they hold), and a look at them for each of the first waiting jobs.
std::vector<core::Preemption> preempt(const Pass& pass, Shares& shares, const std::vector<core::Placement>& placements,
                                      const Promises& promises);

}  // namespace trainyard::plan
