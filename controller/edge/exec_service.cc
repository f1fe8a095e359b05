#include "controller/edge/exec_service.h"

#include <fmt/format.h>

#include "controller/core/lookup.h"
#include "controller/core/view.h"

namespace trainyard::controller {
namespace {

// Head first: the members of the job's newest attempt that still hold it.
std::map<std::uint32_t, NodeId> members_of(const core::State& state, const core::Job& job) {
  std::map<std::uint32_t, NodeId> members;
  const auto held = state.job_holdings.find(job.id);
  if (held == state.job_holdings.end()) return members;
  for (const core::HoldingKey& key : held->second) {
    if (key.second.attempt == job.attempt) members[state.holdings.at(key).member] = key.first;
  }
  return members;
}

std::vector<NodeId> nodes_of(const core::State& state, const core::Job& job) {
  std::vector<NodeId> nodes;
  for (const auto& [member, node] : members_of(state, job)) nodes.push_back(node);
  return nodes;
}

// In the order of their names.
std::vector<NodeId> nodes_of(const core::State& state, ClusterId cluster) {
  std::map<std::string, NodeId> by_name;
  const auto found = state.cluster_nodes.find(cluster);
  if (found == state.cluster_nodes.end()) return {};
  for (const NodeId id : found->second) by_name[state.nodes.at(id).name] = id;
  std::vector<NodeId> nodes;
  for (const auto& [name, id] : by_name) nodes.push_back(id);
  return nodes;
}

v1::ExecNode describe(const core::State& state, const AgentRegistry& registry, NodeId id) {
  const core::Node& node = state.nodes.at(id);
  v1::ExecNode out;
  out.set_node_id(node.name);
  out.set_ip_address(node.inventory.address);
  out.set_reachable(node.live.reachable && registry.find(state, node.name) != nullptr);
  return out;
}

// Fills in everything but the job. `of` names the nodes' owner in messages: "job x", "cluster c".
Result<ExecTarget> choose(const core::State& state, const AgentRegistry& registry, const v1::ExecStart& start,
                          const std::vector<NodeId>& nodes, const std::string& of) {
  std::string names;
  for (const NodeId id : nodes) {
    const std::string& name = state.nodes.at(id).name;
    names += (names.empty() ? "" : ", ") + name;
    if (!start.node().empty() && name != start.node()) continue;
    ExecTarget target{.order = {}, .node = describe(state, registry, id), .stream = registry.find(state, name)};
    if (!target.stream) {
      return Error{Code::unavailable,
                   fmt::format("node {} is not connected to the controller now: try again, or another node", name)};
    }
    if (start.has_connect()) *target.order.mutable_connect() = start.connect();
    target.order.set_command(start.command());
    if (start.has_terminal()) *target.order.mutable_terminal() = start.terminal();
    return target;
  }
  if (nodes.empty()) return Error{Code::failed_precondition, of + " has no node now"};
  return Error{Code::not_found, fmt::format("node {} is not one of {}: it has {}", start.node(), of, names)};
}

Result<ExecTarget> find_in_job(const core::State& state, const AgentRegistry& registry, const v1::ExecStart& start) {
  if (!start.has_job()) return Error{Code::invalid_argument, "job: is missing"};
  const v1::JobName& name = start.job();
  const auto id = core::find_job(state, {name.resource_group(), name.workspace(), name.experiment(), name.name()});
  if (!id) return id.error();
  const core::Job& job = state.jobs.at(*id);
  if (job.state != core::JobState::starting && job.state != core::JobState::running) {
    const bool over = core::terminal(job.state) || job.state == core::JobState::stopping;
    return Error{Code::failed_precondition,
                 fmt::format("job {} is {}: a command can run in it only while it runs{}", job.name,
                             core::view(state, job).phase, over ? "; its files are still there" : "")};
  }
  auto target = choose(state, registry, start, nodes_of(state, job), "job " + job.name);
  if (!target) return target.error();
  target->order.set_job(job.id.value);
  target->order.set_attempt(job.attempt);
  target->job = core::JobRef{name.resource_group(), name.workspace(), name.experiment(), name.name()};
  return target;
}

Result<ExecTarget> find_in_cluster(const core::State& state, const AgentRegistry& registry,
                                   const v1::ExecStart& start) {
  if (!start.has_cluster()) return Error{Code::invalid_argument, "cluster: is missing"};
  const v1::ExecCluster& name = start.cluster();
  const auto id = core::find_cluster(state, {name.resource_group(), name.workspace(), name.name()});
  if (!id) return id.error();
  return choose(state, registry, start, nodes_of(state, *id), "cluster " + name.name());
}

}  // namespace

grpc::ServerBidiReactor<v1::ExecRequest, v1::ExecReply>* ExecService::ExecInJob(grpc::CallbackServerContext* context) {
  return x_bridge.accept_user(principal_of(*context), [this](const core::State& state, const v1::ExecStart& start) {
    return find_in_job(state, x_bridge.registry, start);
  });
}

grpc::ServerBidiReactor<v1::ExecRequest, v1::ExecReply>* ExecService::ExecOnNode(grpc::CallbackServerContext* context) {
  return x_bridge.accept_user(principal_of(*context), [this](const core::State& state, const v1::ExecStart& start) {
    return find_in_cluster(state, x_bridge.registry, start);
  });
}

grpc::ServerUnaryReactor* ExecService::ListJobNodes(grpc::CallbackServerContext* context, const v1::JobName* request,
                                                    v1::ListExecNodesResponse* response) {
  return x_context.read(context, [this, request, response](const core::State& state, TimeMs) {
    const auto id = core::find_job(
        state, {request->resource_group(), request->workspace(), request->experiment(), request->name()});
    if (!id) return to_grpc(id.error());
    for (const NodeId node : nodes_of(state, state.jobs.at(*id))) {
      *response->add_nodes() = describe(state, x_bridge.registry, node);
    }
    return grpc::Status::OK;
  });
}

grpc::ServerUnaryReactor* ExecService::ListClusterNodes(grpc::CallbackServerContext* context,
                                                        const v1::ExecCluster* request,
                                                        v1::ListExecNodesResponse* response) {
  return x_context.read(context, [this, request, response](const core::State& state, TimeMs) {
    const auto id = core::find_cluster(state, {request->resource_group(), request->workspace(), request->name()});
    if (!id) return to_grpc(id.error());
    for (const NodeId node : nodes_of(state, *id)) {
      *response->add_nodes() = describe(state, x_bridge.registry, node);
    }
    return grpc::Status::OK;
  });
}

}  // namespace trainyard::controller
