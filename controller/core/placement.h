// What plan decides and core applies: placements of jobs, and nodes moved between clusters and inventory. Plain values.
#pragma once

#include <vector>

#include "common/ids.h"

namespace trainyard::core {

struct Placement {
  JobId job;
  std::vector<NodeId> nodes;  // rank order; nodes[0] is the head
};
struct Assignment {
  NodeId node;
  ClusterId cluster;
};  // inventory -> cluster
struct Withdrawal {
  NodeId node;
};  // cluster -> leaving; core ends the jobs on it as the option says

struct Plan {
  std::vector<Withdrawal> withdrawals;
  std::vector<Assignment> assignments;
  std::vector<Placement> placements;
};

}  // namespace trainyard::core
