// Samples of counters between the API's messages and our structs. Pure; any thread.
#pragma once

#include "common/counters.h"
#include "trainyard/v1/nodes.pb.h"

namespace trainyard {

// From an agent: numbers that make no sense become 0 (of a GPU: unset), more GPUs than a machine has are left out. The
// message's time is not looked at: it is the receiver's to say.
CounterSample from_proto(const v1::CounterSample& message);
void to_proto(const CounterSample& sample, v1::CounterSample& message);

}  // namespace trainyard
