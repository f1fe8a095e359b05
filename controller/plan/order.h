// In what order a cluster's waiting jobs have their turn. Pure.
//
// First jobs with which their workspace stays within what it is guaranteed (decision 0065): of each owner of a class
// those before the first that would exceed it; then those of the workspace's lower classes wait, too, and after one
// that has waited longer than `age_limit_ms` all do. Then all others. Of both, classes go one after the other (high,
// normal, low). Within a class: jobs that have waited longer than `age_limit_ms`, oldest first; then workspaces that
// have fewer GPUs than they are guaranteed; then the workspace that had least, by its weight; within a workspace the
// owner who had least; and of an owner the oldest job. Without fair share the oldest job counts instead of what was
// had. Ties go to the smaller id or name, so that the order is defined.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "controller/plan/settings.h"
#include "controller/plan/shares.h"

namespace trainyard::plan {

class Order {
 public:
  // `instead`: the job of that id is in the queue as this one says. `shares` outlives the order and is asked again for
  // each turn: what is given to a job counts for the next.
  Order(const core::State& state, ClusterId cluster, const Shares& shares, TimeMs now_ms, const OrderSettings& settings,
        const core::Job* instead = nullptr);
  Order(const Order&) = delete;
  Order& operator=(const Order&) = delete;

  const core::Job* next();                // nullptr: there are no more
  void pass_over(WorkspaceId workspace);  // no more of it in the present class
  // Whether the job that next() gave last had its turn among those within a guarantee.
  bool within_guarantee() const { return x_guaranteed.has_value(); }

 private:
  using Rank = std::tuple<int, int, std::uint64_t>;  // aged first, entitled first, then use or age; least first
  // An owner's jobs of a class.
  struct Owner {
    core::Payer payer;
    std::set<JobId>::const_iterator next, end;
    bool with_instead = false;       // `instead` is still to come among them
    const core::Job* job = nullptr;  // the first of them; null: there are no more
  };
  struct Space {
    WorkspaceId id;
    std::map<std::string, Owner*> owners;
    std::set<std::pair<Rank, std::string>> turns;
    Rank rank;
  };

  bool begin_class();
  void begin_groups(int rank);
  bool begins(const core::Payer& payer) const { return !x_guaranteed || x_guaranteed->contains(payer.workspace); }
  void leave_for_later(Space& space);
  Owner& owner_of(const core::QueueGroup& group);
  void put_back();  // whoever had the last turn
  void look_up(Owner& owner) const;
  Rank rank_of(const Owner& owner) const;
  Rank rank_of(const Space& space) const;

  const core::State& x_state;
  const Shares& x_shares;
  const TimeMs x_now_ms;
  const OrderSettings x_settings;
  const core::Job* x_instead;
  std::optional<core::QueueGroup> x_instead_group;  // until its class has begun
  const core::Queue& x_queue;
  core::Queue::const_iterator x_next;  // groups of later classes
  // While jobs within what is guaranteed have their turns: of these workspaces there may be more.
  std::optional<std::set<WorkspaceId>> x_guaranteed;
  std::uint32_t x_per_whole_node = 1;
  std::map<core::QueueGroup, Owner> x_owners;  // of all classes that have begun
  std::map<WorkspaceId, Space> x_spaces;       // of the present class
  std::set<std::pair<Rank, WorkspaceId>> x_turns;
  // Whose job was given last: theirs is still the first turn.
  Space* x_last_space = nullptr;
  Owner* x_last_owner = nullptr;
};

}  // namespace trainyard::plan
