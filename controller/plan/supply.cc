#include "controller/plan/supply.h"

#include <algorithm>

namespace trainyard::plan {

Supply::Supply(const core::State& state, const core::Cluster& cluster) : x_state(&state), x_cluster(cluster.id) {
  const std::uint32_t capacity = core::capacity_of(cluster.spec);
  const auto without = [&](std::uint32_t some) { return capacity - std::min(capacity, some); };
  x_whole = x_shared = x_containers = capacity;
  const auto offers = state.offers.find(cluster.id);
  if (offers == state.offers.end()) return;
  x_complete = state.cluster_nodes.at(cluster.id).size() >= capacity;
  x_whole = without(offers->second.drained + offers->second.faulty);
  x_shared = without(offers->second.drained);
  x_containers = without(offers->second.no_containers);
  x_most_gpus = core::most_gpus(state, cluster.id);
}

bool Supply::possible(const core::Job& job) const {
  const JobSpec& spec = *job.spec;
  const std::uint32_t least = core::least_nodes(spec);
  return least <= (spec.gpus_per_node == 0 ? x_whole : x_shared) &&
         (job.mapping.container_image.empty() || least <= x_containers) &&
         x_most_gpus.value_or(spec.gpus_per_node) >= spec.gpus_per_node &&
         (!insists(&spec.topology) || lies_together(job));
}

// Nodes that are still to come may lie anywhere.
bool Supply::lies_together(const core::Job& job) const {
  if (!x_complete) return true;
  const Topology& topology = job.spec->topology;
  const std::uint32_t least = core::least_nodes(*job.spec);
  const bool whole = job.spec->gpus_per_node == 0;
  for (const Answer& known : x_answers) {
    if (known.least == least && known.whole == whole && known.topology == topology) return known.possible;
  }
  Places places;
  std::vector<std::uint32_t> counts;  // by place
  for (const NodeId id : x_state->cluster_nodes.at(x_cluster)) {
    const core::Node& node = x_state->nodes.at(id);
    if (whole ? !core::in_service(node) : node.drain.has_value()) continue;
    const std::uint32_t place = places.number_of(node.inventory.topology);
    counts.resize(std::max<std::size_t>(counts.size(), place + 1));
    ++counts[place];
  }
  Together together(gang_size(topology, least, least));
  const std::vector<std::int32_t>& domains = places.domains(topology);
  for (std::size_t place = 0; place < counts.size(); ++place) {
    if (domains[place] != Places::kOut) together.add(domains[place], counts[place]);
  }
  x_answers.push_back({topology, least, whole, together.nodes() > 0});
  return x_answers.back().possible;
}

}  // namespace trainyard::plan
