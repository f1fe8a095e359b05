#include "controller/plan/order.h"

#include <algorithm>

namespace trainyard::plan {

using core::Job;
using core::Payer;

Order::Order(const core::State& state, ClusterId cluster, const Shares& shares, TimeMs now_ms,
             const OrderSettings& settings, const Job* instead)
    : x_state(state), x_shares(shares), x_now_ms(now_ms), x_settings(settings), x_instead(instead) {
  static const core::Queue kEmpty;
  const auto found = state.queues.find(cluster);
  const core::Queue& queue = found == state.queues.end() ? kEmpty : found->second;
  x_next = queue.begin(), x_end = queue.end();
  if (instead != nullptr) x_instead_group = core::queue_group(state, *instead);
}

const Job* Order::next() {
  put_back();
  while (x_turns.empty()) {
    if (!begin_class()) return nullptr;
  }
  Space& space = x_spaces.at(x_turns.begin()->second);
  Owner& owner = space.owners.at(space.turns.begin()->second);
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

void Order::pass_over(WorkspaceId workspace) {
  const auto space = x_spaces.find(workspace);
  if (space == x_spaces.end()) return;
  if (x_last_space == &space->second) x_last_space = nullptr;
  x_turns.erase({space->second.rank, workspace});
  x_spaces.erase(space);
}

bool Order::begin_class() {
  x_spaces.clear();
  if (x_next == x_end && !x_instead_group) return false;
  int rank = x_next == x_end ? x_instead_group->rank : x_next->first.rank;
  if (x_instead_group) rank = std::min(rank, x_instead_group->rank);
  for (; x_next != x_end && x_next->first.rank == rank; ++x_next) {
    Owner& owner = owner_of(x_next->first.payer);
    owner.next = x_next->second.begin(), owner.end = x_next->second.end();
  }
  if (x_instead_group && x_instead_group->rank == rank) {
    owner_of(x_instead_group->payer).with_instead = true;
    x_instead_group.reset();
  }
  for (auto& [workspace, space] : x_spaces) {
    for (auto& [name, owner] : space.owners) {
      look_up(owner);
      if (owner.job != nullptr) space.turns.insert({rank_of(owner), name});
    }
    if (space.turns.empty()) continue;
    space.rank = rank_of(space);
    x_turns.insert({space.rank, workspace});
  }
  return true;
}

Order::Owner& Order::owner_of(const Payer& payer) {
  Space& space = x_spaces[payer.workspace];
  space.id = payer.workspace;
  Owner& owner = space.owners[payer.owner];
  owner.payer = payer;
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
