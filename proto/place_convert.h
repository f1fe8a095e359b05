// What a job says of where and after whom it runs, between the API's messages and our structs. Pure; any thread.
#pragma once

#include <vector>

#include "common/result.h"
#include "controller/core/event.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard {

// Checks, with the node count that `spec` has.
Status topology_from_proto(const v1::JobSpec& message, JobSpec& spec);
void to_proto(const Topology& topology, v1::Topology& message);

Status dependencies_from_proto(const v1::JobSpec& message, std::vector<core::DependsOn>& dependencies);

}  // namespace trainyard
