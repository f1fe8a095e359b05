#include "controller/plan/preempt.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "controller/plan/order.h"
#include "controller/plan/room.h"

namespace trainyard::plan {

namespace {

using core::Job;
using core::JobState;
using core::State;

// So many jobs behind one that cannot be helped are tried, of those for whom enough could give way.
constexpr int kTries = 4;
// Cleaning up after a job that gave way takes so long.
constexpr DurationMs kCleaningMs = 60'000;

// A running job that may have to give way.
struct Candidate {
  const Job* job = nullptr;
  Priority priority = Priority::normal;
  DurationMs loss_ms = 0;  // of its run time
  std::size_t index = 0;   // in the room
  WorkspaceId workspace;
  std::uint32_t gpus = 0;  // counted where anything is guaranteed
};

// Running jobs that are being stopped, or have run for long enough to give way. By id.
std::vector<const Job*> movable(const Pass& pass) {
  std::vector<const Job*> jobs;
  const auto active = pass.common.state.active_jobs.find(pass.cluster.id);
  if (active == pass.common.state.active_jobs.end()) return jobs;
  Walk rows(pass.common.state.jobs);
  for (const JobId id : active->second) {
    const Job& job = rows.at(id);
    const DurationMs ran_ms = pass.common.now_ms - job.started_ms;
    if (job.state == JobState::stopping || ran_ms >= pass.common.settings.preemption_min_run_ms) jobs.push_back(&job);
  }
  return jobs;
}

class Preempter {
 public:
  // Beside what the plan starts. `guarantees`: there are any.
  Preempter(const Pass& pass, Shares& shares, const std::vector<core::Placement>& placements, bool guarantees)
      : x_pass(pass), x_state(pass.common.state), x_shares(shares), x_movable(movable(pass)), x_room(pass, x_movable) {
    for (std::size_t i = 0; i < x_movable.size(); ++i) {
      const Job& job = *x_movable[i];
      const Candidate one{&job,
                          core::priority_of(job),
                          loss_of(job),
                          i,
                          x_state.experiments.at(job.experiment).workspace,
                          guarantees ? gpus_held(job) : 0};
      if (job.state != JobState::stopping) {
        x_candidates.push_back(one);
        continue;
      }
      x_room.add(i);
      x_leaving.insert(job.id);
      if (job.verdict == core::Verdict::requeue) x_again.push_back(claim_of(one, {}));
    }
    std::sort(x_candidates.begin(), x_candidates.end(), [](const Candidate& a, const Candidate& b) {
      return std::tuple(a.priority, a.loss_ms, a.job->id) < std::tuple(b.priority, b.loss_ms, b.job->id);
    });
    for (const core::Placement& one : placements) {
      x_room.take(one.nodes, shape_of(x_state, x_state.jobs.at(one.job)));
    }
  }

  // Or it waits on, with what it is promised. Nobody gives way for more than the fewest nodes that it starts on.
  // `first`: it has its turn among those within a guarantee.
  void help(const Job& job, bool first, std::uint32_t gpus, const Promises& promises,
            std::vector<core::Preemption>& preemptions) {
    Shape shape = shape_of(x_state, job);
    shape.nodes = shape.least;
    const core::Payer payer = core::payer_of(x_state, job);
    std::vector<Candidate> chosen;
    bool fits = x_room.fits(shape);
    const Claim claim{first, core::priority_of(job), payer.workspace};
    const auto after = [&](const Claim& other) { return goes_before(claim, other); };
    if (!fits && std::all_of(x_again.begin(), x_again.end(), after)) {
      chosen = choose(shape, those_below(claim, x_shares.within_guarantee(payer.workspace, gpus)));
      fits = !chosen.empty();
      spare(shape, chosen);
    }
    if (!fits || (x_behind && !starts_then(job, chosen))) {
      for (const Candidate& one : chosen) x_room.remove(one.index);
      x_behind = true;
      // What is free of it now is kept for it.
      if (const auto promise = promises.find(job.id); promise != promises.end()) x_room.take(promise->second, shape);
      return;
    }
    if (x_behind) x_winners.insert(job.id);
    x_room.take(shape);
    // It will have that: the next of its workspace may take back only what is left of the guarantee.
    x_shares.give(payer, gpus);
    for (const Candidate& one : chosen) {
      x_again.push_back(claim_of(one, x_gone));
      std::erase_if(x_candidates, [&](const Candidate& other) { return other.job == one.job; });
      x_leaving.insert(one.job->id);
      x_gone[one.workspace] += one.gpus;
      preemptions.push_back({one.job->id, job.id,
                             core::priority_of(job) > one.priority ? core::PreemptionCause::higher_class
                                                                   : core::PreemptionCause::guaranteed});
    }
  }

  bool may_try() const { return x_tries < kTries; }

 private:
  // What decides whose turn is first, whatever anybody had. Who gives way is queued again, and must not come before the
  // one that it gives way to, nor before another one that others give way to.
  struct Claim {
    bool first = false;  // among those within a guarantee
    Priority priority = Priority::normal;
    WorkspaceId workspace;
  };
  static bool goes_before(const Claim& one, const Claim& other) {
    if (one.workspace == other.workspace || one.first == other.first) return one.priority > other.priority;
    return one.first;
  }

  // Its workspace keeps what it is guaranteed without it, and without what gave way already.
  bool borrows(const Candidate& one, const std::map<WorkspaceId, std::uint32_t>& gone) const {
    const auto found = gone.find(one.workspace);
    return x_shares.gpus_of(one.workspace) >=
           x_shares.quota_of(one.workspace).guaranteed + one.gpus + (found == gone.end() ? 0 : found->second);
  }
  Claim claim_of(const Candidate& one, const std::map<WorkspaceId, std::uint32_t>& gone) const {
    return {!borrows(one, gone), one.priority, one.workspace};
  }

  std::uint32_t gpus_held(const Job& job) const {
    std::uint32_t gpus = 0;
    for (const core::HoldingKey& key : x_state.job_holdings.at(job.id)) {
      gpus += core::gpus_of(x_state.holdings.at(key));
    }
    return gpus;
  }

  // Whether the plan starts it when these have given way, too, and those before it have what they are promised then.
  bool starts_then(const Job& job, const std::vector<Candidate>& chosen) {
    ++x_tries;
    Suppose then{.gone = x_leaving, .asked = x_winners};
    then.asked.insert(job.id);
    DurationMs notice_ms = 0;
    for (const Candidate& one : chosen) {
      then.gone.insert(one.job->id);
      const Recovery& recovery = one.job->spec->recovery;
      notice_ms = std::max(notice_ms, recovery.notice_ms + recovery.grace_ms);
    }
    then.later_ms = notice_ms + kCleaningMs;
    Shares shares(x_state, x_pass.common.now_ms + then.later_ms);
    return all_start(x_pass, shares, then);
  }

  // What it ran for since the checkpoint that it says it has; without one since its beginning.
  DurationMs loss_of(const Job& job) const {
    const DurationMs ran_ms = x_pass.common.now_ms - job.started_ms;
    if (x_state.progress.empty()) return ran_ms;
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
  std::vector<Candidate> those_below(const Claim& claim, bool reclaims) const {
    const bool classes = x_pass.common.settings.preemption == Preemption::classes;
    std::vector<Candidate> below;
    std::map<WorkspaceId, std::uint32_t> taken = x_gone;
    for (const Candidate& one : x_candidates) {
      const bool lower = classes && one.priority < claim.priority;
      if (!lower && !reclaims) break;  // neither is anybody after it
      const Claim its = claim_of(one, taken);
      const bool own = one.workspace == claim.workspace, lent = !own && !its.first;
      if (!lent && !(lower && (own || reclaims))) continue;
      if (!goes_before(claim, its)) continue;
      taken[one.workspace] += one.gpus;
      below.push_back(one);
    }
    return below;
  }

  // Of those the first ones, as many as are needed; none where all would not do. Their nodes are free then.
  std::vector<Candidate> choose(const Shape& shape, std::vector<Candidate> below) {
    if (below.empty()) return below;
    std::size_t away = 0;  // of them, so many
    const auto fits_without = [&](std::size_t count) {
      for (; away < count; ++away) x_room.add(below[away].index);
      for (; away > count; --away) x_room.remove(below[away - 1].index);
      return x_room.fits(shape);
    };
    // Mostly few are enough: twice as many each time, then by halves.
    std::size_t too_few = 0, enough = 1;
    while (!fits_without(enough)) {
      if (enough == below.size()) {
        fits_without(0);
        return {};
      }
      too_few = enough;
      enough = std::min(2 * enough, below.size());
    }
    while (enough - too_few > 1) {
      const std::size_t middle = too_few + (enough - too_few) / 2;
      (fits_without(middle) ? enough : too_few) = middle;
    }
    fits_without(enough);
    below.resize(enough);
    return below;
  }

  // Who was chosen but is not needed beside those that came after it goes on.
  void spare(const Shape& shape, std::vector<Candidate>& chosen) {
    for (std::size_t i = chosen.size(); i-- > 0;) {
      x_room.remove(chosen[i].index);
      if (x_room.fits(shape)) {
        chosen.erase(chosen.begin() + static_cast<std::ptrdiff_t>(i));
      } else {
        x_room.add(chosen[i].index);
      }
    }
  }

  const Pass& x_pass;
  const State& x_state;
  Shares& x_shares;
  const std::vector<const Job*> x_movable;
  Room x_room;
  std::vector<Candidate> x_candidates;  // who gives way first in front
  std::set<JobId> x_leaving;            // jobs that are being stopped, or give way in this pass
  bool x_behind = false;                // somebody before could not be helped
  std::vector<Claim> x_again;           // of those who leave, and are queued again
  std::set<JobId> x_winners;            // those behind that one for whom enough give way
  int x_tries = 0;
  std::map<WorkspaceId, std::uint32_t> x_gone;  // GPUs that jobs of the workspace give up in this pass
};

}  // namespace

std::vector<core::Preemption> preempt(const Pass& pass, Shares& shares, const std::vector<core::Placement>& placements,
                                      const Promises& promises) {
  std::vector<core::Preemption> preemptions;
  const State& state = pass.common.state;
  const Settings& settings = pass.common.settings;
  const auto queue = state.queues.find(pass.cluster.id);
  if (queue == state.queues.end() || settings.preemption == Preemption::off) return preemptions;
  const auto guaranteed = [&](WorkspaceId workspace) { return shares.quota_of(workspace).guaranteed > 0; };
  // Without classes only those take anything back to whom something is guaranteed: mostly nobody.
  if (settings.preemption == Preemption::quota &&
      std::none_of(queue->second.begin(), queue->second.end(),
                   [&](const auto& group) { return guaranteed(group.first.payer.workspace); })) {
    return preemptions;
  }
  const bool guarantees = std::any_of(state.workspaces.begin(), state.workspaces.end(),
                                      [&](const auto& each) { return guaranteed(each.first); });
  std::optional<Preempter> preempter;
  std::set<JobId> placed;
  for (const core::Placement& placement : placements) placed.insert(placement.job);
  Order order(state, pass.cluster.id, shares, pass.common.now_ms, settings.order);
  std::uint32_t waiting = 0, looked_at = 0;
  for (const Job* job = order.next(); job != nullptr && waiting < settings.reservations; job = order.next()) {
    if (++looked_at > settings.depth) break;
    const std::uint32_t gpus = core::gpus_wanted(*job, pass.supply.gpus_per_whole_node());
    if (placed.contains(job->id) || !pass.supply.possible(*job) ||
        !shares.allows(core::payer_of(state, *job).workspace, gpus)) {
      continue;
    }
    ++waiting;
    if (!preempter) preempter.emplace(pass, shares, placements, guarantees);
    preempter->help(*job, order.within_guarantee(), gpus, promises, preemptions);
    if (!preempter->may_try()) break;
  }
  return preemptions;
}

}  // namespace trainyard::plan
