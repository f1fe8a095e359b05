// What the configuration says of limits, made into what this machine keeps.
#pragma once

#include <string>

#include "agent/config.h"
#include "agent/loop/place.h"

namespace trainyard::agent {

// Of this agent's groups in v1, which all agents of a machine (there are several in tests) may see: by node and spool.
std::string group_prefix(const Config& config);

// The kernel's controllers as they are now, for this agent's groups.
Controllers controllers_for(const Config& config, const ExecutorContext& context);
// An error: what the operator demands, and this machine cannot keep.
Status check_limits(const Config& config, const Controllers& controllers);
// For jobs that start from now on, by context.controllers. `memory_bytes`: the machine's. Says in the log what has no
// controller.
void set_limits(const Config& config, std::uint64_t memory_bytes, ExecutorContext& context);

}  // namespace trainyard::agent
