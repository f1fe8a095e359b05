// What plan decides and core applies: placements of jobs, and nodes moved between clusters and inventory. Plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/time.h"

namespace trainyard::core {

struct Placement {
  JobId job;
  std::vector<NodeId> nodes;  // rank order; nodes[0] is the head
  DurationMs limit_ms = 0;    // a shorter time limit than the job's; 0: the job's
};
struct Assignment {
  NodeId node;
  ClusterId cluster;
};  // inventory -> cluster
// Cluster -> leaving. Core ends the jobs on it as the cluster's option says; a node of a low-priority cluster that is
// taken back for a dedicated one does not wait for its job, which is queued again.
struct Withdrawal {
  NodeId node;
  std::optional<ClusterId> taken_for = std::nullopt;
};
// How many nodes a cluster with autoScale should have from now on, and why.
struct Retarget {
  ClusterId cluster;
  std::uint32_t target = 0;
  std::string why;
};

enum class PreemptionCause { higher_class, guaranteed };
// A running job gives way to one that waits: it is queued again.
struct Preemption {
  JobId job, gives_way_to;
  PreemptionCause cause = PreemptionCause::higher_class;
};

struct Plan {
  std::vector<Retarget> retargets;
  std::vector<Withdrawal> withdrawals;
  std::vector<Assignment> assignments;
  std::vector<Placement> placements;
  std::vector<Preemption> preemptions;
};

}  // namespace trainyard::core
