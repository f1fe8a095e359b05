#include "controller/plan/backfill.h"

#include <algorithm>
#include <set>
#include <utility>

#include "controller/core/setup.h"
#include "controller/plan/order.h"

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
  const DurationMs ran_ms = now_ms - job.started_ms, limit_ms = core::limit_of(job);
  DurationMs total_ms = expected.duration_ms;
  if (ran_ms >= total_ms) total_ms = std::max(std::min(2 * ran_ms, limit_ms), ran_ms + kStoppingMs);
  return {job.started_ms + total_ms, expected.firm};
}

// Nodes that leave the cluster, are drained, cannot be reached or are to be set up again do not come free for it.
bool stays(const Cluster& cluster, const core::Node& node) {
  return node.cluster == cluster.id && node.live.reachable && !node.drain && !core::setup_failed(node) &&
         (node.state == core::NodeState::running || node.state == core::NodeState::idle);
}

// Says of one job after the other, in their order, when and where it starts.
class Starts {
 public:
  Starts(const Pass& pass, TimeMs now_ms, Belief belief, const std::set<JobId>& gone = {})
      : x_pass(pass),
        x_state(pass.common.state),
        x_now_ms(now_ms),
        x_belief(belief),
        x_gone(gone),
        x_giving(x_state, pass.cluster.id),
        x_future(now_ms) {
    for (const JobId id : x_gone) give_back(id);
    const ClusterId cluster = pass.cluster.id;
    Walk nodes(x_state.nodes);
    if (const auto free = x_state.free_nodes.find(cluster); free != x_state.free_nodes.end()) {
      x_future.reserve(free->second.size());
      for (const NodeId id : free->second) {
        if (withdrawn(id)) continue;
        const core::Node& node = nodes.at(id);
        const Gives gives = x_giving.of(node);
        add(node, gives, gives.units);
      }
    }
    const auto shared = x_state.shared_nodes.find(cluster);
    if (shared == x_state.shared_nodes.end()) return;
    for (const auto& [id, units] : shared->second) {
      if (withdrawn(id) || x_future.contains(id)) continue;
      const core::Node& node = x_state.nodes.at(id);
      add(node, x_giving.of(node), units);
    }
  }

  // Where the job starts now without breaking a promise, on `most` nodes at most; no nodes: it does not.
  core::Placement start(const Job& job, std::uint32_t most) {
    Shape shape = shape_of(x_state, job);
    shape.nodes = most;
    Expected expected = expected_duration(x_state, job, x_belief, most);
    core::Placement placement{job.id, {}};
    Slot slot = x_future.fits_now(shape, span_of(expected));
    // On fewer nodes than it wants it may take longer (never less): does it fit on those for so long?
    while (!slot.nodes.empty() && slot.nodes.size() < shape.nodes) {
      shape.nodes = static_cast<std::uint32_t>(slot.nodes.size());
      const Expected longer = expected_duration(x_state, job, x_belief, shape.nodes);
      if (span_of(longer) == span_of(expected)) break;
      expected = longer;
      slot = x_future.fits_now(shape, span_of(expected));
    }
    if (slot.nodes.empty()) {
      shape.nodes = most;
      placement.limit_ms = longest_limit(job, shape);
    }
    if (placement.limit_ms != 0) {
      shape.limit_ms = placement.limit_ms;
      expected = {placement.limit_ms, true};
      slot = x_future.fits_now(shape, placement.limit_ms);
    }
    if (!slot.nodes.empty()) take(slot, shape, expected);
    placement.nodes = std::move(slot.nodes);
    return placement;
  }

  // When and where the job starts if it keeps its place: from then on its nodes are taken. Never: nothing that is known
  // gives it enough of them. REQUIRES: it does not start now
  Slot promise(const Job& job) {
    const Shape shape = shape_of(x_state, job);
    const Expected expected = expected_duration(x_state, job, x_belief);
    look_ahead();
    Slot slot = x_future.earliest(shape, span_of(expected));
    if (slot.start_ms != Future::kNever) take(slot, shape, expected);
    return slot;
  }

  const Future& future() const { return x_future; }

 private:
  // Of whom nobody knows how long it takes, it must be assumed that it never ends: it starts beside promises only.
  static DurationMs span_of(const Expected& expected) { return expected.firm ? expected.duration_ms : Future::kNever; }

  // The longest time limit, in whole minutes or the least that its user accepts, with which it starts now; 0: none.
  DurationMs longest_limit(const Job& job, Shape shape) const {
    const DurationMs least_ms = job.spec->min_wall_clock_ms;
    const auto fits = [&](DurationMs limit_ms) {
      shape.limit_ms = limit_ms;
      return !x_future.fits_now(shape, limit_ms).nodes.empty();
    };
    if (least_ms == 0 || !fits(least_ms)) return 0;
    constexpr DurationMs kMinute = 60'000;
    DurationMs fitting = least_ms / kMinute, over = job.spec->max_wall_clock_ms / kMinute + 1;
    while (over - fitting > 1) {
      const DurationMs middle = fitting + (over - fitting) / 2;
      (fits(middle * kMinute) ? fitting : over) = middle;
    }
    return std::max(least_ms, fitting * kMinute);
  }

  void take(const Slot& slot, Shape shape, const Expected& expected) {
    x_future.take(slot, shape, expected.duration_ms);
    if (!expected.firm) x_future.distrust(slot.start_ms + expected.duration_ms);
  }

  bool withdrawn(NodeId node) const { return x_pass.common.withdrawn.contains(node); }

  void add(const core::Node& node, const Gives& gives, std::uint32_t free) {
    x_future.add(node.id, gives.units, free,
                 {.whole = gives.in_service, .parts = gives.parts, .containers = node.inventory.runs_containers()},
                 node.inventory.topology);
    const ClosedNodes& all = x_pass.common.closed;
    if (all.empty()) return;
    if (const auto closed = all.find(node.id); closed != all.end()) {
      for (const Closed& one : closed->second) x_future.close(node.id, one);
    }
  }

  // Of the job's nodes is free what nobody else holds.
  void give_back(JobId id) {
    const auto held = x_state.job_holdings.find(id);
    if (held == x_state.job_holdings.end()) return;
    for (const core::HoldingKey& key : held->second) {
      const core::Node& node = x_state.nodes.at(key.first);
      if (!stays(x_pass.cluster, node) || withdrawn(node.id) || x_future.contains(node.id)) continue;
      const Gives gives = x_giving.of(node);
      std::uint32_t free = gives.units;
      for (const auto& [other, holding] : core::holdings_on(x_state, node.id)) {
        if (!x_gone.contains(other.second.job)) free -= std::min(free, core::units_of(x_state, holding));
      }
      add(node, gives, free);
    }
  }

  // What runs, and when it ends.
  void look_ahead() {
    if (std::exchange(x_looks_ahead, true)) return;
    const auto active = x_state.active_jobs.find(x_pass.cluster.id);
    if (active == x_state.active_jobs.end()) return;
    std::vector<std::pair<JobId, End>> ends;  // rising
    ends.reserve(active->second.size());
    Walk jobs(x_state.jobs);
    for (const JobId id : active->second) {
      if (!x_gone.contains(id)) ends.push_back({id, end_of(x_state, jobs.at(id), x_now_ms, x_belief)});
    }
    struct Release {
      NodeId node;
      End end;
      std::uint32_t units = 0;
    };
    std::vector<Release> releases;
    std::vector<const Roster::Row*> missing;
    for (const Roster::Row& row : x_pass.roster.rows()) {
      const core::Node& node = *row.node;
      if (row.count == 0 || !stays(x_pass.cluster, node) || withdrawn(node.id)) continue;
      const std::size_t before = releases.size();
      for (const Roster::Hold& hold : x_pass.roster.holds(row)) {
        const JobId job = hold.holding->id.job;
        const auto end = std::lower_bound(ends.begin(), ends.end(), job,
                                          [](const auto& one, JobId other) { return one.first < other; });
        if (end != ends.end() && end->first == job) releases.push_back({node.id, end->second, hold.units});
      }
      if (releases.size() > before && !x_future.contains(node.id)) missing.push_back(&row);
    }
    x_future.reserve(missing.size());
    for (const Roster::Row* row : missing) add(*row->node, row->gives, 0);
    for (const Release& one : releases) x_future.release(one.node, one.end.at_ms, one.units, one.end.firm);
  }

  const Pass& x_pass;
  const State& x_state;
  const TimeMs x_now_ms;
  const Belief x_belief;
  const std::set<JobId> x_gone;
  const Giving x_giving;
  Future x_future;
  bool x_looks_ahead = false;
};

// What the limit of a job's workspace leaves for it.
struct Allowance {
  core::Payer payer;
  std::uint32_t per_node = 0;         // GPUs that it takes of each of its nodes
  std::uint32_t most = 0, least = 0;  // nodes: that it may have, and that it must
  bool enough() const { return most >= least; }
};
Allowance allowance_of(const State& state, const Supply& supply, const Shares& shares, const Job& job) {
  const JobSpec& spec = *job.spec;
  Allowance out{.payer = core::payer_of(state, job),
                .per_node = spec.gpus_per_node > 0 ? spec.gpus_per_node : supply.gpus_per_whole_node(),
                .least = core::least_nodes(spec)};
  out.most = std::min(spec.node_count, shares.room(out.payer.workspace) / out.per_node);
  return out;
}

}  // namespace

Expected expected_duration(const State& state, const Job& job, Belief belief, std::uint32_t nodes) {
  const DurationMs limit_ms = job.state == JobState::queued ? job.spec->max_wall_clock_ms : core::limit_of(job);
  const bool chosen = limit_ms != kUnchosenLimitMs;
  if (belief == Belief::worst || (belief == Belief::plan && chosen)) return {limit_ms, chosen};
  if (nodes == 0) nodes = job.state == JobState::queued ? core::least_nodes(*job.spec) : core::nodes_got(job);
  if (const auto learnt = core::usual_run_time(state, job, nodes)) return {std::min(*learnt, limit_ms), true};
  return {limit_ms, chosen};
}

Shape shape_of(const State& state, const Job& job) {
  const JobSpec& spec = *job.spec;
  return {.nodes = spec.node_count,
          .units = spec.gpus_per_node,
          .in_container = !job.mapping.container_image.empty(),
          .workspace = state.experiments.at(job.experiment).workspace,
          .limit_ms = spec.max_wall_clock_ms,
          .least = core::least_nodes(spec),
          .topology = spec.topology.none() ? nullptr : &spec.topology};
}

std::vector<core::Placement> fill(const Pass& pass, Shares& shares, const Suppose& suppose, Promises* promises) {
  std::vector<core::Placement> placements;
  const State& state = pass.common.state;
  const Settings& settings = pass.common.settings;
  const TimeMs now_ms = pass.common.now_ms + suppose.later_ms;
  if (suppose.instead == nullptr && !state.queues.contains(pass.cluster.id)) return placements;
  Starts starts(pass, now_ms, Belief::plan, suppose.gone);
  if (!starts.future().anything_free()) return placements;
  Order order(state, pass.cluster.id, shares, now_ms, settings.order, suppose.instead);
  std::uint32_t promised = 0, looked_at = 0, passed_over = 0;
  std::size_t to_tell = suppose.asked.size();
  for (const Job* job = order.next(); job != nullptr; job = order.next()) {
    if (!starts.future().anything_free() || (promised > 0 && looked_at == settings.depth)) break;
    if (!pass.supply.possible(*job)) continue;  // not before a resize: passed over
    const Allowance allowed = allowance_of(state, pass.supply, shares, *job);
    const core::Payer& payer = allowed.payer;
    if (!allowed.enough()) {
      if (!shares.allows(payer.workspace, 1)) order.pass_over(payer.workspace);
      if (++passed_over == kPassedOver) break;
      continue;
    }
    if (promised > 0) ++looked_at;
    core::Placement placement = starts.start(*job, allowed.most);
    const bool placed = !placement.nodes.empty();
    if (placed) {
      shares.give(payer, allowed.per_node * static_cast<std::uint32_t>(placement.nodes.size()));
      placements.push_back(std::move(placement));
    }
    if (to_tell > 0 && suppose.asked.contains(job->id) && (!placed || --to_tell == 0)) break;
    if (!placed && promised < settings.reservations) {
      Slot slot = starts.promise(*job);
      if (slot.start_ms == Future::kNever) break;
      if (promises != nullptr) promises->emplace(job->id, std::move(slot.nodes));
      ++promised;
      shares.promise(payer, allowed.per_node * allowed.least);
    }
  }
  return placements;
}

bool starts(const State& state, const Cluster& cluster, TimeMs now_ms, const Settings& settings, const Job& job,
            const std::optional<core::Quota>& quota) {
  Shares shares(state, now_ms);
  if (quota) shares.suppose(core::payer_of(state, job).workspace, *quota);
  const Common common(state, now_ms, settings);
  return all_start(Pass(common, cluster), shares, {.instead = &job, .asked = {job.id}});
}

bool all_start(const Pass& pass, Shares& shares, const Suppose& suppose) {
  const auto placements = fill(pass, shares, suppose);
  const auto among = [&](const core::Placement& placement) { return suppose.asked.contains(placement.job); };
  return std::count_if(placements.begin(), placements.end(), among) == std::ssize(suppose.asked);
}

Forecast forecast(const State& state, const Job& job, TimeMs now_ms, Belief belief, const Settings& settings) {
  constexpr std::uint32_t kLookedThrough = 1'000;
  Forecast result;
  const auto cluster = state.clusters.find(job.cluster);
  if (cluster == state.clusters.end() || !core::may_start(job)) return result;
  const Common common(state, now_ms, settings);
  const Pass pass(common, cluster->second);
  Starts starts(pass, now_ms, belief);
  Shares shares(state, now_ms);
  Order order(state, job.cluster, shares, now_ms, settings.order);
  for (std::uint32_t turn = 1; turn <= kLookedThrough; ++turn) {
    const Job* next = order.next();
    if (next == nullptr) break;
    const bool is_it = next->id == job.id;
    if (is_it) result.turn = turn;
    const Allowance allowed = allowance_of(state, pass.supply, shares, *next);
    const bool waits = pass.supply.possible(*next) && allowed.enough();
    TimeMs start_ms = Future::kNever;
    if (waits) {
      const auto nodes = static_cast<std::uint32_t>(starts.start(*next, allowed.most).nodes.size());
      start_ms = nodes > 0 ? now_ms : starts.promise(*next).start_ms;
      nodes > 0 ? shares.give(allowed.payer, allowed.per_node * nodes)
                : shares.promise(allowed.payer, allowed.per_node * allowed.least);
    }
    if (is_it) result.start_ms = start_ms;
    if (is_it || (waits && start_ms == Future::kNever)) break;
    if (waits) result.turns_before.push_back(start_ms);
  }
  result.before =
      static_cast<std::uint32_t>(std::count_if(result.turns_before.begin(), result.turns_before.end(),
                                               [&](TimeMs start_ms) { return start_ms < result.start_ms; }));
  result.firm = result.start_ms < starts.future().firm_until_ms();
  return result;
}

}  // namespace trainyard::plan
