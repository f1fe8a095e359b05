#include "controller/plan/shares.h"

#include <algorithm>
#include <limits>

namespace trainyard::plan {

namespace {

constexpr std::uint64_t kAheadMs = 3'600'000;

}  // namespace

const core::Quota& Shares::quota_of(WorkspaceId workspace) const {
  const auto supposed = x_supposed.find(workspace);
  return supposed != x_supposed.end() ? supposed->second : x_state.workspaces.at(workspace).quota;
}

std::uint64_t Shares::past_of(const core::Payer& payer) const {
  std::uint64_t use = 0;
  if (const auto spent = x_state.spent.find(payer); spent != x_state.spent.end()) {
    use += core::decayed(spent->second.gpu_ms, x_now_ms - spent->second.at_ms, x_state.usage_half_life_ms);
  }
  if (const auto held = x_state.held.find(payer); held != x_state.held.end()) {
    use += held->second.gpus * (static_cast<std::uint64_t>(x_now_ms) + kAheadMs) - held->second.gpus_times_since;
  }
  return use;
}

Shares::Account& Shares::account_of(const core::Payer& payer) const {
  const auto [account, is_new] = x_accounts.try_emplace(payer);
  if (is_new) account->second.use = past_of(payer);
  return account->second;
}

Shares::Total& Shares::total_of(WorkspaceId workspace) const {
  Total& total = x_totals[workspace];
  if (std::exchange(total.summed, true)) return total;
  const core::Payer first{workspace, ""};
  for (auto spent = x_state.spent.lower_bound(first);
       spent != x_state.spent.end() && spent->first.workspace == workspace; ++spent) {
    if (!x_state.held.contains(spent->first)) total.use += past_of(spent->first);
  }
  for (auto held = x_state.held.lower_bound(first); held != x_state.held.end() && held->first.workspace == workspace;
       ++held) {
    total.use += past_of(held->first);
    total.gpus += held->second.gpus;
  }
  return total;
}

std::uint64_t Shares::use_of(const core::Payer& payer) const {
  const Account& account = account_of(payer);
  return account.use + account.more * kAheadMs;
}

std::uint64_t Shares::weighted_use_of(WorkspaceId workspace) const {
  const Total& total = total_of(workspace);
  return (total.use + total.more * kAheadMs) / quota_of(workspace).weight;
}

std::uint32_t Shares::gpus_of(WorkspaceId workspace) const {
  return total_of(workspace).gpus;
}

std::uint32_t Shares::room(WorkspaceId workspace) const {
  const std::uint32_t limit = quota_of(workspace).limit;
  return limit == 0 ? std::numeric_limits<std::uint32_t>::max() : limit - std::min(limit, gpus_of(workspace));
}

bool Shares::allows(WorkspaceId workspace, std::uint32_t gpus) const {
  return gpus <= room(workspace);
}

void Shares::give(const core::Payer& payer, std::uint32_t gpus) {
  total_of(payer.workspace).gpus += gpus;
  promise(payer, gpus);
}

void Shares::promise(const core::Payer& payer, std::uint32_t gpus) {
  account_of(payer).more += gpus;
  total_of(payer.workspace).more += gpus;
}

}  // namespace trainyard::plan
