// Names of environment variables on which several layers agree.
#pragma once

namespace trainyard {

// Given to each task of a job array.
inline constexpr const char* kTaskIndexVariable = "TRAINYARD_TASK_INDEX";
inline constexpr const char* kTaskCountVariable = "TRAINYARD_TASK_COUNT";
// The node's name: for jobs, set-up tasks and commands there.
inline constexpr const char* kNodeVariable = "TRAINYARD_NODE";

}  // namespace trainyard
