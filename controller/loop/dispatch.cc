#include "controller/loop/dispatch.h"

namespace trainyard::controller {

namespace {

struct Speaker {
  const core::State& state;
  TimeMs now_ms;
  Outbox& outbox;

  void operator()(const core::Reply& reply) const { outbox.reply(reply.ticket, reply.result, state, now_ms); }
  void operator()(const core::SendOrders& send) const {
    // The node may be gone by the end of its batch: nobody is left to hear.
    const auto node = state.nodes.find(send.node);
    if (node != state.nodes.end()) outbox.send_orders(node->second.name, core::orders_for(state, send.node));
  }
  void operator()(const core::Acknowledge& acknowledge) const { outbox.acknowledge(acknowledge); }
  void operator()(const core::Refuse& refuse) const { outbox.refuse(refuse); }
  void operator()(const core::RunFence& fence) const { outbox.run_fence(fence); }
  void operator()(const core::Publish& publish) const { outbox.publish(publish.line); }
};

}  // namespace

void dispatch(const std::vector<core::Action>& actions, const core::State& state, TimeMs now_ms, Outbox& outbox) {
  const Speaker speaker{state, now_ms, outbox};
  for (const core::Action& action : actions) std::visit(speaker, action);
}

}  // namespace trainyard::controller
