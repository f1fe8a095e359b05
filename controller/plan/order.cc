#include "controller/plan/order.h"

#include <algorithm>

namespace trainyard::plan {

using core::Job;
using core::Payer;

namespace {

const core::Queue& queue_of(const core::State& state, ClusterId cluster) {
  static const core::Queue kEmpty;
  const auto found = state.queues.find(cluster);
  return found == state.queues.end() ? kEmpty : found->second;
}

}  // namespace

Order::Order(const core::State& state, ClusterId cluster, const Shares& shares, TimeMs now_ms,
             const OrderSettings& settings, const Job* instead)
    : x_state(state),
      x_shares(shares),
      x_now_ms(now_ms),
      x_settings(settings),
      x_instead(instead),
      x_queue(queue_of(state, cluster)),
      x_next(x_queue.begin()) {
  std::set<WorkspaceId> guaranteed;
  const auto consider = [&](const core::QueueGroup& group) {
    if (shares.entitled(group.payer.workspace)) guaranteed.insert(group.payer.workspace);
  };
  for (const auto& [group, jobs] : x_queue) consider(group);
  if (instead != nullptr) consider(x_instead_group.emplace(core::queue_group(state, *instead)));
  if (guaranteed.empty()) return;
  x_guaranteed = std::move(guaranteed);
  x_per_whole_node = core::gpus_per_whole_node(state, cluster);
}

const Job* Order::next() {
  put_back();
  while (true) {
    while (x_turns.empty()) {
      if (!begin_class()) return nullptr;
    }
    Space& space = x_spaces.at(x_turns.begin()->second);
    Owner& owner = *space.owners.at(space.turns.begin()->second);
    if (x_guaranteed && !x_shares.within_guarantee(space.id, core::gpus_wanted(*owner.job, x_per_whole_node))) {
      leave_for_later(space);
      continue;
    }
    x_last_space = &space, x_last_owner = &owner;
    const Job* job = owner.job;
    if (job == x_instead) {
      owner.with_instead = false;
    } else {
      ++owner.next;
    }
    look_up(owner);
    return job;
  }
}

// The first owner's jobs of this class, and all of the workspace's later ones; if the first one is aged all of it.
void Order::leave_for_later(Space& space) {
  x_guaranteed->erase(space.id);
  const bool aged = std::get<0>(space.turns.begin()->first) == 0;
  if (aged || space.turns.size() == 1) return pass_over(space.id);
  x_turns.erase({space.rank, space.id});
  space.turns.erase(space.turns.begin());
  space.rank = rank_of(space);
  x_turns.insert({space.rank, space.id});
}

void Order::pass_over(WorkspaceId workspace) {
  const auto space = x_spaces.find(workspace);
  if (space == x_spaces.end()) return;
  if (x_last_space == &space->second) x_last_space = nullptr;
  x_turns.erase({space->second.rank, workspace});
  x_spaces.erase(space);
}

bool Order::begin_class() {
  x_spaces.clear();
  const auto more = std::find_if(x_next, x_queue.end(), [&](const auto& each) { return begins(each.first.payer); });
  const bool instead = x_instead_group && begins(x_instead_group->payer);
  if (more == x_queue.end() && !instead) {
    if (!x_guaranteed) return false;
    x_guaranteed.reset();
    x_next = x_queue.begin();
    return true;
  }
  int rank = more == x_queue.end() ? x_instead_group->rank : more->first.rank;
  if (instead) rank = std::min(rank, x_instead_group->rank);
  begin_groups(rank);
  for (auto& [workspace, space] : x_spaces) {
    for (auto& [name, owner] : space.owners) {
      look_up(*owner);
      if (owner->job != nullptr) space.turns.insert({rank_of(*owner), name});
    }
    if (space.turns.empty()) continue;
    space.rank = rank_of(space);
    x_turns.insert({space.rank, workspace});
  }
  return true;
}

void Order::begin_groups(int rank) {
  while (x_next != x_queue.end() && x_next->first.rank < rank) ++x_next;
  for (; x_next != x_queue.end() && x_next->first.rank == rank; ++x_next) {
    if (begins(x_next->first.payer)) owner_of(x_next->first);
  }
  if (x_instead_group && x_instead_group->rank == rank && begins(x_instead_group->payer)) {
    owner_of(*x_instead_group).with_instead = true;
    x_instead_group.reset();
  }
}

// With its turns still to come, where it has had some already.
Order::Owner& Order::owner_of(const core::QueueGroup& group) {
  const auto [found, is_new] = x_owners.try_emplace(group);
  Owner& owner = found->second;
  if (is_new) {
    static const std::set<JobId> kNone;
    const auto jobs = x_queue.find(group);
    const std::set<JobId>& waiting = jobs == x_queue.end() ? kNone : jobs->second;
    owner.payer = group.payer;
    owner.next = waiting.begin(), owner.end = waiting.end();
  }
  Space& space = x_spaces[group.payer.workspace];
  space.id = group.payer.workspace;
  space.owners[group.payer.owner] = &owner;
  return owner;
}

void Order::put_back() {
  if (x_last_space == nullptr) return;
  Space& space = *std::exchange(x_last_space, nullptr);
  const Owner& owner = *x_last_owner;
  if (owner.job != nullptr && x_turns.size() == 1 && space.turns.size() == 1) return;  // there is nobody else
  auto turn = space.turns.extract(space.turns.begin());
  auto turn_of_space = x_turns.extract(x_turns.begin());
  if (owner.job != nullptr) {
    turn.value().first = rank_of(owner);
    space.turns.insert(std::move(turn));
  }
  if (space.turns.empty()) return;
  turn_of_space.value().first = space.rank = rank_of(space);
  x_turns.insert(std::move(turn_of_space));
}

// Once for each job: it costs a search among all jobs. What is replaced has its turn where its replacement's id says.
void Order::look_up(Owner& owner) const {
  while (owner.next != owner.end && x_instead != nullptr && *owner.next == x_instead->id) ++owner.next;
  const bool more = owner.next != owner.end;
  if (owner.with_instead && (!more || x_instead->id < *owner.next)) {
    owner.job = x_instead;
  } else {
    owner.job = more ? &x_state.jobs.at(*owner.next) : nullptr;
  }
}

Order::Rank Order::rank_of(const Owner& owner) const {
  const Job& job = *owner.job;
  if (x_now_ms - job.created_ms > x_settings.age_limit_ms) return {0, 0, job.id.value};
  if (!x_settings.fair_share) return {1, 0, job.id.value};
  return {1, 0, x_shares.use_of(owner.payer)};
}

// That of its first owner; but whoever is not aged counts by what the workspace has.
Order::Rank Order::rank_of(const Space& space) const {
  const Rank& first = space.turns.begin()->first;
  if (std::get<0>(first) == 0) return first;
  const std::uint64_t use = x_settings.fair_share ? x_shares.weighted_use_of(space.id) : std::get<2>(first);
  return {1, x_shares.entitled(space.id) ? 0 : 1, use};
}

}  // namespace trainyard::plan
