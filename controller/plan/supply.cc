#include "controller/plan/supply.h"

#include <utility>

namespace trainyard::plan {

Supply::Supply(const core::State& state, const core::Cluster& cluster, const Roster& roster) : x_roster(&roster) {
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

void Supply::count_places() const {
  if (std::exchange(x_counted, true)) return;
  for (const Roster::Row& row : x_roster->rows()) {
    const std::uint32_t place = x_places.number_of(row.node->inventory.topology);
    x_here.resize(std::max<std::size_t>(x_here.size(), place + 1));
    x_here[place].whole += row.gives.in_service ? 1 : 0;
    x_here[place].shared += row.node->drain ? 0 : 1;
  }
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
  count_places();
  Together together(gang_size(topology, least, least));
  const std::vector<std::int32_t>& domains = x_places.domains(topology);
  for (std::size_t place = 0; place < x_here.size(); ++place) {
    if (domains[place] == Places::kOut) continue;
    together.add(domains[place], whole ? x_here[place].whole : x_here[place].shared);
  }
  x_answers.push_back({topology, least, whole, together.nodes() > 0});
  return x_answers.back().possible;
}

}  // namespace trainyard::plan
