#include "controller/plan/backfill.h"

#include <algorithm>
#include <set>
#include <utility>

namespace trainyard::plan {

namespace {

using core::Cluster;
using core::Job;
using core::JobState;
using core::State;

// Nobody chose it: what a job has whose user gave no limit.
const DurationMs kUnchosenLimitMs = JobSpec{}.max_wall_clock_ms;
// So many jobs of workspaces that are nearly at their limits are looked at for a smaller one.
constexpr std::uint32_t kPassedOver = 10'000;
// What is being stopped is given so long, again and again.
constexpr DurationMs kStoppingMs = 60'000;

// Until when a running job is expected to hold its nodes. One that outlives its estimate is expected to take as long
// again, at most to its limit.
struct End {
  TimeMs at_ms = 0;
  bool firm = true;
};
End end_of(const State& state, const Job& job, TimeMs now_ms, Belief belief) {
  if (job.state == JobState::stopping) return {now_ms + kStoppingMs, true};
  const Expected expected = expected_duration(state, job, belief);
  const DurationMs ran_ms = now_ms - job.started_ms, limit_ms = job.spec->max_wall_clock_ms;
  DurationMs total_ms = expected.duration_ms;
  if (ran_ms >= total_ms) total_ms = std::max(std::min(2 * ran_ms, limit_ms), ran_ms + kStoppingMs);
  return {job.started_ms + total_ms, expected.firm};
}

// Nodes that leave the cluster, are drained or cannot be reached do not come free for it.
bool stays(const Cluster& cluster, const core::Node& node) {
  return node.cluster == cluster.id && node.live.reachable && !node.drain &&
         (node.state == core::NodeState::running || node.state == core::NodeState::idle);
}

// Says of one job after the other, in their order, when and where it starts.
class Starts {
 public:
  Starts(const State& state, const Cluster& cluster, TimeMs now_ms, Belief belief, const std::set<NodeId>& withdrawn)
      : x_state(state),
        x_cluster(cluster),
        x_now_ms(now_ms),
        x_belief(belief),
        x_withdrawn(&withdrawn),
        x_closed(closed_nodes(state)),
        x_future(now_ms) {
    if (const auto free = state.free_nodes.find(cluster.id); free != state.free_nodes.end()) {
      for (const NodeId node : free->second) {
        if (!withdrawn.contains(node)) add(state.nodes.at(node), core::units_of(state.nodes.at(node)));
      }
    }
    if (const auto shared = state.shared_nodes.find(cluster.id); shared != state.shared_nodes.end()) {
      for (const auto& [node, units] : shared->second) {
        if (!withdrawn.contains(node)) add(state.nodes.at(node), units);
      }
    }
  }

  // When and where the job starts if it keeps its place: from then on its nodes are taken. Never: nothing that is known
  // gives it enough of them.
  Slot promise(const Job& job) {
    const Shape shape = shape_of(x_state, job);
    const Expected expected = expected_duration(x_state, job, x_belief);
    Slot slot{x_now_ms, {}};
    // Until somebody waits, what is free now is all that counts.
    if (!x_looks_ahead) slot.nodes = x_future.fits_now(shape, span_of(expected));
    if (slot.nodes.empty()) {
      look_ahead();
      slot = x_future.earliest(shape, span_of(expected));
    }
    if (slot.start_ms != Future::kNever) take(slot, shape, expected);
    return slot;
  }

  // Where the job starts now without breaking a promise; nowhere: it does not.
  std::vector<NodeId> fill_in(const Job& job) {
    const Shape shape = shape_of(x_state, job);
    const Expected expected = expected_duration(x_state, job, x_belief);
    Slot slot{x_now_ms, x_future.fits_now(shape, span_of(expected))};
    if (!slot.nodes.empty()) take(slot, shape, expected);
    return slot.nodes;
  }

  const Future& future() const { return x_future; }

 private:
  // Of whom nobody knows how long it takes, it must be assumed that it never ends: it starts beside promises only.
  static DurationMs span_of(const Expected& expected) { return expected.firm ? expected.duration_ms : Future::kNever; }

  void take(const Slot& slot, Shape shape, const Expected& expected) {
    x_future.take(slot.nodes, shape, slot.start_ms, expected.duration_ms);
    if (!expected.firm) x_future.distrust(slot.start_ms + expected.duration_ms);
  }

  void add(const core::Node& node, std::uint32_t free) {
    x_future.add(node.id, core::units_of(node), free,
                 {.whole = core::in_service(node),
                  .parts = core::count_to_give(node.inventory) > 0,
                  .containers = node.inventory.runs_containers()});
    if (const auto closed = x_closed.find(node.id); closed != x_closed.end()) {
      for (const Closed& one : closed->second) x_future.close(node.id, one);
    }
  }

  // What runs, and when it ends.
  void look_ahead() {
    if (std::exchange(x_looks_ahead, true)) return;
    const auto active = x_state.active_jobs.find(x_cluster.id);
    if (active == x_state.active_jobs.end()) return;
    for (const JobId id : active->second) {
      const auto held = x_state.job_holdings.find(id);
      if (held == x_state.job_holdings.end()) continue;
      const End end = end_of(x_state, x_state.jobs.at(id), x_now_ms, x_belief);
      for (const core::HoldingKey& key : held->second) {
        const core::Node& node = x_state.nodes.at(key.first);
        if (!stays(x_cluster, node) || x_withdrawn->contains(node.id)) continue;
        if (!x_future.contains(node.id)) add(node, 0);
        x_future.release(node.id, end.at_ms, core::units_of(x_state, x_state.holdings.at(key)), end.firm);
      }
    }
  }

  const State& x_state;
  const Cluster& x_cluster;
  const TimeMs x_now_ms;
  const Belief x_belief;
  const std::set<NodeId>* x_withdrawn;
  const ClosedNodes x_closed;
  Future x_future;
  bool x_looks_ahead = false;
};

}  // namespace

Expected expected_duration(const State& state, const Job& job, Belief belief) {
  const DurationMs limit_ms = job.spec->max_wall_clock_ms;
  const bool chosen = limit_ms != kUnchosenLimitMs;
  if (belief == Belief::worst || (belief == Belief::plan && chosen)) return {limit_ms, chosen};
  if (const auto learnt = core::usual_run_time(state, job)) return {std::min(*learnt, limit_ms), true};
  return {limit_ms, chosen};
}

Shape shape_of(const State& state, const Job& job) {
  return {job.spec->node_count, job.spec->gpus_per_node, !job.mapping.container_image.empty(),
          core::payer_of(state, job).workspace, job.spec->max_wall_clock_ms};
}

ClosedNodes closed_nodes(const State& state) {
  ClosedNodes closed;
  for (const auto& [id, reservation] : state.reservations) {
    for (const NodeId node : reservation.nodes) {
      closed[node].push_back(
          {reservation.from_ms, reservation.until_ms, reservation.workspace.value_or(WorkspaceId{})});
    }
  }
  return closed;
}

std::vector<core::Placement> fill(const State& state, const Cluster& cluster, TimeMs now_ms, const Settings& settings,
                                  Shares& shares, const std::set<NodeId>& withdrawn, const Job* instead) {
  std::vector<core::Placement> placements;
  if (instead == nullptr && !state.queues.contains(cluster.id)) return placements;
  Starts starts(state, cluster, now_ms, Belief::plan, withdrawn);
  if (!starts.future().anything_free()) return placements;
  Order order(state, cluster.id, shares, now_ms, settings.order, instead);
  const Supply supply = supply_of(state, cluster);
  const std::uint32_t per_whole_node = std::max(1U, supply.most_gpus.value_or(1));
  std::uint32_t promised = 0, looked_at = 0, passed_over = 0;
  for (const Job* job = order.next(); job != nullptr; job = order.next()) {
    if (!starts.future().anything_free() || (promised > 0 && looked_at == settings.depth)) break;
    if (!possible(supply, *job)) continue;  // not before a resize: passed over
    const core::Payer payer = core::payer_of(state, *job);
    const std::uint32_t gpus = core::gpus_wanted(*job, per_whole_node);
    if (!shares.allows(payer.workspace, gpus)) {
      if (!shares.allows(payer.workspace, 1)) order.pass_over(payer.workspace);
      if (++passed_over == kPassedOver) break;
      continue;
    }
    if (promised > 0) ++looked_at;
    std::vector<NodeId> nodes;
    if (promised < settings.reservations) {
      Slot slot = starts.promise(*job);
      if (slot.start_ms == Future::kNever) break;
      if (slot.start_ms == now_ms) {
        nodes = std::move(slot.nodes);
      } else {
        ++promised;
        shares.promise(payer, gpus);
      }
    } else {
      nodes = starts.fill_in(*job);
    }
    if (nodes.empty()) continue;
    shares.give(payer, gpus);
    placements.push_back({job->id, std::move(nodes)});
  }
  return placements;
}

bool starts(const State& state, const Cluster& cluster, TimeMs now_ms, const Settings& settings, const Job& job,
            const std::optional<core::Quota>& quota) {
  Shares shares(state, now_ms);
  if (quota) shares.suppose(core::payer_of(state, job).workspace, *quota);
  const auto placements = fill(state, cluster, now_ms, settings, shares, {}, &job);
  return std::any_of(placements.begin(), placements.end(),
                     [&](const core::Placement& placement) { return placement.job == job.id; });
}

Supply supply_of(const State& state, const Cluster& cluster) {
  // One walk for all of it: it is most of a plan that has little to place.
  std::uint32_t drained = 0, faulty = 0, no_containers = 0;
  std::optional<std::uint32_t> most_gpus;
  if (const auto nodes = state.cluster_nodes.find(cluster.id); nodes != state.cluster_nodes.end()) {
    most_gpus = 0;
    for (const NodeId id : nodes->second) {
      const core::Node& node = state.nodes.at(id);
      drained += node.drain ? 1 : 0;
      faulty += !node.drain && !core::in_service(node) ? 1 : 0;
      no_containers += node.inventory.runs_containers() ? 0 : 1;
      most_gpus = std::max(*most_gpus, core::count_to_give(node.inventory));
    }
  }
  const auto without = [](std::uint32_t all, std::uint32_t some) { return all - std::min(all, some); };
  const std::uint32_t capacity = core::capacity_of(cluster.spec);
  return {without(capacity, drained + faulty), without(capacity, drained), without(capacity, no_containers), most_gpus};
}

bool possible(const Supply& supply, const Job& job) {
  const JobSpec& spec = *job.spec;
  return spec.node_count <= (spec.gpus_per_node == 0 ? supply.whole : supply.shared) &&
         (job.mapping.container_image.empty() || spec.node_count <= supply.containers) &&
         supply.most_gpus.value_or(spec.gpus_per_node) >= spec.gpus_per_node;
}

Forecast forecast(const State& state, const Job& job, TimeMs now_ms, Belief belief, const Settings& settings) {
  constexpr std::uint32_t kLookedThrough = 1'000;
  Forecast result;
  const auto cluster = state.clusters.find(job.cluster);
  if (cluster == state.clusters.end() || !core::may_start(job)) return result;
  const Supply supply = supply_of(state, cluster->second);
  const std::uint32_t per_whole_node = std::max(1U, supply.most_gpus.value_or(1));
  const std::set<NodeId> none;
  Starts starts(state, cluster->second, now_ms, belief, none);
  Shares shares(state, now_ms);
  Order order(state, job.cluster, shares, now_ms, settings.order);
  for (std::uint32_t turn = 1; turn <= kLookedThrough; ++turn) {
    const Job* next = order.next();
    if (next == nullptr) break;
    const bool is_it = next->id == job.id;
    if (is_it) result.turn = turn;
    const core::Payer payer = core::payer_of(state, *next);
    const std::uint32_t gpus = core::gpus_wanted(*next, per_whole_node);
    const bool waits = possible(supply, *next) && shares.allows(payer.workspace, gpus);
    const TimeMs start_ms = waits ? starts.promise(*next).start_ms : Future::kNever;
    if (is_it) result.start_ms = start_ms;
    if (is_it || (waits && start_ms == Future::kNever)) break;
    if (!waits) continue;
    start_ms == now_ms ? shares.give(payer, gpus) : shares.promise(payer, gpus);
    result.turns_before.push_back(start_ms);
  }
  result.before =
      static_cast<std::uint32_t>(std::count_if(result.turns_before.begin(), result.turns_before.end(),
                                               [&](TimeMs start_ms) { return start_ms < result.start_ms; }));
  result.firm = result.start_ms < starts.future().firm_until_ms();
  return result;
}

}  // namespace trainyard::plan
