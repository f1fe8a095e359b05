// The toolkit of a job, with exactly its own fields, between the API's message and our struct; also the small checks
// that all of a job's fields share. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "common/model.h"
#include "common/result.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard {

// INVALID_ARGUMENT "properties.<field>: <text>".
Error invalid(std::string_view field, std::string_view text);
// At most 64 KiB (half of what one argument of a program can carry) and no NUL.
Status check_text(std::string_view field, const std::string& text);

// Checks and converts; `spec.node_count` must be set. A field of another toolkit is refused by its name.
Status toolkit_from_proto(const v1::JobSpec& message, JobSpec& spec);
void toolkit_to_proto(const JobSpec& spec, v1::JobSpec& message);

}  // namespace trainyard
