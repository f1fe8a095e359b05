// Which GPUs reach each other by NVLink. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace trainyard::agent {

// The active links of one GPU.
struct NvLinks {
  std::string bus_id;                    // its own
  std::map<std::string, unsigned> ends;  // how many lead to each other device, by its PCI bus id
  unsigned to_switches = 0;              // how many lead to an NVSwitch
};

// For each its island: the position of the island's first GPU. GPUs that reach each other, if over others, are one
// island, and so are all that have a link to a switch; -1: it has no other. What is not listed here (a lost GPU, IBM's
// processors) joins nobody.
std::vector<std::int32_t> islands(const std::vector<NvLinks>& gpus);

}  // namespace trainyard::agent
