// Counters of nodes as users see them. Pure.
#pragma once

#include <vector>

#include "cli/output.h"
#include "trainyard/v1/nodes.pb.h"

namespace trainyard::cli {

Json json_of(const v1::CounterSample& sample);
// Every sample in JSON; in the table, too.
Answer show_series(const v1::NodeCounters& counters);
// Every sample in JSON; in the table the newest of each node.
Answer show_newest(const std::vector<v1::NodeCounters>& nodes);
// Every sample of each attempt on each node.
Answer show_job_series(const v1::JobCounters& counters);
// "45 %", and of the GPUs that say it "98 %, 3 %"; empty when there is nothing to say.
std::string cpu_cell(const v1::CounterSample& sample);
std::string gpu_cell(const v1::CounterSample& sample);

}  // namespace trainyard::cli
