// The controller's outside: all services, and the loop's outbox. Services run on gRPC's threads and keep no state; the
// outbox is called on the loop's thread, after the commit.
#pragma once

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

class Edge final : public Outbox {
 public:
  Edge(Loop& loop, storage::Store& store, const Config& config, secrets::Vault vault, CounterKeeper& counters)
      : x_context(loop, store, config, std::move(vault), counters),
        x_registry(x_context),
        x_acknowledger(x_context),
        x_relay(x_context, x_registry),
        x_watch(x_context),
        x_bridge(x_context, x_registry),
        x_exec_bridge(x_context, x_registry),
        x_fences(x_context),
        x_groups(x_context),
        x_workspaces(x_context),
        x_experiments(x_context),
        x_clusters(x_context, x_watch, x_bridge),
        x_nodes(x_context),
        x_jobs(x_context, x_watch, x_bridge),
        x_volumes(x_context, x_watch, x_bridge),
        x_file_servers(x_context),
        x_usages(x_context),
        x_exec(x_context, x_exec_bridge),
        x_translator(x_context),
        x_agents(x_context, x_registry, x_acknowledger, x_relay, x_bridge, x_exec_bridge) {
    x_watch.start();
  }
  // After the server has shut down: nothing of a call is left then.
  ~Edge() override {
    x_context.workers.stop();
    x_context.workers.join();
  }

  std::vector<grpc::Service*> services() {
    return {&x_groups,  &x_workspaces,   &x_experiments, &x_clusters, &x_nodes,      &x_jobs,
            &x_volumes, &x_file_servers, &x_usages,      &x_exec,     &x_translator, &x_agents};
  }

  void reply(core::Ticket ticket, const Result<core::Subject>& result, const core::State& state,
             TimeMs now_ms) override {
    if (const auto waiting = x_context.tickets.give_back(ticket)) waiting->answer(result, state, now_ms);
  }
  void send_orders(const std::string& node_name, const Orders& orders) override {
    const auto stream = x_registry.find(node_name, orders.node_epoch);
    if (stream == nullptr) return;
    stream->heartbeat().close();
    stream->send_orders(orders);
  }
  void acknowledge(const core::Acknowledge& ack) override {
    const auto stream = x_registry.find(ack.node_name, ack.epoch);
    if (stream == nullptr) return;
    stream->heartbeat().close();
    if (ack.settled_revision != 0) x_registry.settle(*stream, ack.settled_revision);
    x_acknowledger.push(stream, ack.sequence);
  }
  void refuse(const core::Refuse& refusal) override {
    if (const auto stream = x_registry.find(refusal.node_name, refusal.epoch)) stream->refuse(refusal.error.message);
  }
  void run_fence(const core::RunFence& fence) override { x_fences.run(fence); }
  void publish(const core::TimelineLine& line) override { x_watch.changed(line); }
  std::vector<core::NodeHeard> take_heard(TimeMs now_ms) override { return x_registry.take_heard(now_ms); }

 private:
  Context x_context;
  AgentRegistry x_registry;
  Acknowledger x_acknowledger;
  LaunchRelay x_relay;
  JobWatch x_watch;
  FileBridge x_bridge;
  ExecBridge x_exec_bridge;
  FenceRunner x_fences;
  GroupsService x_groups;
  WorkspacesService x_workspaces;
  ExperimentsService x_experiments;
  ClustersService x_clusters;
  NodesService x_nodes;
  JobsService x_jobs;
  VolumesService x_volumes;
  FileServersService x_file_servers;
  UsagesService x_usages;
  ExecService x_exec;
  TranslatorService x_translator;
  AgentsService x_agents;
};

}  // namespace trainyard::controller
