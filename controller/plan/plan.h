// plan(state) -> what to place and how clusters and inventory exchange nodes. Pure; integers and defined orders only.
// Rule of order within a cluster: priority, then oldest. The first job that could run at the cluster's target size but
// does not fit now blocks those behind it (no gang starves); one that can never fit at that size is passed over.
#pragma once

#include "controller/core/placement.h"
#include "controller/core/state.h"

namespace trainyard::plan {

using core::Assignment;
using core::Placement;
using core::Plan;
using core::Retarget;
using core::Withdrawal;

Plan make_plan(const core::State& state, TimeMs now_ms);

}  // namespace trainyard::plan
