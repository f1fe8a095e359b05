// The future of one cluster's nodes, as far as time limits and estimates tell: how much of each node is free from when
// on. Times in milliseconds of the controller's clock. Integers only, so every compiler gets the same.
//
// What can be given away of a node is counted in units: its GPUs, or 1 for a node without any. A job takes whole nodes
// (all units, and nobody beside it) or a number of units of each of its nodes.
//
// Backfill asks two questions (Mu'alem and Feitelson, "Utilization, Predictability, Workloads, and User Runtime
// Estimates in Scheduling the IBM SP2 with Backfilling", 2001): where could this gang start at the earliest, and does
// it fit now without taking away what is promised to others.
#pragma once

#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <cstdint>
#include <limits>
#include <map>
#include <memory_resource>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/ids.h"
#include "common/time.h"
#include "controller/core/state.h"
#include "controller/plan/islands.h"

namespace trainyard::plan {

struct Shape {
  std::uint32_t nodes = 1;
  std::uint32_t units = 0;    // of each node; 0: whole nodes
  bool in_container = false;  // on nodes that can run one
  WorkspaceId workspace;      // whose reservations it may use
  DurationMs limit_ms = 0;    // it is over by then, for certain: it must not reach into a reservation of others
  std::uint32_t least = 0;    // nodes on which it starts, too, when it cannot have more; 0: `nodes`
  const Topology* topology = nullptr;  // which nodes go together; of the job's spec; null: any

  GangSize gang() const {
    const std::uint32_t fewest = least == 0 ? nodes : least;
    return topology == nullptr ? GangSize{nodes, fewest} : gang_size(*topology, nodes, fewest);
  }
};

// A node is for jobs of this workspace only, or for nobody's (0).
struct Closed {
  TimeMs from_ms = 0, until_ms = 0;
  WorkspaceId workspace;
  // A job that starts then would still run in it.
  bool keeps_out(const Shape& shape, TimeMs start_ms) const {
    if (workspace && workspace == shape.workspace) return false;
    return start_ms < until_ms && (start_ms >= from_ms || shape.limit_ms > from_ms - start_ms);
  }
};

// By node. Whether a job that starts on the node then would run into what is closed there.
using ClosedNodes = std::map<NodeId, std::vector<Closed>>;
inline bool keeps_out(const ClosedNodes& closed, NodeId node, const Shape& shape, TimeMs start_ms) {
  const auto found = closed.find(node);
  return found != closed.end() && std::any_of(found->second.begin(), found->second.end(),
                                              [&](const Closed& one) { return one.keeps_out(shape, start_ms); });
}

// By reservations.
ClosedNodes closed_nodes(const core::State& state);

struct Slot {
  TimeMs start_ms = 0;
  std::vector<NodeId> nodes;  // in rank order: see choose

  std::vector<std::uint32_t> lines = {};  // the future's own
};

class Future {
 public:
  static constexpr TimeMs kNever = std::numeric_limits<TimeMs>::max();

  explicit Future(TimeMs now_ms) : x_now_ms(now_ms) {}

  // How a node may be given, and to whom.
  struct Offer {
    bool whole = true, parts = true, containers = true;
  };
  // REQUIRES: the node is new and `free` <= `whole`
  void add(NodeId node, std::uint32_t whole, std::uint32_t free, Offer offer, const std::string& topology = "");
  // So many more are to come.
  void reserve(std::size_t nodes) { x_lines.reserve(x_lines.size() + nodes), x_index.reserve(x_index.size() + nodes); }
  bool contains(NodeId node) const { return find(node) != kNowhere; }
  // REQUIRES: the node was added
  void close(NodeId node, Closed closed) { line_of(node).closed.push_back(closed); }
  // So much more of it is free from then on; before now counts as now. Not `firm`: nobody said how long it takes, and
  // `at_ms` is only the limit that everything has.
  void release(NodeId node, TimeMs at_ms, std::uint32_t units, bool firm);

  // What is after this time rests on a guess.
  void distrust(TimeMs from_ms) { x_firm_until_ms = std::min(x_firm_until_ms, from_ms); }

  // start_ms == kNever: by what is known it never fits. On as many nodes as it can have if that is now, else on the
  // fewest.
  Slot earliest(const Shape& shape, DurationMs duration_ms) const;
  // The same, but only if that is now, and on as many nodes as it can have; otherwise on none. Much cheaper.
  Slot fits_now(const Shape& shape, DurationMs duration_ms) const;
  // REQUIRES: the slot is of this future, and still fits
  void take(const Slot& slot, const Shape& shape, DurationMs duration_ms);

  bool anything_free() const { return !x_open.empty(); }
  // Nothing before this time rests on a guess.
  TimeMs firm_until_ms() const { return x_firm_until_ms; }

 private:
  struct Step {
    TimeMs from_ms = 0;
    std::uint32_t free = 0;  // until the next step; the last has no end
  };
  struct Line {
    NodeId node;
    std::uint32_t whole = 1;
    Offer offer;
    std::uint32_t place = 0;  // its number in x_places
    boost::container::small_vector<Step, 12> steps;
    std::vector<Closed> closed = {};
  };
  struct Open {
    std::uint32_t free = 0;
    NodeId node;
    std::uint32_t index = 0;  // in x_lines
    friend auto operator<=>(const Open&, const Open&) = default;
  };
  // A shape and time that did not fit now: neither does anything that asks for as much.
  struct Refusal {
    Shape shape;
    DurationMs duration_ms = 0;
  };

  static constexpr std::uint32_t kNowhere = std::numeric_limits<std::uint32_t>::max();
  const std::vector<std::pair<NodeId, std::uint32_t>>& by_node() const;  // where in x_lines they are
  std::uint32_t find(NodeId node) const;                                 // in x_lines
  Line& line_of(NodeId node) { return x_lines[find(node)]; }
  static Slot slot_of(TimeMs start_ms, const std::vector<Fit>& chosen);
  // What the shape takes of the node; more than it has where that cannot be.
  static std::uint32_t units_on(const Line& line, const Shape& shape) {
    const bool offered =
        (shape.units == 0 ? line.offer.whole : line.offer.parts) && (!shape.in_container || line.offer.containers);
    if (!offered) return line.whole + 1;
    return shape.units == 0 ? line.whole : shape.units;
  }
  // From when on, not before `from_ms`, the line has that much for so long.
  static TimeMs earliest_free(const Line& line, std::uint32_t units, TimeMs from_ms, DurationMs duration_ms);
  // The same for the shape, beside what is closed.
  static TimeMs earliest_on(const Line& line, const Shape& shape, TimeMs from_ms, DurationMs duration_ms);
  // The same without an end.
  static TimeMs free_for_ever(const Line& line, std::uint32_t units, TimeMs from_ms);
  static std::uint32_t free_at(const Line& line, TimeMs at_ms);
  static std::size_t split_at(Line& line, TimeMs at_ms);  // index of a step that begins there
  bool refused(const Shape& shape, DurationMs duration_ms) const;

  const TimeMs x_now_ms;
  TimeMs x_firm_until_ms = kNever;
  std::vector<Line> x_lines;  // as they were added: nothing may depend on that
  // Where in x_lines a node is: by node up to `x_in_order`; what was added since is put in order at the next look.
  mutable std::vector<std::pair<NodeId, std::uint32_t>> x_index;
  mutable std::size_t x_in_order = 0;
  Places x_places;
  std::pmr::monotonic_buffer_resource x_memory;
  std::pmr::set<Open> x_open{&x_memory};    // free now > 0
  mutable std::vector<Refusal> x_refusals;  // while what is free now only shrinks
  // Of the question under way, kept for the next.
  mutable std::vector<TimeMs> x_on_line;
  mutable std::vector<std::pair<TimeMs, std::int32_t>> x_starts;  // and domain
};

}  // namespace trainyard::plan
