// Text forms of a job schedule, as row_json.h has those of other rows.
#pragma once

#include <string>
#include <string_view>

#include "common/result.h"
#include "controller/core/rows.h"

namespace trainyard::storage {

const char* stored_name(core::Overlap overlap);
bool read_name(std::string_view name, core::Overlap& into);

// The job that it submits.
std::string schedule_spec_text(const core::JobSchedule& schedule);
Status read_schedule_spec(const std::string& text, core::JobSchedule& into);

// Who suspended it, its last error, and what became of its newest times; "{}" when there is nothing of them.
std::string schedule_body_text(const core::JobSchedule& schedule);
Status read_schedule_body(const std::string& text, core::JobSchedule& into);

// Of the expression's two columns; one that cannot be read, or that never comes, is an error.
Result<core::Cron> read_cron(const std::string& text, const std::string& utc_offset);

}  // namespace trainyard::storage
