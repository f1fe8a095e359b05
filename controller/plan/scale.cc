#include "controller/plan/scale.h"

#include <algorithm>
#include <string>

#include "controller/plan/reach.h"

namespace trainyard::plan {

namespace {

using core::Cluster;
using core::Node;
using core::NodeState;
using core::State;
using Row = Roster::Row;

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

// It is of no use to a job that waits.
bool is_broken(const Row& row) {
  return !row.node->live.reachable || row.node->state == NodeState::unusable || !row.gives.in_service;
}

// What withdrawing a node costs: nothing, or a gang, cheapest first.
struct Cost {
  int kind = 0;           // 0 broken and empty, 1 preparing, 2 idle, 3 only what is ending, 4 a running gang
  TimeMs started_ms = 0;  // of the gang, negated: the latest started loses least
  std::int64_t job = 0;   // its id, negated
  NodeId node;
  friend auto operator<=>(const Cost&, const Cost&) = default;
};

Cost cost_of(const State& state, const Roster& roster, const Row& row, bool longest_idle_first) {
  const Node& node = *row.node;
  Cost cost{0, 0, 0, node.id};
  if (row.count == 0) {
    const bool preparing = node.state == NodeState::preparing;
    // Of empty nodes the newest goes first; with autoScale the one that was not needed for the longest time.
    cost.started_ms = -static_cast<TimeMs>(node.id.value);
    if (is_broken(row)) return cost;
    cost.kind = preparing ? 1 : 2;
    if (longest_idle_first) {
      cost.kind = preparing ? 2 : 1;
      cost.started_ms = node.state_changed_ms;
    }
    return cost;
  }
  const core::Holding& held = *roster.holds(row).front().holding;
  cost.kind = 3;
  cost.job = -static_cast<std::int64_t>(held.id.job.value);
  auto job = state.jobs.find(held.id.job);
  if (job != state.jobs.end() && core::current(state, held)) {
    cost.started_ms = -job->second.started_ms;
    if (job->second.state != core::JobState::stopping) cost.kind = 4;
  }
  return cost;
}

// Nodes that a cluster of autoScale has.
struct Members {
  std::uint32_t busy = 0, broken = 0;
  std::uint32_t leaving = 0, lingering = 0;  // lingering: leaves when a job there has ended
  std::vector<NodeId> free;                  // or will be soon
  std::set<NodeId> kept;                     // of the free ones: not for long enough idle to be given back
};

// How many nodes it should have, and which.
struct Wanted {
  std::uint32_t target = 0, leaving = 0;    // leaving: soon gone
  std::set<NodeId> own;                     // free nodes of it that jobs need where they lie
  std::vector<std::vector<NodeId>> others;  // free ones of the inventory, by job: all of them help it, or none
  std::vector<NodeId> spare;                // free nodes of it that no job needs
};

struct Scaler {
  const Common& common;
  const State& state;
  core::Plan& plan;
  std::map<std::string, std::set<NodeId>::const_iterator> next_free = {};  // per flavour: first not yet given out
  std::map<std::string, std::vector<std::pair<ClusterId, std::uint32_t>>> missing = {};  // of dedicated clusters
  std::set<NodeId> withdrawn = {}, chosen = {};  // chosen: given out for where they lie

  void scale(const Cluster& cluster);
  Members members_of(const Cluster& cluster) const;
  std::vector<NodeId> inventory_for(const Cluster& cluster) const;
  Wanted auto_wanted(const Cluster& cluster);
  bool take_others(const Cluster& cluster, Wanted& wanted, std::uint32_t& count);
  void shrink(const Cluster& cluster, const std::set<NodeId>& needed, std::uint32_t excess);
  std::uint32_t grow(const Cluster& cluster, std::uint32_t wanted);
  std::uint32_t coming(const std::string& flavour) const;
  void take_back(const std::string& flavour, std::uint32_t wanted);
};

// Whether a leaving node will be in the inventory soon: it does not wait for a job's end.
bool comes_soon(const Roster& roster, const Row& row) {
  if (row.node->state != NodeState::leaving || !row.node->live.reachable) return false;
  return row.count == 0 || roster.holds(row).front().holding->stop_ordered;
}

Members Scaler::members_of(const Cluster& cluster) const {
  Members members;
  const Roster& roster = common.rosters.of(cluster.id);
  for (const Row& row : roster.rows()) {
    const Node& node = *row.node;
    if (node.state == NodeState::leaving) {
      ++(comes_soon(roster, row) ? members.leaving : members.lingering);
    } else if (row.count > 0) {
      ++members.busy;
    } else if (is_broken(row)) {
      ++members.broken;
    } else {
      members.free.push_back(node.id);
      const bool rests = node.state == NodeState::idle &&
                         common.now_ms >= node.state_changed_ms + cluster.spec.auto_scale->idle_before_scale_down_ms;
      if (!rests) members.kept.insert(node.id);
    }
  }
  return members;
}

// Free nodes that nobody got yet.
std::vector<NodeId> Scaler::inventory_for(const Cluster& cluster) const {
  std::vector<NodeId> nodes;
  const std::string flavour = lower(cluster.spec.vm_size);
  const auto free = state.free_flavours.find(flavour);
  if (free == state.free_flavours.end()) return nodes;
  const auto next = next_free.find(flavour);
  for (auto it = next == next_free.end() ? free->second.begin() : next->second; it != free->second.end(); ++it) {
    if (!chosen.contains(*it)) nodes.push_back(*it);
  }
  return nodes;
}

Wanted Scaler::auto_wanted(const Cluster& cluster) {
  const core::AutoScale& scale = *cluster.spec.auto_scale;
  const Members members = members_of(cluster);
  const auto free = static_cast<std::uint32_t>(members.free.size()),
             kept = static_cast<std::uint32_t>(members.kept.size());
  const std::uint32_t blocked = members.busy + members.broken + members.lingering;  // of the maximum
  std::optional<Reach> reach;
  std::uint32_t anywhere = 0;
  const auto count = [&](const core::Job& job, std::uint32_t left) {
    if (!insists(&job.spec->topology)) {
      const std::uint32_t nodes = std::min(job.spec->node_count, left);
      anywhere += nodes;
      return nodes;
    }
    if (!reach) reach.emplace(state, members.free, inventory_for(cluster));
    const std::uint32_t before = reach->nodes();
    const std::uint32_t room = scale.maximum - std::min(scale.maximum, blocked + before);
    return reach->set_aside(job, std::min(left, room)) ? reach->nodes() - before : 0;
  };
  const core::Demand demand =
      core::demand_of(state, cluster, scale.maximum - std::min(members.busy, scale.maximum), count);
  Wanted result{.leaving = members.leaving};
  if (reach) result.own = reach->own(), result.others = reach->others();
  std::uint32_t rest = 0;  // kept, and not needed for where they lie
  for (const NodeId id : members.free) {
    if (result.own.contains(id)) continue;
    rest += members.kept.contains(id) ? 1 : 0;
    result.spare.push_back(id);
  }
  std::uint32_t wanted = members.busy + (demand.nodes - anywhere) + std::max(anywhere, rest);
  if (demand.nodes > free) wanted += members.broken;  // they stand in the way: others are needed beside them
  if (common.now_ms < cluster.created_ms + scale.idle_before_scale_down_ms) wanted = std::max(wanted, scale.initial);
  result.target = std::clamp(wanted, scale.minimum, scale.maximum);
  result.spare.resize(result.spare.size() - std::min<std::size_t>(result.spare.size(), anywhere));
  if (result.target != cluster.auto_target) {
    plan.retargets.push_back({cluster.id, result.target,
                              std::to_string(members.busy) + " busy, " + std::to_string(demand.nodes) + " needed by " +
                                  std::to_string(demand.jobs) + " queued job(s), " + std::to_string(kept) +
                                  " idle for less than the idle time or preparing, minimum " +
                                  std::to_string(scale.minimum) + ", maximum " + std::to_string(scale.maximum)});
  }
  return result;
}

// Gives the cluster those nodes that help a job where they lie: all that one needs at once. False: its maximum leaves
// no room for them yet, and nodes that nobody needs are given back first. `count` is then with those that it got, and
// the target without those that it cannot have.
bool Scaler::take_others(const Cluster& cluster, Wanted& wanted, std::uint32_t& count) {
  if (wanted.others.empty()) return true;
  const std::uint32_t maximum = cluster.spec.auto_scale->maximum;
  auto spare = wanted.spare.rbegin();
  for (const std::vector<NodeId>& nodes : wanted.others) {
    const auto size = static_cast<std::uint32_t>(nodes.size());
    if (count + size <= maximum) {
      for (const NodeId node : nodes) {
        plan.assignments.push_back({node, cluster.id});
        chosen.insert(node);
      }
      count += size;
    } else if (count + size <= maximum + wanted.leaving + wanted.spare.size()) {
      for (; count + size > maximum + wanted.leaving; ++spare, ++wanted.leaving) {
        plan.withdrawals.push_back({*spare});
        withdrawn.insert(*spare);
      }
      return false;
    } else {
      wanted.target -= std::min(wanted.target, size);
    }
  }
  return true;
}

void Scaler::shrink(const Cluster& cluster, const std::set<NodeId>& needed, std::uint32_t excess) {
  std::vector<Cost> costs;
  const Roster& roster = common.rosters.of(cluster.id);
  for (const Row& row : roster.rows()) {
    if (row.node->state == NodeState::leaving || needed.contains(row.node->id)) continue;
    costs.push_back(cost_of(state, roster, row, cluster.spec.auto_scale.has_value()));
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
  for (; wanted > 0 && it->second != free->second.end(); ++it->second) {
    if (chosen.contains(*it->second)) continue;
    plan.assignments.push_back({*it->second, cluster.id});
    --wanted;
  }
  return wanted;
}

void Scaler::scale(const Cluster& cluster) {
  auto nodes = state.cluster_nodes.find(cluster.id);
  const auto had = static_cast<std::uint32_t>(nodes == state.cluster_nodes.end() ? 0 : nodes->second.size());
  Wanted wanted = cluster.spec.auto_scale ? auto_wanted(cluster) : Wanted{.target = cluster.spec.target_node_count};
  std::uint32_t count = had;
  if (!take_others(cluster, wanted, count)) return;
  if (count < wanted.target) {
    const std::uint32_t short_of = grow(cluster, wanted.target - count);
    if (short_of > 0 && cluster.spec.vm_priority == core::VmPriority::dedicated) {
      missing[lower(cluster.spec.vm_size)].push_back({cluster.id, short_of});
    }
    return;
  }
  if (had == 0) return;
  // A leaving node counts until it is clean or fenced, so it is neither replaced nor withdrawn twice.
  const std::uint32_t staying = count - state.counts.at(cluster.id).leaving;
  if (staying > wanted.target) shrink(cluster, wanted.own, staying - wanted.target);
}

// How many nodes of the flavour will be in the inventory soon: those that are withdrawn now, too.
std::uint32_t Scaler::coming(const std::string& flavour) const {
  std::uint32_t count = 0;
  for (const NodeId node : withdrawn) {
    const Cluster& cluster = state.clusters.at(*state.nodes.at(node).cluster);
    count += lower(cluster.spec.vm_size) == flavour ? 1 : 0;
  }
  for (const auto& [id, counts] : state.counts) {
    if (counts.leaving == 0 || lower(state.clusters.at(id).spec.vm_size) != flavour) continue;
    const Roster& roster = common.rosters.of(id);
    for (const Row& row : roster.rows()) count += comes_soon(roster, row) ? 1 : 0;
  }
  return count;
}

void Scaler::take_back(const std::string& flavour, std::uint32_t wanted) {
  std::vector<const Roster*> rosters;  // of who must give them
  for (const auto& [id, nodes] : state.cluster_nodes) {
    const core::ClusterSpec& spec = state.clusters.at(id).spec;
    const bool low = spec.vm_priority == core::VmPriority::low_priority;
    if (low && !nodes.empty() && lower(spec.vm_size) == flavour) rosters.push_back(&common.rosters.of(id));
  }
  if (rosters.empty()) return;
  const std::uint32_t soon = coming(flavour);
  if (wanted <= soon) return;
  std::vector<Cost> costs;
  for (const Roster* roster : rosters) {
    for (const Row& row : roster->rows()) {
      const Node& node = *row.node;
      if (node.state == NodeState::leaving || !node.live.reachable || withdrawn.contains(node.id)) continue;
      costs.push_back(cost_of(state, *roster, row, false));
    }
  }
  std::sort(costs.begin(), costs.end());
  auto victim = costs.begin();
  for (const auto& [cluster, count] : missing.at(flavour)) {
    for (std::uint32_t i = 0; i < count && wanted > soon && victim != costs.end(); ++i, --wanted, ++victim) {
      plan.withdrawals.push_back({victim->node, cluster});
    }
  }
}

}  // namespace

void scale_clusters(const Common& common, core::Plan& plan) {
  const State& state = common.state;
  Scaler scaler{common, state, plan};
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
