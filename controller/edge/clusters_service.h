// The Clusters and Nodes services. Handlers convert and post; any thread.
#pragma once

#include "controller/edge/context.h"
#include "controller/edge/file_users.h"
#include "trainyard/v1/clusters.grpc.pb.h"
#include "trainyard/v1/nodes.grpc.pb.h"

namespace trainyard::controller {

class ClustersService final : public v1::Clusters::CallbackService {
 public:
  ClustersService(Context& context, JobWatch& watch, FileBridge& bridge)
      : x_context(context), x_watch(watch), x_bridge(bridge) {}
  grpc::ServerUnaryReactor* CreateCluster(grpc::CallbackServerContext*, const v1::CreateClusterRequest*,
                                          v1::Cluster*) override;
  grpc::ServerUnaryReactor* GetCluster(grpc::CallbackServerContext*, const v1::GetClusterRequest*,
                                       v1::Cluster*) override;
  grpc::ServerUnaryReactor* ListClusters(grpc::CallbackServerContext*, const v1::ListClustersRequest*,
                                         v1::ListClustersResponse*) override;
  grpc::ServerUnaryReactor* ResizeCluster(grpc::CallbackServerContext*, const v1::ResizeClusterRequest*,
                                          v1::Cluster*) override;
  grpc::ServerUnaryReactor* AutoScaleCluster(grpc::CallbackServerContext*, const v1::AutoScaleClusterRequest*,
                                             v1::Cluster*) override;
  grpc::ServerUnaryReactor* ListClusterFiles(grpc::CallbackServerContext*, const v1::ListClusterFilesRequest*,
                                             v1::ListClusterFilesResponse*) override;
  grpc::ServerWriteReactor<v1::FileChunk>* ReadClusterFile(grpc::CallbackServerContext*,
                                                           const v1::ReadClusterFileRequest*) override;
  grpc::ServerUnaryReactor* DeleteCluster(grpc::CallbackServerContext*, const v1::DeleteClusterRequest*,
                                          v1::DeleteClusterResponse*) override;

 private:
  Context& x_context;
  JobWatch& x_watch;
  FileBridge& x_bridge;
};

class NodesService final : public v1::Nodes::CallbackService {
 public:
  explicit NodesService(Context& context) : x_context(context) {}
  grpc::ServerUnaryReactor* ListNodes(grpc::CallbackServerContext*, const v1::ListNodesRequest*,
                                      v1::ListNodesResponse*) override;
  grpc::ServerUnaryReactor* GetNode(grpc::CallbackServerContext*, const v1::GetNodeRequest*, v1::Node*) override;
  grpc::ServerUnaryReactor* FenceNode(grpc::CallbackServerContext*, const v1::FenceNodeRequest*, v1::Node*) override;
  grpc::ServerUnaryReactor* DrainNode(grpc::CallbackServerContext*, const v1::DrainNodeRequest*, v1::Node*) override;
  grpc::ServerUnaryReactor* UndrainNode(grpc::CallbackServerContext*, const v1::UndrainNodeRequest*,
                                        v1::Node*) override;
  grpc::ServerUnaryReactor* RecordNodeHealth(grpc::CallbackServerContext*, const v1::RecordNodeHealthRequest*,
                                             v1::Node*) override;
  grpc::ServerUnaryReactor* RepairNode(grpc::CallbackServerContext*, const v1::RepairNodeRequest*, v1::Node*) override;
  grpc::ServerUnaryReactor* CreateReservation(grpc::CallbackServerContext*, const v1::CreateReservationRequest*,
                                              v1::Reservation*) override;
  grpc::ServerUnaryReactor* ListReservations(grpc::CallbackServerContext*, const v1::ListReservationsRequest*,
                                             v1::ListReservationsResponse*) override;
  grpc::ServerUnaryReactor* DeleteReservation(grpc::CallbackServerContext*, const v1::DeleteReservationRequest*,
                                              v1::DeleteReservationResponse*) override;
  grpc::ServerUnaryReactor* GetNodeCounters(grpc::CallbackServerContext*, const v1::GetNodeCountersRequest*,
                                            v1::NodeCounters*) override;
  grpc::ServerUnaryReactor* GetJobCounters(grpc::CallbackServerContext*, const v1::GetJobCountersRequest*,
                                           v1::JobCounters*) override;

 private:
  Context& x_context;
};

}  // namespace trainyard::controller
