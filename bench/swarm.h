// Many simulated agents in one process: each holds a Connect stream, reports once and then says "same" at an interval.
// They run nothing: their nodes stay in the inventory. Used by submit_bench.
#pragma once

#include <chrono>
#include <string>

#include "common/result.h"

namespace trainyard::bench {

// Returns when every agent was acknowledged once and `released` (blocking) has returned; then all hang up.
Status run_swarm(const std::string& controller, std::uint32_t agents, std::chrono::milliseconds every,
                 void (*all_connected)(), void (*wait_for_release)());

}  // namespace trainyard::bench
