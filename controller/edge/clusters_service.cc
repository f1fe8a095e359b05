#include "controller/edge/clusters_service.h"

#include "controller/core/lookup.h"
#include "controller/edge/fill.h"
#include "controller/edge/job_files.h"
#include "controller/edge/secret_values.h"

namespace trainyard::controller {
namespace {

using Body = Result<core::CommandBody>;

template <class Request>
core::ClusterRef cluster_of(const Request& request) {
  return {request.resource_group(), request.workspace(), request.name()};
}

// File operations below the directory of the cluster's set-up task.
FindBelow find_in_setup(const core::ClusterRef& ref) {
  return [ref](const core::State& state, const std::string& path, v1::FileOperation::Kind kind) -> Result<FileTarget> {
    const auto id = core::find_cluster(state, ref);
    if (!id) return id.error();
    const core::Cluster& cluster = state.clusters.at(*id);
    const auto place = setup_directory(cluster);
    if (!place) return place.error();
    FileTarget target = target_below({core::with_addresses(state, {place->volume})[0], place->path}, path, kind);
    add_credential(cluster.spec.node_setup.credentials, place->volume, ref.group + "/" + ref.workspace, target);
    return target;
  };
}

}  // namespace

grpc::ServerUnaryReactor* ClustersService::CreateCluster(grpc::CallbackServerContext* context,
                                                         const v1::CreateClusterRequest* request,
                                                         v1::Cluster* response) {
  const std::string workspace = request->resource_group() + "/" + request->workspace();
  const auto body = [&]() -> Body {
    if (auto ok = check_all({check_group_name("resourceGroup", request->resource_group()),
                             check_name("workspace", request->workspace()), check_name("name", request->name())});
        !ok) {
      return ok.error();
    }
    auto spec = from_proto(request->spec(), {request->resource_group(), request->workspace()});
    if (!spec) return spec.error();
    const Status allowed = check_unmanaged(x_context.config, "nodeSetup.", spec->node_setup.unmanaged_mounts.empty());
    if (!allowed) return allowed.error();
    seal(x_context.vault, workspace, request->spec().node_setup(), spec->node_setup);
    return core::CommandBody(core::CreateCluster{cluster_of(*request), std::move(spec).value(), random_uuid()});
  };
  if (!has_secrets(request->spec().node_setup())) {
    return x_context.command(context, request, Context::Work::adds, body(), fill<ClusterId>(response));
  }
  v1::CreateClusterRequest kept = *request;
  redact(x_context.vault, workspace, *kept.mutable_spec()->mutable_node_setup());
  return x_context.command(context, &kept, Context::Work::adds, body(), fill<ClusterId>(response));
}

grpc::ServerUnaryReactor* ClustersService::GetCluster(grpc::CallbackServerContext* context,
                                                      const v1::GetClusterRequest* request, v1::Cluster* response) {
  return x_context.read(context, [request, response](const core::State& state, TimeMs) {
    return answer(state, core::find_cluster(state, cluster_of(*request)), *response);
  });
}

grpc::ServerUnaryReactor* ClustersService::ListClusters(grpc::CallbackServerContext* context,
                                                        const v1::ListClustersRequest* request,
                                                        v1::ListClustersResponse* response) {
  return list_in_workspace(x_context, context, request, response, &core::State::cluster_by_path,
                           [response] { return response->add_clusters(); });
}

grpc::ServerUnaryReactor* ClustersService::ResizeCluster(grpc::CallbackServerContext* context,
                                                         const v1::ResizeClusterRequest* request,
                                                         v1::Cluster* response) {
  const auto body = [&]() -> Body {
    const auto target = node_target_from_proto(request->target_node_count());
    if (!target) return target.error();
    const auto option = from_proto(request->node_deallocation_option());
    if (!option) return option.error();
    return core::CommandBody(core::ResizeCluster{cluster_of(*request), *target, *option});
  };
  return x_context.command(context, request, Context::Work::ends, body(), fill<ClusterId>(response));
}

grpc::ServerUnaryReactor* ClustersService::AutoScaleCluster(grpc::CallbackServerContext* context,
                                                            const v1::AutoScaleClusterRequest* request,
                                                            v1::Cluster* response) {
  const auto body = [&]() -> Body {
    if (!request->has_auto_scale()) {
      return Error{Code::invalid_argument, "properties.scaleSettings.autoScale: is missing"};
    }
    if (request->auto_scale().initial_node_count() != 0) {
      return Error{Code::invalid_argument,
                   "properties.scaleSettings.autoScale.initialNodeCount: counts at the creation only; leave it out"};
    }
    const auto scale = from_proto(request->auto_scale());
    if (!scale) return scale.error();
    core::AutoScaleCluster command{cluster_of(*request), scale->minimum, scale->maximum};
    if (request->auto_scale().has_idle_time_before_scale_down()) {
      command.idle_before_scale_down_ms = scale->idle_before_scale_down_ms;
    }
    return core::CommandBody(std::move(command));
  };
  return x_context.command(context, request, Context::Work::ends, body(), fill<ClusterId>(response));
}

grpc::ServerUnaryReactor* ClustersService::ListClusterFiles(grpc::CallbackServerContext* context,
                                                            const v1::ListClusterFilesRequest* request,
                                                            v1::ListClusterFilesResponse* response) {
  return list_below(x_bridge, context, request->path(), find_in_setup(cluster_of(*request)), response->mutable_files());
}

grpc::ServerWriteReactor<v1::FileChunk>* ClustersService::ReadClusterFile(grpc::CallbackServerContext*,
                                                                          const v1::ReadClusterFileRequest* request) {
  return read_below(x_bridge, x_watch, request->path(), request->offset(), find_in_setup(cluster_of(*request)), {});
}

grpc::ServerUnaryReactor* ClustersService::DeleteCluster(grpc::CallbackServerContext* context,
                                                         const v1::DeleteClusterRequest* request,
                                                         v1::DeleteClusterResponse*) {
  core::CommandBody body = core::DeleteCluster{cluster_of(*request)};
  return x_context.command(context, request, Context::Work::ends, std::move(body), fill_nothing());
}

// ---- Nodes ----

grpc::ServerUnaryReactor* NodesService::ListNodes(grpc::CallbackServerContext* context,
                                                  const v1::ListNodesRequest* request,
                                                  v1::ListNodesResponse* response) {
  return x_context.read(context, [request, response](const core::State& state, TimeMs now_ms) {
    std::optional<ClusterId> only;
    if (!request->cluster().empty()) {
      const auto parts = split(request->cluster(), '/');
      if (parts.size() != 3) {
        return to_grpc({Code::invalid_argument, "cluster: must look like group/workspace/cluster"});
      }
      const auto id = core::find_cluster(state, {std::string(parts[0]), std::string(parts[1]), std::string(parts[2])});
      if (!id) return to_grpc(id.error());
      only = *id;
    }
    for (const auto& [name, id] : state.node_by_name) {
      if (!only || state.nodes.at(id).cluster == only) show(state, id, now_ms, *response->add_nodes());
    }
    return grpc::Status::OK;
  });
}

grpc::ServerUnaryReactor* NodesService::GetNode(grpc::CallbackServerContext* context, const v1::GetNodeRequest* request,
                                                v1::Node* response) {
  return x_context.read(context, [request, response](const core::State& state, TimeMs now_ms) {
    const auto id = core::find_node(state, request->name());
    if (!id) return to_grpc(id.error());
    show(state, *id, now_ms, *response);
    return grpc::Status::OK;
  });
}

grpc::ServerUnaryReactor* NodesService::FenceNode(grpc::CallbackServerContext* context,
                                                  const v1::FenceNodeRequest* request, v1::Node* response) {
  core::CommandBody body = core::FenceNode{request->name(), request->confirmed_off()};
  return x_context.command(context, request, Context::Work::ends, std::move(body), fill<NodeId>(response));
}

grpc::ServerUnaryReactor* NodesService::RepairNode(grpc::CallbackServerContext* context,
                                                   const v1::RepairNodeRequest* request, v1::Node* response) {
  core::CommandBody body = core::RepairNode{request->name()};
  return x_context.command(context, request, Context::Work::ends, std::move(body), fill<NodeId>(response));
}

grpc::ServerUnaryReactor* NodesService::DrainNode(grpc::CallbackServerContext* context,
                                                  const v1::DrainNodeRequest* request, v1::Node* response) {
  core::CommandBody body = core::DrainNode{request->name(), request->reason(), request->requeue(), request->cordon()};
  return x_context.command(context, request, Context::Work::ends, std::move(body), fill<NodeId>(response));
}

grpc::ServerUnaryReactor* NodesService::UndrainNode(grpc::CallbackServerContext* context,
                                                    const v1::UndrainNodeRequest* request, v1::Node* response) {
  core::CommandBody body = core::UndrainNode{request->name()};
  return x_context.command(context, request, Context::Work::ends, std::move(body), fill<NodeId>(response));
}

grpc::ServerUnaryReactor* NodesService::RecordNodeHealth(grpc::CallbackServerContext* context,
                                                         const v1::RecordNodeHealthRequest* request,
                                                         v1::Node* response) {
  core::RecordNodeHealth health{request->name(), request->passed(), request->summary(), {}};
  for (const auto& figure : request->figures()) health.figures.push_back({figure.name(), figure.value()});
  core::CommandBody body = std::move(health);
  return x_context.command(context, request, Context::Work::ends, std::move(body), fill<NodeId>(response));
}

}  // namespace trainyard::controller
