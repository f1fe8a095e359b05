#include "controller/plan/plan.h"

#include <algorithm>
#include <string>

namespace trainyard::plan {

namespace {

using core::Cluster;
using core::Job;
using core::JobState;
using core::Node;
using core::NodeState;
using core::State;

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

// What withdrawing a node costs: nothing, or a gang, cheapest first.
struct Cost {
  int kind = 0;           // 0 unreachable and empty, 1 preparing, 2 idle, 3 only what is ending, 4 a running gang
  TimeMs started_ms = 0;  // of the gang, negated: the latest started loses least
  std::int64_t job = 0;   // its id, negated
  NodeId node;
  friend auto operator<=>(const Cost&, const Cost&) = default;
};

Cost cost_of(const State& state, const Node& node) {
  Cost cost{0, 0, 0, node.id};
  auto held = state.holdings.lower_bound({node.id, AttemptId{}});
  if (held == state.holdings.end() || held->first.first != node.id) {
    cost.kind = !node.live.reachable ? 0 : node.state == NodeState::preparing ? 1 : 2;
    // Of empty nodes the newest goes first.
    cost.started_ms = -static_cast<TimeMs>(node.id.value);
    return cost;
  }
  cost.kind = 3;
  cost.job = -static_cast<std::int64_t>(held->second.id.job.value);
  auto job = state.jobs.find(held->second.id.job);
  if (job != state.jobs.end() && core::current(state, held->second)) {
    cost.started_ms = -job->second.started_ms;
    if (job->second.state != JobState::stopping) cost.kind = 4;
  }
  return cost;
}

void shrink(const State& state, const Cluster& cluster, std::uint32_t excess, Plan& plan) {
  std::vector<Cost> costs;
  for (NodeId id : state.cluster_nodes.at(cluster.id)) {
    const Node& node = state.nodes.at(id);
    if (node.state != NodeState::leaving) costs.push_back(cost_of(state, node));
  }
  // Sorted by gang, so whole gangs go before the next one is touched.
  std::sort(costs.begin(), costs.end());
  for (std::uint32_t i = 0; i < excess && i < costs.size(); ++i) plan.withdrawals.push_back({costs[i].node});
}

struct Scaler {
  const State& state;
  std::map<std::string, std::set<NodeId>::const_iterator> next_free;  // per flavour: first not yet given out

  void grow(const Cluster& cluster, std::uint32_t missing, Plan& plan) {
    const std::string flavour = lower(cluster.spec.vm_size);
    auto free = state.free_flavours.find(flavour);
    if (free == state.free_flavours.end()) return;
    auto it = next_free.try_emplace(flavour, free->second.begin()).first;
    for (; missing > 0 && it->second != free->second.end(); --missing) {
      plan.assignments.push_back({*it->second++, cluster.id});
    }
  }

  void scale(const Cluster& cluster, Plan& plan) {
    auto nodes = state.cluster_nodes.find(cluster.id);
    const std::size_t count = nodes == state.cluster_nodes.end() ? 0 : nodes->second.size();
    const std::uint32_t target = cluster.spec.target_node_count;
    if (count < target) return grow(cluster, static_cast<std::uint32_t>(target - count), plan);
    if (count == 0) return;
    // A leaving node counts until it is clean or fenced, so it is neither replaced nor withdrawn twice.
    const std::size_t staying = count - state.counts.at(cluster.id).leaving;
    if (staying > target) shrink(state, cluster, static_cast<std::uint32_t>(staying - target), plan);
  }
};

// Places jobs in the queue's order until one must wait that could run at the cluster's target size.
void place(const State& state, const Cluster& cluster, const std::set<NodeId>& withdrawn, Plan& plan) {
  auto queue = state.queues.find(cluster.id);
  auto free = state.free_nodes.find(cluster.id);
  if (queue == state.queues.end() || free == state.free_nodes.end()) return;
  std::vector<NodeId> nodes;
  nodes.reserve(free->second.size());
  for (NodeId node : free->second) {
    if (!withdrawn.contains(node)) nodes.push_back(node);
  }
  auto next = nodes.begin();
  for (const core::QueueKey& key : queue->second) {
    if (next == nodes.end()) return;
    const Job& job = state.jobs.at(key.job);
    const std::uint32_t need = job.spec->node_count;
    if (need > cluster.spec.target_node_count) continue;  // can never start until a resize: passed over
    if (need > static_cast<std::size_t>(nodes.end() - next)) return;
    plan.placements.push_back({job.id, {next, next + need}});
    next += need;
  }
}

}  // namespace

Plan make_plan(const State& state, TimeMs) {
  Plan plan;
  Scaler scaler{state, {}};
  for (const auto& [id, cluster] : state.clusters) {
    if (!cluster.deleting) scaler.scale(cluster, plan);
  }
  std::set<NodeId> withdrawn;
  for (const Withdrawal& withdrawal : plan.withdrawals) withdrawn.insert(withdrawal.node);
  for (const auto& [id, cluster] : state.clusters) {
    if (!cluster.deleting) place(state, cluster, withdrawn, plan);
  }
  return plan;
}

}  // namespace trainyard::plan
