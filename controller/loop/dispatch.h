// Speaks what a batch decided, after its commit. The loop's thread.
#pragma once

#include <vector>

#include "controller/core/event.h"
#include "controller/core/state.h"
#include "controller/loop/loop.h"

namespace trainyard::controller {

void dispatch(const std::vector<core::Action>& actions, const core::State& state, TimeMs now_ms, Outbox& outbox);

}  // namespace trainyard::controller
