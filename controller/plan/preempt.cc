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
    Place& place = x_places.at(node);
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
        x_now_ms(now_ms),
        x_settings(settings),
        x_shares(shares),
        x_room(state, cluster, now_ms, withdrawn) {
    const auto active = state.active_jobs.find(cluster.id);
    if (active == state.active_jobs.end()) return;
    for (const JobId id : active->second) {
      const Job& job = state.jobs.at(id);
      if (job.state == JobState::stopping) {
        x_room.add(job);
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

  // False: it waits on. Nobody gives way for more than the fewest nodes that it starts on.
  bool help(const Job& job, std::uint32_t gpus, std::vector<core::Preemption>& preemptions) {
    const Shape shape = least_of(job);
    const core::Payer payer = core::payer_of(x_state, job);
    if (x_room.fits(shape)) {
      take(shape, payer, gpus);
      return true;
    }
    const core::Quota& quota = x_shares.quota_of(payer.workspace);
    const bool reclaims =
        x_settings.preemption != Preemption::off && x_shares.gpus_of(payer.workspace) + gpus <= quota.guaranteed;
    std::vector<Candidate> chosen = choose(job, payer.workspace, reclaims);
    if (!x_room.fits(shape)) {
      for (const Candidate& one : chosen) x_room.remove(*one.job);
      return false;
    }
    spare(shape, chosen);
    take(shape, payer, gpus);
    for (const Candidate& one : chosen) {
      std::erase_if(x_candidates, [&](const Candidate& other) { return other.job == one.job; });
      x_gone[core::payer_of(x_state, *one.job).workspace] += one.gpus;
      preemptions.push_back({one.job->id, job.id,
                             core::priority_of(job) > core::priority_of(*one.job) ? core::PreemptionCause::higher_class
                                                                                  : core::PreemptionCause::guaranteed});
    }
    return true;
  }

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

  // It will have that: the next of its workspace may take back only what is left of the guarantee.
  void take(Shape shape, const core::Payer& payer, std::uint32_t gpus) {
    x_room.take(shape);
    x_shares.give(payer, gpus);
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

  // Of those that must give way to it as many as are needed, or all; their nodes are free then.
  std::vector<Candidate> choose(const Job& job, WorkspaceId workspace, bool reclaims) {
    std::vector<Candidate> chosen;
    std::map<WorkspaceId, std::uint32_t> taken = x_gone;
    for (const Candidate& one : x_candidates) {
      const WorkspaceId other = core::payer_of(x_state, *one.job).workspace;
      const bool lower =
          x_settings.preemption == Preemption::classes && core::priority_of(*one.job) < core::priority_of(job);
      const std::uint32_t guaranteed = x_shares.quota_of(other).guaranteed;
      const bool borrows =
          reclaims && other != workspace && x_shares.gpus_of(other) >= guaranteed + taken[other] + one.gpus;
      if (!lower && !borrows) continue;
      x_room.add(*one.job);
      taken[other] += one.gpus;
      chosen.push_back(one);
      if (x_room.fits(least_of(job))) break;
    }
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
  const TimeMs x_now_ms;
  const Settings& x_settings;
  Shares& x_shares;
  Room x_room;
  std::vector<Candidate> x_candidates;
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
                                      const std::vector<core::Placement>& placements) {
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
  for (const Job* job = order.next(); job != nullptr && waiting < settings.reservations; job = order.next()) {
    if (++looked_at > settings.depth) break;
    const std::uint32_t gpus = core::gpus_wanted(*job, supply.gpus_per_whole_node());
    const WorkspaceId workspace = core::payer_of(state, *job).workspace;
    if (placed.contains(job->id) || !supply.possible(*job) || !shares.allows(workspace, gpus)) continue;
    ++waiting;
    if (!preempter.help(*job, gpus, preemptions)) break;
  }
  return preemptions;
}

}  // namespace trainyard::plan
