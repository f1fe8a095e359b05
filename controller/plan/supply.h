// What a cluster could have at most, however long one waits: whether a queued job can start there before the cluster is
// resized, or a node is put back into service.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "controller/core/state.h"
#include "controller/plan/islands.h"
#include "controller/plan/roster.h"

namespace trainyard::plan {

// Of the cluster's nodes as they are when it is made. `state` and `roster` outlive it. Cheap, until the first job that
// insists on a topology: that one looks at all nodes.
class Supply {
 public:
  Supply(const core::State& state, const core::Cluster& cluster, const Roster& roster);
  bool possible(const core::Job& job) const;
  // GPUs of its largest node, or 1: what a job of whole nodes counts for.
  std::uint32_t gpus_per_whole_node() const { return std::max(1U, x_most_gpus.value_or(1)); }

 private:
  bool lies_together(const core::Job& job) const;
  void count_places() const;

  const Roster* x_roster;
  // Nodes for jobs of whole nodes, and of parts: without those out of service. `containers`: that can run them.
  std::uint32_t x_whole = 0, x_shared = 0, x_containers = 0;
  std::optional<std::uint32_t> x_most_gpus;  // none: it has no node, so nobody knows
  bool x_complete = false;                   // it has all the nodes that it may have
  // Where its nodes lie, and how many there, by place: for jobs of whole nodes, and of parts.
  struct Here {
    std::uint32_t whole = 0, shared = 0;
  };
  mutable bool x_counted = false;
  mutable Places x_places;
  mutable std::vector<Here> x_here;
  // What was asked of them: mostly the same, again and again.
  struct Answer {
    Topology topology;
    std::uint32_t least = 0;
    bool whole = true, possible = true;
  };
  mutable std::vector<Answer> x_answers;
};

}  // namespace trainyard::plan
