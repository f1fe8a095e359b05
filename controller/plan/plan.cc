#include "controller/plan/plan.h"

#include <set>
#include <utility>
#include <vector>

#include "controller/plan/preempt.h"
#include "controller/plan/scale.h"

namespace trainyard::plan {

Plan make_plan(const core::State& state, TimeMs now_ms, const Settings& settings) {
  Plan plan;
  scale_clusters(state, now_ms, plan);
  std::set<NodeId> withdrawn;
  for (const Withdrawal& withdrawal : plan.withdrawals) withdrawn.insert(withdrawal.node);
  Shares shares(state, now_ms);
  for (const auto& [id, cluster] : state.clusters) {
    if (cluster.deleting) continue;
    Promises promises;
    auto placements = fill(state, cluster, now_ms, settings, shares, withdrawn, {}, &promises);
    const auto preemptions = preempt(state, cluster, now_ms, settings, shares, withdrawn, placements, promises);
    plan.preemptions.insert(plan.preemptions.end(), preemptions.begin(), preemptions.end());
    for (Placement& placement : placements) plan.placements.push_back(std::move(placement));
  }
  return plan;
}

}  // namespace trainyard::plan
