#include "controller/plan/roster.h"

#include <algorithm>
#include <utility>

namespace trainyard::plan {

Giving::Giving(const core::State& state, ClusterId cluster) {
  const auto offers = state.offers.find(cluster);
  if (offers == state.offers.end()) return;
  x_faulty = offers->second.faulty > 0;
  if (offers->second.by_gpus.size() == 1) x_gpus = offers->second.by_gpus.begin()->first;
}

Gives Giving::of(const core::Node& node) const {
  const std::uint32_t gpus = x_gpus ? *x_gpus : core::count_to_give(node.inventory);
  return {std::max(1U, gpus), x_faulty ? core::in_service(node) : !node.drain, gpus > 0};
}

const std::vector<Roster::Row>& Roster::rows() const {
  if (std::exchange(x_looked, true)) return x_rows;
  const auto members = x_state->cluster_nodes.find(x_cluster);
  if (members == x_state->cluster_nodes.end()) return x_rows;
  x_rows.reserve(members->second.size());
  x_holds.reserve(members->second.size());
  const Giving giving(*x_state, x_cluster);
  Walk nodes(x_state->nodes);
  Walk holdings(x_state->holdings);
  for (const NodeId id : members->second) {
    const core::Node& node = nodes.at(id);
    Row row{&node, giving.of(node), static_cast<std::uint32_t>(x_holds.size())};
    for (auto held = holdings.from({id, AttemptId{}}); held != x_state->holdings.end() && held->first.first == id;
         ++held, ++row.count) {
      const core::Holding& holding = held->second;
      const auto part = static_cast<std::uint32_t>(holding.gpu_uuids.size());
      x_holds.push_back({&holding, holding.shared ? part : row.gives.units});
    }
    x_rows.push_back(row);
  }
  return x_rows;
}

}  // namespace trainyard::plan
