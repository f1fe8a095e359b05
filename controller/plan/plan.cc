#include "controller/plan/plan.h"

#include <algorithm>
#include <optional>
#include <set>
#include <vector>

#include "controller/plan/scale.h"

namespace trainyard::plan {

namespace {

using core::Cluster;
using core::Job;
using core::State;

// Places jobs in the queue's order until one must wait that could run at the cluster's full size.
void place(const State& state, const Cluster& cluster, const std::set<NodeId>& withdrawn, Plan& plan) {
  auto queue = state.queues.find(cluster.id);
  auto free = state.free_nodes.find(cluster.id);
  if (queue == state.queues.end() || free == state.free_nodes.end()) return;
  std::vector<NodeId> nodes;
  nodes.reserve(free->second.size());
  for (NodeId node : free->second) {
    if (!withdrawn.contains(node)) nodes.push_back(node);
  }
  std::optional<std::uint32_t> run_containers;  // nodes of the cluster: counted when it is asked for
  auto next = nodes.begin();
  for (const core::QueueKey& key : queue->second) {
    if (next == nodes.end()) return;
    const Job& job = state.jobs.at(key.job);
    const std::uint32_t need = job.spec->node_count;
    if (!job.mapping.container_image.empty()) {
      if (!run_containers) run_containers = core::container_capacity(state, cluster);
      if (need > *run_containers) continue;  // not until nodes get a runtime: passed over
      // Those that can run it come first, in their order.
      const auto able = std::stable_partition(
          next, nodes.end(), [&](NodeId node) { return state.nodes.at(node).inventory.runs_containers(); });
      if (need > static_cast<std::size_t>(able - next)) return;
    }
    if (need > core::capacity_of(cluster.spec)) continue;  // can never start until a resize: passed over
    if (need > static_cast<std::size_t>(nodes.end() - next)) return;
    plan.placements.push_back({job.id, {next, next + need}});
    next += need;
  }
}

}  // namespace

Plan make_plan(const State& state, TimeMs now_ms) {
  Plan plan;
  scale_clusters(state, now_ms, plan);
  std::set<NodeId> withdrawn;
  for (const Withdrawal& withdrawal : plan.withdrawals) withdrawn.insert(withdrawal.node);
  for (const auto& [id, cluster] : state.clusters) {
    if (!cluster.deleting) place(state, cluster, withdrawn, plan);
  }
  return plan;
}

}  // namespace trainyard::plan
