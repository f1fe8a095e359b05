#include "controller/plan/plan.h"

#include <utility>
#include <vector>

#include "controller/plan/preempt.h"
#include "controller/plan/scale.h"

namespace trainyard::plan {

Plan make_plan(const core::State& state, TimeMs now_ms, const Settings& settings) {
  Plan plan;
  Common common(state, now_ms, settings);
  scale_clusters(common, plan);
  for (const Withdrawal& withdrawal : plan.withdrawals) common.withdrawn.insert(withdrawal.node);
  Shares shares(state, now_ms);
  for (const auto& [id, cluster] : state.clusters) {
    if (cluster.deleting || !state.queues.contains(id)) continue;
    const Pass pass(common, cluster);
    Promises promises;
    auto placements = fill(pass, shares, {}, &promises);
    const auto preemptions = preempt(pass, shares, placements, promises);
    plan.preemptions.insert(plan.preemptions.end(), preemptions.begin(), preemptions.end());
    for (Placement& placement : placements) plan.placements.push_back(std::move(placement));
  }
  return plan;
}

}  // namespace trainyard::plan
