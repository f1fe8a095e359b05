#include "controller/core/core.h"
#include "controller/core/engine.h"

namespace trainyard::core {

namespace {

HoldingPhase phase_of(const State& state, const Holding& holding) {
  if (holding.stop_ordered || !current(state, holding)) return HoldingPhase::stop;
  switch (state.jobs.at(holding.id.job).state) {
    case JobState::preparing:
      return HoldingPhase::prepare;
    case JobState::starting:
    case JobState::running:
      return HoldingPhase::run;
    default:
      return HoldingPhase::stop;
  }
}

}  // namespace

Orders orders_for(const State& state, NodeId id) {
  const Node& node = state.nodes.at(id);
  Orders orders{state.meta.store_generation, node.epoch, node.revision, "", {}};
  if (node.cluster && node.state != NodeState::leaving)
    orders.cluster = path_of(state, state.clusters.at(*node.cluster));
  for (auto it = state.holdings.lower_bound({id, AttemptId{}}); it != state.holdings.end() && it->first.first == id;
       ++it) {
    const Holding& holding = it->second;
    HoldingOrder order{holding.id, phase_of(state, holding), holding.member, holding.gpu_uuids, holding.lease_ms};
    if (order.phase == HoldingPhase::stop) {
      // A stale attempt gets no grace: its job may already run elsewhere.
      if (current(state, holding)) order.grace_ms = state.jobs.at(holding.id.job).spec->recovery.grace_ms;
    } else {
      order.launch = state.launches.at(holding.id.job);
      order.secrets = state.jobs.at(holding.id.job).spec->secrets;
    }
    orders.holdings.push_back(std::move(order));
  }
  // A leaving node keeps its set-up for as long as a job may use it.
  const bool wanted = node.setup_run != 0 && (node.state != NodeState::leaving || !orders.holdings.empty());
  if (node.cluster && wanted) {
    orders.setup = SetupOrder{node.setup_run, state.setups.at(*node.cluster),
                              state.clusters.at(*node.cluster).spec.node_setup.task.secrets};
  }
  return orders;
}

}  // namespace trainyard::core
