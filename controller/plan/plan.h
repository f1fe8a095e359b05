// plan(state) -> what to place and how clusters and inventory exchange nodes. Pure; integers and defined orders only.
// Rule of order within a cluster: priority, then oldest. The first job that could run at the cluster's target size but
// does not fit now blocks those behind it (no gang starves); one that can never fit at that size is passed over.
#pragma once

#include <vector>

#include "controller/core/state.h"

namespace trainyard::plan {

struct Placement {
  JobId job;
  std::vector<NodeId> nodes;  // rank order; nodes[0] is the head
};
struct Assignment { NodeId node; ClusterId cluster; };  // inventory -> cluster
struct Withdrawal { NodeId node; };                     // cluster -> leaving; core ends the jobs on it as the option says

struct Plan {
  std::vector<Withdrawal> withdrawals;
  std::vector<Assignment> assignments;
  std::vector<Placement> placements;
};

Plan make_plan(const core::State& state, TimeMs now_ms);

}  // namespace trainyard::plan
