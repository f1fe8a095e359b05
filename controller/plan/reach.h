// Which free nodes let a waiting job start that insists on where its nodes lie. For autoScale: nodes of the inventory
// that do not help must not be taken. Pure.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "controller/core/state.h"
#include "controller/plan/future.h"
#include "controller/plan/islands.h"

namespace trainyard::plan {

// Nodes of one cluster and of the inventory, given to one job after the other. `state` outlives it.
class Reach {
 public:
  // `own`: of the cluster, free or soon; `others`: of the inventory.
  Reach(const core::State& state, const std::vector<NodeId>& own, const std::vector<NodeId>& others);

  // Sets the nodes aside on which the job can start, `most` at most: own ones if those do, else as near to own ones as
  // can be. False: no set of the nodes does. REQUIRES: the job insists on a topology
  bool set_aside(const core::Job& job, std::uint32_t most);

  const std::set<NodeId>& own() const { return x_own; }  // set aside
  // Set aside, by job: all of a job's help it, or none.
  const std::vector<std::vector<NodeId>>& others() const { return x_others; }
  std::uint32_t nodes() const { return x_count; }  // set aside, of both

 private:
  struct Place {
    NodeId node;
    std::uint32_t name = 0;  // of its place in the operator's tree
    bool own = false;
  };
  std::vector<Fit> fits_for(Shape shape) const;
  bool refused(Shape shape) const;

  const core::State& x_state;
  Places x_names;
  std::vector<Place> x_places;  // not set aside
  std::vector<Shape> x_refusals;
  std::set<NodeId> x_own;
  std::vector<std::vector<NodeId>> x_others;
  std::uint32_t x_count = 0;
  int x_tries = 0;
};

}  // namespace trainyard::plan
