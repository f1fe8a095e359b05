// `secrets` of a job or set-up task in a file: variables whose values are sent and never shown again. Pure.
#pragma once

#include "batchai/json_fields.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard::batchai {

// References into a key vault are refused by name: there is none on-prem.
void read_secrets(Fields& owner, google::protobuf::RepeatedPtrField<v1::NamedValue>& secrets);

}  // namespace trainyard::batchai
