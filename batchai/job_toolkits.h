// The toolkit settings of a job file, and of a job as it is shown. Pure.
#pragma once

#include "batchai/json_fields.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard::batchai {

using Json = nlohmann::ordered_json;  // as it is shown

// Reads whichever settings object is there into `spec`; exactly one must be.
void read_toolkit(Fields& properties, v1::JobSpec& spec);

// Adds a key per toolkit to `out`: the job's own settings under their names, null for the others.
void add_toolkits(const v1::JobSpec& spec, Json& out);

}  // namespace trainyard::batchai
