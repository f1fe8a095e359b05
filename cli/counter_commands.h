// node counters, cluster counters and job counters, added to the groups of commands they belong to.
#pragma once

#include "cli/program.h"

namespace trainyard::cli {

void add_node_counters_command(CLI::App& nodes, Program& program);
void add_cluster_counters_command(CLI::App& clusters, Program& program);
void add_job_counters_command(CLI::App& jobs, Program& program);

}  // namespace trainyard::cli
