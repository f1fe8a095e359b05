#include "controller/edge/launch_relay.h"

#include <fmt/format.h>

#include "controller/edge/agent_registry.h"
#include "proto/agent_convert.h"

namespace trainyard::controller {
namespace {

void answer(AgentStream& to, const v1::LaunchId& id, v1::LaunchStatus::State state, const std::string& message) {
  v1::ToAgent out;
  auto& status = *out.mutable_launch_status();
  *status.mutable_id() = id;
  status.set_state(state);
  status.set_message(message);
  to.send(std::move(out));
}

bool holds(const core::State& state, const std::string& node, AttemptId attempt) {
  const auto id = state.node_by_name.find(node);
  return id != state.node_by_name.end() && state.holdings.contains({id->second, attempt});
}

// The node of the attempt that mpirun names `host`: by its address, or by its name.
const core::Node* member_at(const core::State& state, AttemptId attempt, const std::string& host) {
  const auto held = state.job_holdings.find(attempt.job);
  if (held == state.job_holdings.end()) return nullptr;
  for (const core::HoldingKey& key : held->second) {
    if (key.second != attempt) continue;
    const auto node = state.nodes.find(key.first);
    if (node == state.nodes.end()) continue;
    if (node->second.inventory.address == host || node->second.name == host) return &node->second;
  }
  return nullptr;
}

}  // namespace

void LaunchRelay::call(std::shared_ptr<AgentStream> from, v1::LaunchCall call) {
  // Whatever the message says: a node asks for itself.
  call.mutable_id()->set_from_node(from->node());
  const v1::LaunchId id = call.id();
  const bool taken = x_context.loop.query([this, from, call = std::move(call)](const core::State& state, TimeMs) {
    const AttemptId attempt = from_proto(call.id().attempt());
    if (!holds(state, from->node(), attempt)) {
      return answer(
          *from, call.id(), v1::LaunchStatus::STATE_REFUSED,
          fmt::format("node {} does not hold attempt {} of job {}", from->node(), attempt.attempt, attempt.job.value));
    }
    const core::Node* target = member_at(state, attempt, call.to_host());
    if (target == nullptr) {
      return answer(*from, call.id(), v1::LaunchStatus::STATE_REFUSED,
                    fmt::format("no node of this attempt has the address {}", call.to_host()));
    }
    const auto stream = x_registry.find(target->name, target->epoch);
    if (!stream) {
      return answer(*from, call.id(), v1::LaunchStatus::STATE_UNREACHABLE,
                    fmt::format("node {} is not connected now", target->name));
    }
    v1::ToAgent out;
    *out.mutable_launch() = call;
    stream->send(std::move(out));
  });
  if (!taken) answer(*from, id, v1::LaunchStatus::STATE_UNREACHABLE, inbox_full().message);
}

void LaunchRelay::status(std::shared_ptr<AgentStream> from, v1::LaunchStatus status) {
  // Lost when the inbox is full or the asker is away: it asks again.
  (void)x_context.loop.query([this, from, status = std::move(status)](const core::State& state, TimeMs) {
    const AttemptId attempt = from_proto(status.id().attempt());
    const std::string& asker = status.id().from_node();
    if (!holds(state, from->node(), attempt) || !holds(state, asker, attempt)) return;
    const auto stream = x_registry.find(state, asker);
    if (!stream) return;
    v1::ToAgent out;
    *out.mutable_launch_status() = status;
    stream->send(std::move(out));
  });
}

}  // namespace trainyard::controller
