// The Agents service: the streams that agents open. Any thread.
#pragma once

#include "controller/edge/acknowledger.h"
#include "controller/edge/exec_bridge.h"
#include "controller/edge/file_bridge.h"
#include "controller/edge/launch_relay.h"

namespace trainyard::controller {

class AgentsService final : public v1::Agents::CallbackService {
 public:
  AgentsService(Context& context, AgentRegistry& registry, Acknowledger& acknowledger, LaunchRelay& relay,
                FileBridge& bridge, ExecBridge& exec_bridge)
      : x_context(context),
        x_registry(registry),
        x_acknowledger(acknowledger),
        x_relay(relay),
        x_bridge(bridge),
        x_exec_bridge(exec_bridge) {}

  grpc::ServerBidiReactor<v1::FromAgent, v1::ToAgent>* Connect(grpc::CallbackServerContext* context) override {
    const auto stream =
        std::make_shared<AgentStream>(x_context, x_registry, x_acknowledger, x_relay, identity_of(*context));
    stream->start();
    return stream.get();
  }
  grpc::ServerBidiReactor<v1::FileReply, v1::FileRequest>* ServeFile(grpc::CallbackServerContext* context) override {
    const auto file = std::make_shared<AgentFile>(x_bridge, identity_of(*context));
    file->start();
    return file.get();
  }
  grpc::ServerBidiReactor<v1::ExecFromAgent, v1::ExecToAgent>* ServeExec(
      grpc::CallbackServerContext* context) override {
    return x_exec_bridge.accept_agent(identity_of(*context));
  }

 private:
  Context& x_context;
  AgentRegistry& x_registry;
  Acknowledger& x_acknowledger;
  LaunchRelay& x_relay;
  FileBridge& x_bridge;
  ExecBridge& x_exec_bridge;
};

}  // namespace trainyard::controller
