#include "controller/plan/scale.h"

#include <algorithm>
#include <string>

namespace trainyard::plan {

namespace {

using core::Cluster;
using core::Node;
using core::NodeState;
using core::State;

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

// It is of no use to a job that waits.
bool is_broken(const Node& node) {
  return !node.live.reachable || node.state == NodeState::unusable || !core::in_service(node);
}

// What withdrawing a node costs: nothing, or a gang, cheapest first.
struct Cost {
  int kind = 0;           // 0 broken and empty, 1 preparing, 2 idle, 3 only what is ending, 4 a running gang
  TimeMs started_ms = 0;  // of the gang, negated: the latest started loses least
  std::int64_t job = 0;   // its id, negated
  NodeId node;
  friend auto operator<=>(const Cost&, const Cost&) = default;
};

Cost cost_of(const State& state, const Node& node, bool longest_idle_first) {
  Cost cost{0, 0, 0, node.id};
  auto held = state.holdings.lower_bound({node.id, AttemptId{}});
  if (held == state.holdings.end() || held->first.first != node.id) {
    const bool preparing = node.state == NodeState::preparing;
    // Of empty nodes the newest goes first; with autoScale the one that was not needed for the longest time.
    cost.started_ms = -static_cast<TimeMs>(node.id.value);
    if (is_broken(node)) return cost;
    cost.kind = preparing ? 1 : 2;
    if (longest_idle_first) {
      cost.kind = preparing ? 2 : 1;
      cost.started_ms = node.state_changed_ms;
    }
    return cost;
  }
  cost.kind = 3;
  cost.job = -static_cast<std::int64_t>(held->second.id.job.value);
  auto job = state.jobs.find(held->second.id.job);
  if (job != state.jobs.end() && core::current(state, held->second)) {
    cost.started_ms = -job->second.started_ms;
    if (job->second.state != core::JobState::stopping) cost.kind = 4;
  }
  return cost;
}

struct Scaler {
  const State& state;
  const TimeMs now_ms;
  Plan& plan;
  std::map<std::string, std::set<NodeId>::const_iterator> next_free = {};  // per flavour: first not yet given out
  std::map<std::string, std::vector<std::pair<ClusterId, std::uint32_t>>> missing = {};  // of dedicated clusters
  std::set<NodeId> withdrawn = {};

  void scale(const Cluster& cluster);
  std::uint32_t auto_target(const Cluster& cluster);
  void shrink(const Cluster& cluster, std::uint32_t excess);
  std::uint32_t grow(const Cluster& cluster, std::uint32_t wanted);
  void take_back(const std::string& flavour, std::uint32_t wanted);
};

std::uint32_t Scaler::auto_target(const Cluster& cluster) {
  const core::AutoScale& scale = *cluster.spec.auto_scale;
  std::uint32_t busy = 0, broken = 0, kept = 0, free = 0;
  if (auto nodes = state.cluster_nodes.find(cluster.id); nodes != state.cluster_nodes.end()) {
    for (NodeId id : nodes->second) {
      const Node& node = state.nodes.at(id);
      if (node.state == NodeState::leaving) continue;
      if (!core::holds_nothing(state, id)) {
        ++busy;
      } else if (is_broken(node)) {
        ++broken;
      } else {
        ++free;
        const bool rests =
            node.state == NodeState::idle && now_ms >= node.state_changed_ms + scale.idle_before_scale_down_ms;
        if (!rests) ++kept;
      }
    }
  }
  const core::Demand demand = core::demand_of(state, cluster, scale.maximum - std::min(busy, scale.maximum));
  std::uint32_t wanted = busy + std::max(demand.nodes, kept);
  if (demand.nodes > free) wanted += broken;  // they stand in the way: others are needed beside them
  if (now_ms < cluster.created_ms + scale.idle_before_scale_down_ms) wanted = std::max(wanted, scale.initial);
  const std::uint32_t target = std::clamp(wanted, scale.minimum, scale.maximum);
  if (target != cluster.auto_target) {
    plan.retargets.push_back({cluster.id, target,
                              std::to_string(busy) + " busy, " + std::to_string(demand.nodes) + " needed by " +
                                  std::to_string(demand.jobs) + " queued job(s), " + std::to_string(kept) +
                                  " idle for less than the idle time or preparing, minimum " +
                                  std::to_string(scale.minimum) + ", maximum " + std::to_string(scale.maximum)});
  }
  return target;
}

void Scaler::shrink(const Cluster& cluster, std::uint32_t excess) {
  std::vector<Cost> costs;
  for (NodeId id : state.cluster_nodes.at(cluster.id)) {
    const Node& node = state.nodes.at(id);
    if (node.state != NodeState::leaving) costs.push_back(cost_of(state, node, cluster.spec.auto_scale.has_value()));
  }
  // Sorted by gang, so whole gangs go before the next one is touched.
  std::sort(costs.begin(), costs.end());
  for (std::uint32_t i = 0; i < excess && i < costs.size(); ++i) {
    plan.withdrawals.push_back({costs[i].node});
    withdrawn.insert(costs[i].node);
  }
}

// Gives the cluster what the inventory has; how many are still missing then.
std::uint32_t Scaler::grow(const Cluster& cluster, std::uint32_t wanted) {
  const std::string flavour = lower(cluster.spec.vm_size);
  auto free = state.free_flavours.find(flavour);
  if (free == state.free_flavours.end()) return wanted;
  auto it = next_free.try_emplace(flavour, free->second.begin()).first;
  for (; wanted > 0 && it->second != free->second.end(); --wanted) {
    plan.assignments.push_back({*it->second++, cluster.id});
  }
  return wanted;
}

void Scaler::scale(const Cluster& cluster) {
  auto nodes = state.cluster_nodes.find(cluster.id);
  const std::size_t count = nodes == state.cluster_nodes.end() ? 0 : nodes->second.size();
  const std::uint32_t target = cluster.spec.auto_scale ? auto_target(cluster) : cluster.spec.target_node_count;
  if (count < target) {
    const std::uint32_t short_of = grow(cluster, static_cast<std::uint32_t>(target - count));
    if (short_of > 0 && cluster.spec.vm_priority == core::VmPriority::dedicated) {
      missing[lower(cluster.spec.vm_size)].push_back({cluster.id, short_of});
    }
    return;
  }
  if (count == 0) return;
  // A leaving node counts until it is clean or fenced, so it is neither replaced nor withdrawn twice.
  const std::size_t staying = count - state.counts.at(cluster.id).leaving;
  if (staying > target) shrink(cluster, static_cast<std::uint32_t>(staying - target));
}

// Whether a leaving node will be in the inventory soon: it does not wait for a job's end.
bool comes_soon(const State& state, const Node& node) {
  if (node.state != NodeState::leaving || !node.live.reachable) return false;
  auto held = state.holdings.lower_bound({node.id, AttemptId{}});
  return held == state.holdings.end() || held->first.first != node.id || held->second.stop_ordered;
}

void Scaler::take_back(const std::string& flavour, std::uint32_t wanted) {
  std::uint32_t coming = 0;
  std::vector<Cost> costs;
  for (const auto& [id, nodes] : state.cluster_nodes) {
    const Cluster& cluster = state.clusters.at(id);
    if (lower(cluster.spec.vm_size) != flavour) continue;
    const bool low = cluster.spec.vm_priority == core::VmPriority::low_priority;
    for (NodeId member : nodes) {
      const Node& node = state.nodes.at(member);
      if (comes_soon(state, node) || withdrawn.contains(member)) {
        ++coming;
      } else if (low && node.state != NodeState::leaving && node.live.reachable) {
        costs.push_back(cost_of(state, node, false));
      }
    }
  }
  std::sort(costs.begin(), costs.end());
  auto victim = costs.begin();
  for (const auto& [cluster, count] : missing.at(flavour)) {
    for (std::uint32_t i = 0; i < count && wanted > coming && victim != costs.end(); ++i, --wanted, ++victim) {
      plan.withdrawals.push_back({victim->node, cluster});
    }
  }
}

}  // namespace

void scale_clusters(const State& state, TimeMs now_ms, Plan& plan) {
  Scaler scaler{state, now_ms, plan};
  bool has_low = false;
  for (const bool low : {false, true}) {
    for (const auto& [id, cluster] : state.clusters) {
      if (cluster.deleting || (cluster.spec.vm_priority == core::VmPriority::low_priority) != low) continue;
      has_low = has_low || low;
      scaler.scale(cluster);
    }
  }
  if (!has_low) return;
  for (const auto& [flavour, clusters] : scaler.missing) {
    std::uint32_t wanted = 0;
    for (const auto& [cluster, count] : clusters) wanted += count;
    scaler.take_back(flavour, wanted);
  }
}

}  // namespace trainyard::plan
