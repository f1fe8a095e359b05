// What is free of a cluster's nodes now, and would be if some of what runs were taken away. Of one pass. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "controller/core/placement.h"
#include "controller/plan/pass.h"

namespace trainyard::plan {

class Room {
 public:
  // `jobs`: that may be taken away, by id; they are named by their index here. O(the cluster's nodes + what they
  // hold).
  Room(const Pass& pass, const std::vector<const core::Job*>& jobs);

  // All that the job holds becomes free; is taken again. O(its nodes)
  void add(std::size_t job);
  void remove(std::size_t job);

  // O(nodes), without any allocation for a job that asks for no topology.
  bool fits(const Shape& shape) const;
  // The nodes that the plan would take. REQUIRES: it fits
  void take(const Shape& shape);
  // These nodes, as far as there is anything free of them.
  void take(const std::vector<NodeId>& nodes, const Shape& shape);

 private:
  struct Place {
    NodeId node;
    const Roster::Row* row = nullptr;
    std::uint32_t free = 0;
    std::uint32_t name = 0;  // of its place in the operator's tree, once somebody asked
  };
  struct Part {
    std::uint32_t place = 0, units = 0;
  };
  void take(Place& place, const Shape& shape);
  bool fits_on(const Place& place, const Shape& shape) const { return wanted_of(place, shape) <= place.free; }
  std::uint32_t wanted_of(const Place& place, const Shape& shape) const;
  const std::vector<std::int32_t>& domains_of(const Shape& shape) const;

  const Pass& x_pass;
  mutable std::vector<Place> x_places;  // nodes that jobs can be placed on, by id
  // What the jobs hold, job after job: those of job i are from x_first[i] to x_first[i + 1].
  std::vector<Part> x_parts;
  std::vector<std::uint32_t> x_first;
  mutable Places x_names;
  mutable bool x_named = false;
};

}  // namespace trainyard::plan
