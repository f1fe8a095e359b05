// What a trace is replayed on: a cluster and a policy, and what if they were others. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"
#include "common/time.h"
#include "controller/plan/plan.h"

namespace trainyard::simulate {

// A way to plan. A new one is one line in the table of scenario.cc.
struct Policy {
  std::string name, what;
  plan::Settings settings;
};
// The first is the controller's own.
const std::vector<Policy>& policies();
// An error lists the names that there are.
Result<Policy> policy_named(const std::string& name);

// The nodes of the one cluster that the trace is replayed on.
struct ClusterShape {
  struct Nodes {
    std::uint32_t count = 0, gpus = 0;  // so many nodes, each with so many GPUs
    friend bool operator==(const Nodes&, const Nodes&) = default;
  };
  std::vector<Nodes> nodes;

  std::uint32_t count() const;      // of all nodes
  std::uint32_t gpus() const;       // of all nodes
  std::uint32_t most_gpus() const;  // of the node that has the most
  friend bool operator==(const ClusterShape&, const ClusterShape&) = default;
};
ClusterShape equal_nodes(std::uint32_t count, std::uint32_t gpus);
// {"nodes": [{"count": 4, "gpus": 8}, {"count": 16, "gpus": 4}]}. An error names the file and the path in it.
Result<ClusterShape> parse_cluster(std::string_view json, const std::string& name);

struct Scenario {
  std::string label;  // of tables and legends: the policy's name, and what is changed
  Policy policy;
  ClusterShape cluster;
  DurationMs prepare_ms = 0, clean_ms = 0;  // what a job's nodes take before its program starts, and after its end
  std::uint32_t load_percent = 100;         // 200: submissions follow each other twice as fast
};

// A scenario of the trace's cluster that is the base with some things changed: "nodes=32", "gpus-per-node=4,nodes=20",
// "policy=easy", "reservations=4", "depth=100", "prepare-s=60", "clean-s=20", "load=150". The label says what. Another
// number of nodes, or of their GPUs, makes all nodes equal: to the one that has the most GPUs.
Result<Scenario> changed(Scenario base, const std::string& what_if);
// The keys that `changed` knows, for help: "nodes=N, ...".
std::string change_keys();

}  // namespace trainyard::simulate
