#include "controller/plan/preempt.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "controller/core/setup.h"

namespace trainyard::plan {

namespace {

using core::Job;
using core::JobState;
using core::State;

// So many jobs behind one that cannot be helped are tried, of those for whom enough could give way.
constexpr int kTries = 4;
// Cleaning up after a job that gave way takes so long.
constexpr DurationMs kCleaningMs = 60'000;

// What is free of the cluster's nodes, if some of what runs is taken away.
class Room {
 public:
  Room(const State& state, const core::Cluster& cluster, TimeMs now_ms, const std::set<NodeId>& withdrawn)
      : x_state(state), x_now_ms(now_ms), x_closed(closed_nodes(state)) {
    const auto nodes = state.cluster_nodes.find(cluster.id);
    if (nodes == state.cluster_nodes.end()) return;
    for (const NodeId id : nodes->second) {
      const core::Node& node = state.nodes.at(id);
      const bool works = node.state == core::NodeState::idle || node.state == core::NodeState::running;
      const bool usable = works && core::answers(node) && !node.drain && !core::setup_failed(node);
      if (!usable || withdrawn.contains(id)) continue;
      Place place{core::units_of(node), core::units_of(node), core::in_service(node), node.inventory.runs_containers(),
                  x_names.number_of(node.inventory.topology)};
      for (const auto& [key, holding] : core::holdings_on(state, id)) {
        place.free -= std::min(place.free, core::units_of(state, holding));
      }
      x_places.emplace(id, place);
    }
  }

  // All that the job holds becomes free; is taken again.
  void add(const Job& job) { change(job, true); }
  void remove(const Job& job) { change(job, false); }

  bool fits(Shape shape) const { return !fits_for(shape).empty(); }
  // The nodes that the plan would take. REQUIRES: it fits
  void take(Shape shape) {
    for (const Fit& fit : fits_for(shape)) take(fit.node, shape);
  }
  void take(const core::Placement& placement, Shape shape) {
    for (const NodeId node : placement.nodes) take(node, shape);
  }

 private:
  struct Place {
    std::uint32_t whole = 1, free = 0;
    bool in_service = true, containers = true;
    std::uint32_t name = 0;  // of its place in the operator's tree
  };
  void take(NodeId node, Shape shape) {
    const auto found = x_places.find(node);
    if (found == x_places.end()) return;  // promised for later: it does not answer now
    Place& place = found->second;
    place.free -= std::min(place.free, wanted_of(node, place, shape));
  }
  std::vector<Fit> fits_for(Shape shape) const {
    const std::vector<std::int32_t>* domains = shape.topology ? &x_names.domains(*shape.topology) : nullptr;
    std::vector<Fit> fits;
    for (const auto& [id, place] : x_places) {
      const std::int32_t domain = domains == nullptr ? 0 : (*domains)[place.name];
      if (domain != Places::kOut && wanted_of(id, place, shape) <= place.free) fits.push_back({place.free, id, domain});
    }
    return choose(std::move(fits), shape.gang());
  }
  std::uint32_t wanted_of(NodeId node, const Place& place, Shape shape) const {
    if (keeps_out(x_closed, node, shape, x_now_ms)) return place.whole + 1;
    const bool able = (shape.units > 0 || place.in_service) && (!shape.in_container || place.containers);
    if (!able) return place.whole + 1;
    return shape.units == 0 ? place.whole : shape.units;
  }
  void change(const Job& job, bool add) {
    const auto held = x_state.job_holdings.find(job.id);
    if (held == x_state.job_holdings.end()) return;
    for (const core::HoldingKey& key : held->second) {
      const auto place = x_places.find(key.first);
      if (place == x_places.end()) continue;
      const std::uint32_t units = core::units_of(x_state, x_state.holdings.at(key));
      place->second.free = add ? std::min(place->second.whole, place->second.free + units)
                               : place->second.free - std::min(place->second.free, units);
    }
  }

  const State& x_state;
  const TimeMs x_now_ms;
  const ClosedNodes x_closed;
  std::map<NodeId, Place> x_places;
  Places x_names;
};

// Running jobs, who gives way first in front. Its GPUs and payer.
struct Candidate {
  const Job* job = nullptr;
  std::uint32_t gpus = 0;
  DurationMs loss_ms = 0;  // of its run time
};

class Preempter {
 public:
  Preempter(const State& state, const core::Cluster& cluster, TimeMs now_ms, const Settings& settings, Shares& shares,
            const std::set<NodeId>& withdrawn)
      : x_state(state),
        x_cluster(cluster),
        x_now_ms(now_ms),
        x_settings(settings),
        x_shares(shares),
        x_withdrawn(withdrawn),
        x_room(state, cluster, now_ms, withdrawn) {
    const auto active = state.active_jobs.find(cluster.id);
    if (active == state.active_jobs.end()) return;
    for (const JobId id : active->second) {
      const Job& job = state.jobs.at(id);
      if (job.state == JobState::stopping) {
        x_room.add(job);
        x_leaving.insert(id);
      } else if (now_ms - job.started_ms >= settings.preemption_min_run_ms) {
        x_candidates.push_back({&job, gpus_held(job), loss_of(job)});
      }
    }
    std::sort(x_candidates.begin(), x_candidates.end(), [](const Candidate& a, const Candidate& b) {
      const auto key = [](const Candidate& one) {
        return std::tuple(core::priority_of(*one.job), one.loss_ms, one.job->id);
      };
      return key(a) < key(b);
    });
  }

  Room& room() { return x_room; }

  // Or it waits on, with what it is promised. Nobody gives way for more than the fewest nodes that it starts on.
  void help(const Job& job, std::uint32_t gpus, const Promises& promises, std::vector<core::Preemption>& preemptions) {
    const Shape shape = least_of(job);
    const core::Payer payer = core::payer_of(x_state, job);
    std::vector<Candidate> chosen;
    if (!x_room.fits(shape)) {
      const core::Quota& quota = x_shares.quota_of(payer.workspace);
      const bool reclaims =
          x_settings.preemption != Preemption::off && x_shares.gpus_of(payer.workspace) + gpus <= quota.guaranteed;
      chosen = choose(job, payer.workspace, reclaims);
      spare(shape, chosen);
    }
    if (!x_room.fits(shape) || (x_behind && !starts_then(job, chosen))) {
      for (const Candidate& one : chosen) x_room.remove(*one.job);
      x_behind = true;
      // What is free of it now is kept for it.
      if (const auto promise = promises.find(job.id); promise != promises.end()) {
        x_room.take({job.id, promise->second}, shape);
      }
      return;
    }
    if (x_behind) x_winners.insert(job.id);
    x_room.take(shape);
    // It will have that: the next of its workspace may take back only what is left of the guarantee.
    x_shares.give(payer, gpus);
    for (const Candidate& one : chosen) {
      std::erase_if(x_candidates, [&](const Candidate& other) { return other.job == one.job; });
      x_leaving.insert(one.job->id);
      x_gone[core::payer_of(x_state, *one.job).workspace] += one.gpus;
      preemptions.push_back({one.job->id, job.id,
                             core::priority_of(job) > core::priority_of(*one.job) ? core::PreemptionCause::higher_class
                                                                                  : core::PreemptionCause::guaranteed});
    }
  }

  bool may_try() const { return x_tries < kTries; }

 private:
  std::uint32_t gpus_held(const Job& job) const {
    std::uint32_t gpus = 0;
    for (const core::HoldingKey& key : x_state.job_holdings.at(job.id)) {
      gpus += core::gpus_of(x_state.holdings.at(key));
    }
    return gpus;
  }

  Shape least_of(const Job& job) const {
    Shape shape = shape_of(x_state, job);
    shape.nodes = shape.least;
    return shape;
  }

  // Whether the plan starts it when these have given way, too, and those before it have what they are promised then.
  bool starts_then(const Job& job, const std::vector<Candidate>& chosen) {
    ++x_tries;
    std::set<JobId> gone = x_leaving;
    DurationMs notice_ms = 0;
    for (const Candidate& one : chosen) {
      gone.insert(one.job->id);
      const Recovery& recovery = one.job->spec->recovery;
      notice_ms = std::max(notice_ms, recovery.notice_ms + recovery.grace_ms);
    }
    std::set<JobId> winners = x_winners;
    winners.insert(job.id);
    return all_start_without(x_state, x_cluster, x_now_ms + notice_ms + kCleaningMs, x_settings, x_withdrawn, gone,
                             winners);
  }

  // What it ran for since the checkpoint that it says it has; without one since its beginning.
  DurationMs loss_of(const Job& job) const {
    const DurationMs ran_ms = x_now_ms - job.started_ms;
    const auto told = x_state.progress.find({job.id, job.attempt});
    if (told == x_state.progress.end() || told->second.step == 0) return ran_ms;
    constexpr std::uint64_t kParts = 1'000'000;
    const Progress& progress = told->second;
    const std::uint64_t lost = progress.step - std::min(progress.step, progress.checkpoint);
    const std::uint64_t share = progress.step > ~0ULL / kParts ? kParts : lost * kParts / progress.step;
    return static_cast<DurationMs>(static_cast<std::uint64_t>(ran_ms) / kParts * share +
                                   static_cast<std::uint64_t>(ran_ms) % kParts * share / kParts);
  }

  // Who must give way to it, in that order.
  std::vector<Candidate> those_below(const Job& job, WorkspaceId workspace, bool reclaims) const {
    std::vector<Candidate> below;
    std::map<WorkspaceId, std::uint32_t> taken = x_gone;
    for (const Candidate& one : x_candidates) {
      const WorkspaceId other = core::payer_of(x_state, *one.job).workspace;
      const bool lower =
          x_settings.preemption == Preemption::classes && core::priority_of(*one.job) < core::priority_of(job);
      const std::uint32_t guaranteed = x_shares.quota_of(other).guaranteed;
      const bool borrows =
          reclaims && other != workspace && x_shares.gpus_of(other) >= guaranteed + taken[other] + one.gpus;
      if (!lower && !borrows) continue;
      taken[other] += one.gpus;
      below.push_back(one);
    }
    return below;
  }

  // Of those the first ones, as many as are needed; none where all would not do. Their nodes are free then.
  std::vector<Candidate> choose(const Job& job, WorkspaceId workspace, bool reclaims) {
    std::vector<Candidate> chosen = those_below(job, workspace, reclaims);
    std::size_t away = 0;  // of them, so many
    const auto send_away = [&](std::size_t count) {
      for (; away < count; ++away) x_room.add(*chosen[away].job);
      for (; away > count; --away) x_room.remove(*chosen[away - 1].job);
      return x_room.fits(least_of(job));
    };
    std::size_t too_few = 0, enough = chosen.size();
    if (!send_away(enough)) enough = 0;
    while (enough - too_few > 1 && enough > 0) {
      const std::size_t middle = too_few + (enough - too_few) / 2;
      (send_away(middle) ? enough : too_few) = middle;
    }
    send_away(enough);
    chosen.resize(enough);
    return chosen;
  }

  // Who was chosen but is not needed beside those that came after it goes on.
  void spare(Shape shape, std::vector<Candidate>& chosen) {
    for (std::size_t i = chosen.size(); i-- > 0;) {
      x_room.remove(*chosen[i].job);
      if (x_room.fits(shape)) {
        chosen.erase(chosen.begin() + static_cast<std::ptrdiff_t>(i));
      } else {
        x_room.add(*chosen[i].job);
      }
    }
  }

  const State& x_state;
  const core::Cluster& x_cluster;
  const TimeMs x_now_ms;
  const Settings& x_settings;
  Shares& x_shares;
  const std::set<NodeId>& x_withdrawn;
  Room x_room;
  std::vector<Candidate> x_candidates;
  std::set<JobId> x_leaving;  // jobs that are being stopped, or give way in this pass
  bool x_behind = false;      // somebody before could not be helped
  std::set<JobId> x_winners;  // those behind that one for whom enough give way
  int x_tries = 0;
  std::map<WorkspaceId, std::uint32_t> x_gone;  // GPUs that jobs of the workspace give up in this pass
};

// Without classes only those take anything back to whom something is guaranteed: mostly nobody.
bool anybody_may(const State& state, const core::Cluster& cluster, const Settings& settings, const Shares& shares) {
  const auto queue = state.queues.find(cluster.id);
  if (queue == state.queues.end() || settings.preemption == Preemption::off) return false;
  return settings.preemption == Preemption::classes ||
         std::any_of(queue->second.begin(), queue->second.end(),
                     [&](const auto& group) { return shares.quota_of(group.first.payer.workspace).guaranteed > 0; });
}

}  // namespace

std::vector<core::Preemption> preempt(const State& state, const core::Cluster& cluster, TimeMs now_ms,
                                      const Settings& settings, Shares& shares, const std::set<NodeId>& withdrawn,
                                      const std::vector<core::Placement>& placements, const Promises& promises) {
  std::vector<core::Preemption> preemptions;
  if (!anybody_may(state, cluster, settings, shares)) return preemptions;
  Preempter preempter(state, cluster, now_ms, settings, shares, withdrawn);
  std::set<JobId> placed;
  for (const core::Placement& placement : placements) {
    placed.insert(placement.job);
    preempter.room().take(placement, shape_of(state, state.jobs.at(placement.job)));
  }
  Order order(state, cluster.id, shares, now_ms, settings.order);
  const Supply supply(state, cluster);
  std::uint32_t waiting = 0, looked_at = 0;
  for (const Job* job = order.next(); job != nullptr && waiting < settings.reservations && preempter.may_try();
       job = order.next()) {
    if (++looked_at > settings.depth) break;
    const std::uint32_t gpus = core::gpus_wanted(*job, supply.gpus_per_whole_node());
    const WorkspaceId workspace = core::payer_of(state, *job).workspace;
    if (placed.contains(job->id) || !supply.possible(*job) || !shares.allows(workspace, gpus)) continue;
    ++waiting;
    preempter.help(*job, gpus, promises, preemptions);
  }
  return preemptions;
}

}  // namespace trainyard::plan
