// The mpirun line of a launch without ssh: for Open MPI 4, and for MPICH's Hydra, which Intel MPI uses too. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/exec/toolkits.h"

namespace trainyard::agent {

struct RankLayout {
  std::uint32_t ranks = 1, nodes = 1;
  std::uint32_t per_node = 1;  // slots in the hostfile: rounded up
  bool even = true;            // the same number on each node
};
RankLayout rank_layout(const Launch& launch);

// Arguments of mpirun up to the program it starts.
std::vector<std::string> mpirun_arguments(const RankLayout& layout, const HoldingPaths& paths, const NodeFacts& facts);

// Arguments of Hydra's mpirun (mpiexec.hydra) up to the program it starts.
std::vector<std::string> hydra_arguments(const Launch& launch, const HoldingPaths& paths, const NodeFacts& facts);

// Bash that finds mpirun on the node, asks it whose it is, and runs `command` under it as the launch says. A user's own
// mpirun in PATH counts (source mpivars.sh); of the system's, Open MPI is preferred.
std::string mpirun_script(const Launch& launch, const HoldingPaths& paths, const NodeFacts& facts,
                          const std::string& command);

// The same parameters as variables, for commands that call mpirun themselves (custom toolkit).
std::vector<NamedValue> mpirun_environment(const HoldingPaths& paths, const NodeFacts& facts);

}  // namespace trainyard::agent
