// Answers why a job waits, or the next tasks of a job array: the plan's explanation as a message. Loop's thread.
#pragma once

#include "common/result.h"
#include "controller/plan/why.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard::controller {

// FAILED_PRECONDITION when the job is not queued. Without the history, which is in the store.
Status explain(const core::State& state, const core::Job& job, TimeMs now_ms, const plan::Settings& settings,
               v1::JobExplanation& message);
// FAILED_PRECONDITION when none of its tasks is queued or to come.
Status explain(const core::State& state, const core::JobArray& array, TimeMs now_ms, const plan::Settings& settings,
               v1::JobArrayExplanation& message);

}  // namespace trainyard::controller
