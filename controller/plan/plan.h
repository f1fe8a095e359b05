// plan(state) -> what to place and how clusters and inventory exchange nodes. Pure; integers and defined orders only.
// Rule of order within a cluster: class, fair share, age (order.h), with backfill (backfill.h); a job that can never
// fit at the cluster's size is passed over.
#pragma once

#include "controller/core/placement.h"
#include "controller/core/state.h"
#include "controller/plan/settings.h"

namespace trainyard::plan {

using core::Assignment;
using core::Placement;
using core::Plan;
using core::Retarget;
using core::Withdrawal;

// Complexity: what is free and who waits first; a step that must see all nodes or all that runs looks them up once, and
// only if there is a job that it matters to.
Plan make_plan(const core::State& state, TimeMs now_ms, const Settings& settings = {});

}  // namespace trainyard::plan
