// Text forms of a job array, as row_json.h has those of other rows: what was given and never changes apart from what
// changes with its tasks.
#pragma once

#include <string>

#include "common/result.h"
#include "controller/core/rows.h"

namespace trainyard::storage {

std::string array_spec_text(const core::JobArray& array);
Status read_array_spec(const std::string& text, core::JobArray& into);

// Its end's cause, hold and dependencies; "{}" when it has none of them.
std::string array_body_text(const core::JobArray& array);
Status read_array_body(const std::string& text, core::JobArray& into);

}  // namespace trainyard::storage
