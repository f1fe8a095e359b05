// Parts of nodes: how much of a node can be given away, and which GPUs a job gets that takes a part.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "common/check.h"
#include "controller/core/engine.h"
#include "controller/core/setup.h"

namespace trainyard::core {

std::uint32_t units_of(const Node& node) {
  return std::max<std::uint32_t>(1, count_to_give(node.inventory));
}

std::optional<std::uint32_t> most_gpus(const State& state, ClusterId cluster) {
  const auto offers = state.offers.find(cluster);
  if (offers == state.offers.end()) return std::nullopt;
  return offers->second.by_gpus.rbegin()->first;
}

std::uint32_t units_of(const State& state, const Holding& holding) {
  return holding.shared ? static_cast<std::uint32_t>(holding.gpu_uuids.size()) : units_of(state.nodes.at(holding.node));
}

std::uint32_t shared_units(const State& state, const Node& node) {
  const bool in_parts =
      node.state == NodeState::running || (node.state == NodeState::idle && !in_service(node));  // a GPU is faulty
  if (!node.cluster || node.drain || !in_parts || !answers(node) || setup_failed(node)) return 0;
  std::set<std::string> free;
  for (std::string& uuid : gpus_to_give(node.inventory)) free.insert(std::move(uuid));
  for (const auto& [key, holding] : holdings_on(state, node.id)) {
    if (!holding.shared) return 0;
    for (const std::string& uuid : holding.gpu_uuids) free.erase(uuid);
  }
  return static_cast<std::uint32_t>(free.size());
}

namespace {

std::set<std::string> held_gpus(const State& state, NodeId node) {
  std::set<std::string> held;
  for (const auto& [key, holding] : holdings_on(state, node)) {
    held.insert(holding.gpu_uuids.begin(), holding.gpu_uuids.end());
  }
  return held;
}

}  // namespace

std::vector<std::string> choose_gpus(const State& state, const Node& node, std::uint32_t count) {
  const std::set<std::string> held = held_gpus(state, node.id);
  const std::vector<std::string> give = gpus_to_give(node.inventory);
  const auto is_free = [&](const Gpu& gpu) {
    return !held.contains(gpu.uuid) && std::find(give.begin(), give.end(), gpu.uuid) != give.end();
  };
  std::map<std::int32_t, std::vector<std::string>> near;  // what is free, by NUMA node
  for (const Gpu& gpu : node.inventory.gpus) {
    if (is_free(gpu)) near[gpu.numa_node].push_back(gpu.uuid);
  }
  // All near one memory, if that can be: there where the fewest are left over.
  const std::vector<std::string>* best = nullptr;
  for (const auto& [numa, free] : near) {
    if (free.size() >= count && (best == nullptr || free.size() < best->size())) best = &free;
  }
  std::vector<std::string> chosen;
  if (best != nullptr) chosen.assign(best->begin(), best->begin() + count);
  for (const Gpu& gpu : node.inventory.gpus) {
    if (chosen.size() == count) break;
    if (is_free(gpu)) chosen.push_back(gpu.uuid);
  }
  TY_CHECK(chosen.size() == count);
  return chosen;
}

}  // namespace trainyard::core
