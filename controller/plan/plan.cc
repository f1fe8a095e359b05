#include "controller/plan/plan.h"

#include <set>
#include <utility>
#include <vector>

#include "controller/plan/scale.h"

namespace trainyard::plan {

namespace {

using core::Cluster;
using core::State;

void place(const State& state, const Cluster& cluster, const std::set<NodeId>& withdrawn, TimeMs now_ms,
           const Settings& settings, Plan& plan) {
  auto free = state.free_nodes.find(cluster.id);
  if (free == state.free_nodes.end() || !state.queues.contains(cluster.id)) return;
  std::vector<NodeId> nodes;
  nodes.reserve(free->second.size());
  for (NodeId node : free->second) {
    if (!withdrawn.contains(node)) nodes.push_back(node);
  }
  for (Placement& placement : fill(state, cluster, nodes, now_ms, settings)) {
    plan.placements.push_back(std::move(placement));
  }
}

}  // namespace

Plan make_plan(const State& state, TimeMs now_ms, const Settings& settings) {
  Plan plan;
  scale_clusters(state, now_ms, plan);
  std::set<NodeId> withdrawn;
  for (const Withdrawal& withdrawal : plan.withdrawals) withdrawn.insert(withdrawal.node);
  for (const auto& [id, cluster] : state.clusters) {
    if (!cluster.deleting) place(state, cluster, withdrawn, now_ms, settings, plan);
  }
  return plan;
}

}  // namespace trainyard::plan
