// The mpirun line of a launch, for Open MPI 4 without ssh. Pure.
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

// The same parameters as variables, for commands that call mpirun themselves (custom toolkit).
std::vector<NamedValue> mpirun_environment(const HoldingPaths& paths, const NodeFacts& facts);

}  // namespace trainyard::agent
