// What a node's last report says of its cluster's set-up. Pure.
#pragma once

#include "controller/core/rows.h"

namespace trainyard::core {

// Of its present run. Also of one that was done, when a volume of it does not work any more.
bool setup_failed(const Node& node);

}  // namespace trainyard::core
