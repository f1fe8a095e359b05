// Job schedules between the API's messages and our structs. Pure; any thread.
#pragma once

#include <optional>

#include "common/result.h"
#include "controller/core/event.h"
#include "controller/core/view.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard {

// None: it says nothing of it.
Result<std::optional<core::Overlap>> from_proto(v1::ScheduleOverlap overlap);

void to_proto(const core::ScheduleView& view, v1::JobSchedule& message);

}  // namespace trainyard
