// Runs many seeds, each in a process of its own, so that an abort names its seed and two cores are used.
#pragma once

#include <string>
#include <vector>

#include "tests/support/simulator/simulation.h"

namespace trainyard::simulator {

struct Seeds {
  std::vector<Options> runs;
  std::uint32_t at_once = 2;
  bool until_failure = false;  // begin no more runs once one has failed
};

struct FarmResult {
  std::uint64_t runs = 0, failures = 0, events = 0, core_events = 0, jobs = 0;
  std::uint64_t fewest_events = 0;
  std::uint32_t fewest_jobs = 0;
  std::vector<std::uint64_t> hashes;  // in the order of the runs; 0 for one that failed
  Coverage coverage;
};

// How to see that run again.
std::string command_for(const Options& options);

// Prints every failure with its seed, its reason and the end of its trace.
FarmResult run_all(const Seeds& seeds);

}  // namespace trainyard::simulator
