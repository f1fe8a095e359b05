// Replays a trace on a cluster by the real core and the real plan, in virtual time. Pure: the same trace and scenario
// give the same record, on every machine.
//
// Everything that happens at one time is one batch of the controller, and then it plans: so a GPU that is given back
// is given out again in the same moment.
#pragma once

#include <functional>

#include "controller/core/core.h"
#include "simulate/record.h"
#include "simulate/scenario.h"
#include "simulate/trace.h"

namespace trainyard::simulate {

// Called after every time at which something happened, for tests.
using Watcher = std::function<void(const core::State& state)>;

// REQUIRES: the trace is sorted by submission
Record replay(const Trace& trace, const Scenario& scenario, const Watcher& watcher = nullptr);

}  // namespace trainyard::simulate
