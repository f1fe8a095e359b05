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

std::uint64_t capacity_bytes(const FileServerSpec& spec) {
  return static_cast<std::uint64_t>(spec.disk_size_gb) * spec.disk_count << 30U;
}

std::vector<SealedValue> with_credentials(std::vector<SealedValue> secrets,
                                          const std::vector<SealedValue>& credentials) {
  secrets.insert(secrets.end(), credentials.begin(), credentials.end());
  return secrets;
}

}  // namespace

Orders orders_for(const State& state, NodeId id) {
  const Node& node = state.nodes.at(id);
  Orders orders{state.meta.store_generation, node.epoch, node.revision, "", {}};
  if (node.cluster && node.state != NodeState::leaving)
    orders.cluster = path_of(state, state.clusters.at(*node.cluster));
  for (const auto& [key, holding] : holdings_on(state, id)) {
    HoldingOrder order{holding.id, phase_of(state, holding), holding.member, holding.gpu_uuids, holding.lease_ms};
    if (order.phase == HoldingPhase::stop) {
      // A stale attempt gets no grace: its job may already run elsewhere.
      if (current(state, holding)) {
        const Job& job = state.jobs.at(holding.id.job);
        order.grace_ms = job.spec->recovery.grace_ms;
        if (job.verdict == Verdict::requeue && !job.cause.infrastructure)
          order.notice_ms = job.spec->recovery.notice_ms;
      }
    } else {
      order.launch = state.launches.at(holding.id.job);
      const Job& job = state.jobs.at(holding.id.job);
      order.secrets = with_credentials(job.spec->secrets, job.spec->credentials);
      order.image_digest = job.image_digest;
    }
    orders.holdings.push_back(std::move(order));
  }
  // A leaving node keeps its set-up for as long as a job may use it.
  const bool wanted = node.setup_run != 0 && (node.state != NodeState::leaving || !orders.holdings.empty());
  if (node.cluster && wanted) {
    const NodeSetup& setup = state.clusters.at(*node.cluster).spec.node_setup;
    orders.setup = SetupOrder{node.setup_run, state.setups.at(*node.cluster),
                              with_credentials(setup.task.secrets, setup.credentials)};
  }
  if (auto served = state.node_file_servers.find(node.name); served != state.node_file_servers.end()) {
    for (FileServerId server : served->second) {
      const FileServer& row = state.file_servers.at(server);
      orders.file_servers.push_back(
          {server.value, path_of(state, row), capacity_bytes(row.spec), row.state == Provisioning::deleting});
    }
  }
  return orders;
}

}  // namespace trainyard::core
