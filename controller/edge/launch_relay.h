// Relays a launcher's request from one node of an attempt to another, and the state of the launch back. Keeps nothing:
// the asker sends what is unanswered again. Any thread; the work is done in queries on the loop's thread.
#pragma once

#include <memory>

#include "controller/edge/agent_stream.h"

namespace trainyard::controller {

class LaunchRelay {
 public:
  LaunchRelay(Context& context, AgentRegistry& registry) : x_context(context), x_registry(registry) {}

  // `from` asks for a process on the node of the same attempt that has the address `to_host`.
  void call(std::shared_ptr<AgentStream> from, v1::LaunchCall call);
  // `from` says how a launch that it was asked for stands.
  void status(std::shared_ptr<AgentStream> from, v1::LaunchStatus status);

 private:
  Context& x_context;
  AgentRegistry& x_registry;
};

}  // namespace trainyard::controller
