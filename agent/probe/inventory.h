// What this machine has: cores, memory, its interface on the cluster's network, GPUs. Blocking (a driver may hang):
// called at the start, before the agent's loop runs.
#pragma once

#include <string>
#include <vector>

#include "common/model.h"
#include "common/result.h"

namespace trainyard::agent {

struct ProbeRequest {
  std::string node_name, flavour, pool;
  std::string address;       // must be one of this machine's
  std::string network_cidr;  // empty: from the interface that has `address`
  std::uint32_t pretend_gpus = 0;
  std::string topology = {};
};

struct ProbeResult {
  Inventory inventory;
  std::string interface;  // that has the address
};

Result<ProbeResult> probe(const ProbeRequest& request);

// GPUs that NVIDIA's driver library sees; none without the library or a driver. Never fails: a node without GPUs is
// one.
std::vector<Gpu> nvidia_gpus();

// Of a PCI device; -1: not known. `sys`: where sysfs is.
std::int32_t numa_node_of(const std::string& pci_bus_id, const std::string& sys);
// Adapters with a port that is up, in the order of their names.
std::vector<Fabric> find_fabrics(const std::string& sys);

}  // namespace trainyard::agent
