// Parts of nodes: how much of a node can be given away, and which GPUs a job gets that takes a part.
#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <span>
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

using Gpus = std::vector<const Gpu*>;
enum class Near { link, memory };

// By NVLink's islands, where a GPU without any is one of its own; or by NUMA nodes.
std::vector<Gpus> divide(const Gpus& gpus, Near near) {
  std::map<std::pair<std::int32_t, std::size_t>, Gpus> groups;
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    const bool alone = near == Near::link && gpus[i]->nvlink_island < 0;
    const std::int32_t group = near == Near::link ? gpus[i]->nvlink_island : gpus[i]->numa_node;
    groups[{group, alone ? i : 0}].push_back(gpus[i]);
  }
  std::vector<Gpus> out;
  for (auto& [key, group] : groups) out.push_back(std::move(group));
  return out;
}

std::size_t beside(const Gpus& free, const Gpu& gpu) {
  return static_cast<std::size_t>(
      std::count_if(free.begin(), free.end(), [&](const Gpu* other) { return other->numa_node == gpu.numa_node; }));
}

// The one that has so many, and of these the one where the fewest are left over: in it, then around it.
const Gpus* tightest(const std::vector<Gpus>& groups, std::uint32_t count, const Gpus& free) {
  const auto left = [&](const Gpus& group) { return std::pair(group.size(), beside(free, *group.front())); };
  const Gpus* best = nullptr;
  for (const Gpus& group : groups) {
    if (group.size() >= count && (best == nullptr || left(group) < left(*best))) best = &group;
  }
  return best;
}

// So many of them, from as few groups as can be, and within each by the next way of being near.
void take(const Gpus& gpus, std::uint32_t count, std::span<const Near> ways, const Gpus& free, Gpus& taken) {
  if (ways.empty() || count == gpus.size()) {
    taken.insert(taken.end(), gpus.begin(), gpus.begin() + count);
    return;
  }
  std::vector<Gpus> groups = divide(gpus, ways.front());
  while (count > 0) {
    const Gpus* found = tightest(groups, count, free);
    const auto larger = [](const Gpus& a, const Gpus& b) { return a.size() < b.size(); };
    const auto group = found != nullptr ? groups.begin() + (found - groups.data())
                                        : std::max_element(groups.begin(), groups.end(), larger);
    const std::uint32_t some = std::min(count, static_cast<std::uint32_t>(group->size()));
    take(*group, some, ways.subspan(1), free, taken);
    groups.erase(group);
    count -= some;
  }
}

}  // namespace

// On one island of NVLink, else near one memory, if that can be: there where the fewest are left over.
std::vector<std::string> choose_gpus(const State& state, const Node& node, std::uint32_t count) {
  const std::set<std::string> held = held_gpus(state, node.id);
  const std::vector<std::string> give = gpus_to_give(node.inventory);
  const auto is_free = [&](const Gpu& gpu) {
    return !held.contains(gpu.uuid) && std::find(give.begin(), give.end(), gpu.uuid) != give.end();
  };
  Gpus free, taken;
  for (const Gpu& gpu : node.inventory.gpus) {
    if (is_free(gpu)) free.push_back(&gpu);
  }
  TY_CHECK(free.size() >= count);
  constexpr std::array ways{Near::memory, Near::link, Near::memory};
  const auto islands = divide(free, Near::link);
  const Gpus* island = tightest(islands, count, free);
  take(island != nullptr ? *island : free, count, std::span(ways).subspan(island != nullptr ? 2 : 0), free, taken);
  std::vector<std::string> chosen;  // in the node's order
  for (const Gpu* gpu : free) {
    if (std::find(taken.begin(), taken.end(), gpu) != taken.end()) chosen.push_back(gpu->uuid);
  }
  TY_CHECK(chosen.size() == count);
  return chosen;
}

}  // namespace trainyard::core
