#include "controller/edge/edge.h"

#include "controller/edge/agents_service.h"
#include "controller/edge/clusters_service.h"
#include "controller/edge/containers_service.h"
#include "controller/edge/counter_keeper.h"
#include "controller/edge/exec_service.h"
#include "controller/edge/fence_runner.h"
#include "controller/edge/file_servers_service.h"
#include "controller/edge/jobs_service.h"
#include "controller/edge/translator_service.h"
#include "controller/edge/usages_service.h"
#include "controller/edge/volumes_service.h"

namespace trainyard::controller {

// In the order in which they need each other.
struct Edge::Parts {
  Parts(Loop& loop, storage::Store& store, const Config& config, secrets::Vault vault, CounterKeeper& counters)
      : context(loop, store, config, std::move(vault), counters),
        registry(context),
        acknowledger(context),
        relay(context, registry),
        watch(context),
        bridge(context, registry),
        exec_bridge(context, registry),
        fences(context),
        groups(context),
        workspaces(context),
        experiments(context),
        clusters(context, watch, bridge),
        nodes(context),
        jobs(context, watch, bridge),
        volumes(context, watch, bridge),
        file_servers(context),
        usages(context),
        exec(context, exec_bridge),
        translator(context),
        agents(context, registry, acknowledger, relay, bridge, exec_bridge) {
    watch.start();
  }
  ~Parts() {
    context.workers.stop();
    context.workers.join();
  }

  Context context;
  AgentRegistry registry;
  Acknowledger acknowledger;
  LaunchRelay relay;
  JobWatch watch;
  FileBridge bridge;
  ExecBridge exec_bridge;
  FenceRunner fences;
  GroupsService groups;
  WorkspacesService workspaces;
  ExperimentsService experiments;
  ClustersService clusters;
  NodesService nodes;
  JobsService jobs;
  VolumesService volumes;
  FileServersService file_servers;
  UsagesService usages;
  ExecService exec;
  TranslatorService translator;
  AgentsService agents;
};

Edge::Edge(Loop& loop, storage::Store& store, const Config& config, secrets::Vault vault, CounterKeeper& counters)
    : x_parts(std::make_unique<Parts>(loop, store, config, std::move(vault), counters)) {}
Edge::~Edge() = default;

std::vector<grpc::Service*> Edge::services() {
  Parts& of = *x_parts;
  return {&of.groups,  &of.workspaces,   &of.experiments, &of.clusters, &of.nodes,      &of.jobs,
          &of.volumes, &of.file_servers, &of.usages,      &of.exec,     &of.translator, &of.agents};
}

void Edge::reply(core::Ticket ticket, const Result<core::Subject>& result, const core::State& state, TimeMs now_ms) {
  if (const auto waiting = x_parts->context.tickets.give_back(ticket)) waiting->answer(result, state, now_ms);
}

void Edge::send_orders(const std::string& node_name, const Orders& orders) {
  const auto stream = x_parts->registry.find(node_name, orders.node_epoch);
  if (stream == nullptr) return;
  stream->heartbeat().close();
  stream->send_orders(orders);
}

void Edge::acknowledge(const core::Acknowledge& ack) {
  const auto stream = x_parts->registry.find(ack.node_name, ack.epoch);
  if (stream == nullptr) return;
  if (ack.settled_revision == 0) {
    stream->heartbeat().close();
  } else {
    x_parts->registry.settle(*stream, ack.settled_revision);
  }
  x_parts->acknowledger.push(stream, ack.sequence);
}

void Edge::refuse(const core::Refuse& refusal) {
  const auto stream = x_parts->registry.find(refusal.node_name, refusal.epoch);
  if (stream != nullptr) stream->refuse(refusal.error.message);
}

void Edge::run_fence(const core::RunFence& fence) {
  x_parts->fences.run(fence);
}

void Edge::publish(const core::TimelineLine& line) {
  x_parts->watch.changed(line);
}

std::vector<core::NodeHeard> Edge::take_heard(TimeMs now_ms) {
  return x_parts->registry.take_heard(now_ms);
}

}  // namespace trainyard::controller
