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

// More ranks than this on a node are not logged one by one: each costs two files on the share.
inline constexpr std::uint32_t kMostRankLogs = 64;
// The ranks that mpirun starts on a node, by the arguments below; none when they are too many to be logged.
std::vector<std::uint32_t> logged_ranks(const RankLayout& layout, std::uint32_t member);
// Where Open MPI 4 writes `stdout` and `stderr` of a rank.
std::string rank_log_directory(const RankLayout& layout, const HoldingPaths& paths, std::uint32_t rank);

// Arguments of mpirun up to the program it starts.
std::vector<std::string> mpirun_arguments(const Launch& launch, const HoldingPaths& paths, const NodeFacts& facts);

// Arguments of Hydra's mpirun (mpiexec.hydra) up to the program it starts.
std::vector<std::string> hydra_arguments(const Launch& launch, const HoldingPaths& paths, const NodeFacts& facts);

// Bash that finds mpirun on the node, asks it whose it is, and runs `command` under it as the launch says. A user's own
// mpirun in PATH counts (source mpivars.sh); of the system's, Open MPI is preferred.
std::string mpirun_script(const Launch& launch, const HoldingPaths& paths, const NodeFacts& facts,
                          const std::string& command);

// The same parameters as variables, for commands that call mpirun themselves (custom toolkit); without ports, as there
// may be several at once, of any number of ranks.
std::vector<NamedValue> mpirun_environment(const HoldingPaths& paths, const NodeFacts& facts);

}  // namespace trainyard::agent
