// Job arrays and parameter sweeps between the API's messages and our structs. Pure; any thread.
#pragma once

#include "common/result.h"
#include "controller/core/event.h"
#include "controller/core/view.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard {

// Checks and converts; no name may be a variable or secret of `spec` too, nor may that have a task's own variables.
Result<core::Sweep> from_proto(const v1::ParameterSweep& message, const JobSpec& spec);
void to_proto(const core::Sweep& sweep, v1::ParameterSweep& message);  // of a long list its beginning

void to_proto(const core::ArrayView& view, v1::JobArray& message);

}  // namespace trainyard
