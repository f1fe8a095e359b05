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
  const WorkspaceId workspace = x_turns.begin()->second;
  Space& space = x_spaces.at(workspace);
  x_last = Payer{workspace, space.turns.begin()->second};
  Owner& owner = space.owners.at(x_last->owner);
  const Job* job = front(owner);
  if (job == x_instead) {
    owner.with_instead = false;
  } else {
    ++owner.next;
  }
  return job;
}

void Order::pass_over(WorkspaceId workspace) {
  const auto space = x_spaces.find(workspace);
  if (space == x_spaces.end()) return;
  x_turns.erase({space->second.rank, workspace});
  x_spaces.erase(space);
  if (x_last && x_last->workspace == workspace) x_last.reset();
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
    for (auto& [name, owner] : space.owners) put({workspace, name}, owner);
    put(workspace, space);
  }
  return true;
}

Order::Owner& Order::owner_of(const Payer& payer) {
  return x_spaces[payer.workspace].owners[payer.owner];
}

void Order::put_back() {
  if (!x_last) return;
  Space& space = x_spaces.at(x_last->workspace);
  Owner& owner = space.owners.at(x_last->owner);
  const Payer payer = *std::exchange(x_last, std::nullopt);
  const bool alone = x_turns.size() == 1 && space.turns.size() == 1;
  if (alone && front(owner) != nullptr) return;
  space.turns.erase({owner.rank, payer.owner});
  x_turns.erase({space.rank, payer.workspace});
  put(payer, owner);
  put(payer.workspace, space);
}

void Order::put(const Payer& payer, Owner& owner) {
  if (front(owner) == nullptr) return;
  owner.rank = rank_of(payer, owner);
  x_spaces.at(payer.workspace).turns.insert({owner.rank, payer.owner});
}

void Order::put(WorkspaceId workspace, Space& space) {
  if (space.turns.empty()) return;
  space.rank = space.turns.begin()->first;
  const bool aged = std::get<0>(space.rank) == 0;
  if (!aged) {
    const std::uint64_t use = x_settings.fair_share ? x_shares.weighted_use_of(workspace) : std::get<2>(space.rank);
    space.rank = {1, x_shares.entitled(workspace) ? 0 : 1, use};
  }
  x_turns.insert({space.rank, workspace});
}

// What is replaced has its turn where its replacement's id says.
const Job* Order::front(Owner& owner) const {
  while (owner.next != owner.end && x_instead != nullptr && *owner.next == x_instead->id) ++owner.next;
  const bool more = owner.next != owner.end;
  if (owner.with_instead && (!more || x_instead->id < *owner.next)) return x_instead;
  return more ? &x_state.jobs.at(*owner.next) : nullptr;
}

Order::Rank Order::rank_of(const Payer& payer, Owner& owner) const {
  const Job& job = *front(owner);
  if (x_now_ms - job.created_ms > x_settings.age_limit_ms) return {0, 0, job.id.value};
  if (!x_settings.fair_share) return {1, 0, job.id.value};
  return {1, 0, x_shares.use_of(payer)};
}

}  // namespace trainyard::plan
