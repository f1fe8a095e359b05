// Who had how much of the GPUs of late, has now, and may have: what fair share and quotas go by. Of one pass of the
// plan: what it places counts at once. Pure.
//
// A payer's use is the GPU time that its jobs had, counted half after each half-life, and one more hour for each GPU
// that they have now or are promised: so those who have none come first, also before anybody has had any. A
// workspace's use is that of its payers, divided by its weight. (Slurm's fair tree, with usage in place of its factor.)
#pragma once

#include <cstdint>
#include <map>
#include <utility>

#include "controller/core/state.h"

namespace trainyard::plan {

class Shares {
 public:
  // `quota`: as if the workspace had this one.
  Shares(const core::State& state, TimeMs now_ms) : x_state(state), x_now_ms(now_ms) {}
  void suppose(WorkspaceId workspace, const core::Quota& quota) { x_supposed.insert_or_assign(workspace, quota); }

  const core::Quota& quota_of(WorkspaceId workspace) const;
  // GPU milliseconds.
  std::uint64_t use_of(const core::Payer& payer) const;
  std::uint64_t weighted_use_of(WorkspaceId workspace) const;

  std::uint32_t gpus_of(WorkspaceId workspace) const;  // that its jobs have now
  // Below its guaranteed number: it goes before others of the class.
  bool entitled(WorkspaceId workspace) const { return within_guarantee(workspace, 1); }
  // With so many more it has no more than is guaranteed to it. Without a guarantee nobody is asked what it has.
  bool within_guarantee(WorkspaceId workspace, std::uint32_t gpus) const {
    const std::uint32_t guaranteed = quota_of(workspace).guaranteed;
    return guaranteed > 0 && gpus_of(workspace) + gpus <= guaranteed;
  }
  std::uint32_t room(WorkspaceId workspace) const;  // more GPUs that its limit allows
  // So many more do not exceed its limit.
  bool allows(WorkspaceId workspace, std::uint32_t gpus) const;

  // It starts now; is promised to start later.
  void give(const core::Payer& payer, std::uint32_t gpus);
  void promise(const core::Payer& payer, std::uint32_t gpus);

 private:
  struct Account {
    std::uint64_t use = 0;   // without what the pass gives
    std::uint32_t gpus = 0;  // now, with what the pass gives
    std::uint32_t more = 0;  // given or promised by the pass
  };
  struct Total : Account {
    bool summed = false;
  };
  Account& account_of(const core::Payer& payer) const;
  Total& total_of(WorkspaceId workspace) const;
  std::uint64_t past_of(const core::Payer& payer) const;

  const core::State& x_state;
  const TimeMs x_now_ms;
  std::map<WorkspaceId, core::Quota> x_supposed;
  mutable std::map<core::Payer, Account> x_accounts;  // of whom somebody asked
  mutable std::map<WorkspaceId, Total> x_totals;
};

}  // namespace trainyard::plan
