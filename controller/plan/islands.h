// Which nodes of the operator's tree lie together, and which of those that fit a gang takes. Pure; integers and sorted
// names only, so every compiler gets the same.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/ids.h"
#include "common/model.h"
#include "common/topology.h"

namespace trainyard::plan {

// The places of nodes (Inventory::topology), each with a number.
class Places {
 public:
  std::uint32_t number_of(const std::string& place);
  // Of each place by its number: the domain of the wanted level that it lies in, as a number that rises with its name;
  // kOut where it is none for a job that wants this. Places without that level are one domain, the last, for a job that
  // does not insist.
  // Valid until the next new place.
  const std::vector<std::int32_t>& domains(const Topology& wanted) const;
  static constexpr std::int32_t kOut = -1;

 private:
  std::vector<std::int32_t> domains_anew(const Topology& wanted) const;

  std::vector<std::string> x_places;  // by number
  std::map<std::string, std::uint32_t> x_numbers;
  mutable std::vector<std::pair<Topology, std::vector<std::int32_t>>> x_known;  // jobs want the same, again and again
};

// Not every node will do as well as another. Null: it wants nothing.
inline bool insists(const Topology* wanted) {
  return wanted != nullptr && trainyard::insists(*wanted);
}

// How many nodes of a gang must be together.
struct GangSize {
  std::uint32_t most = 1, least = 1;  // nodes; it takes the most that it can have
  // So many at a time in one domain; 0: all of them.
  std::uint32_t block = 1;
};
GangSize gang_size(const Topology& topology, std::uint32_t most, std::uint32_t least);

// How many nodes the gang gets of domains that have so many for it; 0: it cannot start on these.
class Together {
 public:
  explicit Together(GangSize size) : x_size(size) {}
  void add(std::int32_t domain, std::uint32_t nodes = 1);  // so many more there
  std::uint32_t nodes() const;                             // that it would get

 private:
  GangSize x_size;
  std::map<std::int32_t, std::uint32_t> x_counts;
  std::uint32_t x_largest = 0, x_in_blocks = 0;
};

struct Fit {
  std::uint32_t free = 0;  // of the node, when the gang starts
  NodeId node;
  std::int32_t domain = 0;
  std::uint32_t index = 0;  // the caller's own
};
// Those that a gang takes of the nodes that fit, in rank order; none: they are too few. It takes as few domains as it
// can: the smallest one that does, else the largest and then on; within one the fullest nodes first, so that whole
// nodes and whole domains stay free for those that need them.
std::vector<Fit> choose(std::vector<Fit> fits, GangSize size);

}  // namespace trainyard::plan
