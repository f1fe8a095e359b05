// The nodes of one cluster in rows, with what is held of them: what several steps of a pass look at, looked up once.
// Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "common/check.h"
#include "controller/core/state.h"

namespace trainyard::plan {

// A table by keys that rise: most are the next one, and need no search.
template <class Table>
class Walk {
 public:
  using Key = typename Table::key_type;
  explicit Walk(const Table& table) : x_table(table), x_next(table.begin()) {}
  // The first one that is not less. REQUIRES: the key is not less than the one before
  typename Table::const_iterator from(const Key& key) {
    constexpr int kSteps = 4;
    for (int step = 0; step < kSteps && x_next != x_table.end() && x_next->first < key; ++step) ++x_next;
    if (x_next != x_table.end() && x_next->first < key) x_next = x_table.lower_bound(key);
    return x_next;
  }
  // REQUIRES: there is such a row, and the key is not less than the one before
  const typename Table::mapped_type& at(const Key& key) {
    const auto found = from(key);
    TY_CHECK(found != x_table.end() && found->first == key);
    return found->second;
  }

 private:
  const Table& x_table;
  typename Table::const_iterator x_next;
};

// What can be given of a node, whatever holds it now.
struct Gives {
  std::uint32_t units = 1;  // see core::units_of
  bool in_service = true;   // as a whole, too
  bool parts = true;        // it has GPUs to give
};
// Of the nodes of a cluster, as the cluster's index says: where all are alike, nobody needs to look at their GPUs.
class Giving {
 public:
  Giving(const core::State& state, ClusterId cluster);
  Gives of(const core::Node& node) const;

 private:
  std::optional<std::uint32_t> x_gpus;  // of each of them
  bool x_faulty = true;                 // there may be some with faulty GPUs
};

// `state` outlives it and does not change meanwhile.
class Roster {
 public:
  struct Hold {
    const core::Holding* holding = nullptr;
    std::uint32_t units = 1;  // of the node
  };
  struct Row {
    const core::Node* node = nullptr;
    Gives gives = {};
    std::uint32_t first = 0, count = 0;  // of the holds
  };

  Roster(const core::State& state, ClusterId cluster) : x_state(&state), x_cluster(cluster) {}
  // Every node of the cluster, by id. The first call walks through three tables: O(nodes + what they hold).
  const std::vector<Row>& rows() const;
  // What is held of the node, by attempt: also by jobs that are gone.
  std::span<const Hold> holds(const Row& row) const { return std::span(x_holds).subspan(row.first, row.count); }

 private:
  const core::State* x_state;
  ClusterId x_cluster;
  mutable bool x_looked = false;
  mutable std::vector<Row> x_rows;
  mutable std::vector<Hold> x_holds;
};

// Of all clusters that somebody asks for.
class Rosters {
 public:
  explicit Rosters(const core::State& state) : x_state(state) {}
  // Valid as long as this is.
  const Roster& of(ClusterId cluster) const { return x_rosters.try_emplace(cluster, x_state, cluster).first->second; }

 private:
  const core::State& x_state;
  mutable std::map<ClusterId, Roster> x_rosters;
};

}  // namespace trainyard::plan
