// The Exec service: commands and connections on nodes, and which nodes there are. Any thread.
#pragma once

#include "controller/edge/exec_bridge.h"
#include "trainyard/v1/exec.grpc.pb.h"

namespace trainyard::controller {

class ExecService final : public v1::Exec::CallbackService {
 public:
  ExecService(Context& context, ExecBridge& bridge) : x_context(context), x_bridge(bridge) {}
  grpc::ServerBidiReactor<v1::ExecRequest, v1::ExecReply>* ExecInJob(grpc::CallbackServerContext*) override;
  grpc::ServerBidiReactor<v1::ExecRequest, v1::ExecReply>* ExecOnNode(grpc::CallbackServerContext*) override;
  grpc::ServerUnaryReactor* ListJobNodes(grpc::CallbackServerContext*, const v1::JobName*,
                                         v1::ListExecNodesResponse*) override;
  grpc::ServerUnaryReactor* ListClusterNodes(grpc::CallbackServerContext*, const v1::ExecCluster*,
                                             v1::ListExecNodesResponse*) override;

 private:
  Context& x_context;
  ExecBridge& x_bridge;
};

}  // namespace trainyard::controller
