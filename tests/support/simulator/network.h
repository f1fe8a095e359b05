// Streams between machines and controller, with everything that networks do to them: each direction can be cut,
// clogged, slow; messages can be lost (the stream breaks then, as TCP's does), doubled, overtaken, or kept and
// delivered to a later life of the agent.
#pragma once

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "tests/support/simulator/controller_host.h"
#include "tests/support/simulator/machine.h"
#include "tests/support/simulator/world.h"

namespace trainyard::simulator {

class Network {
 public:
  // `machines` and `controller` must outlive the network; both may be filled after it is built.
  Network(World& world, const Rates& rates, std::vector<std::unique_ptr<Machine>>& machines,
          ControllerHost& controller);

  void add_node() { x_links.emplace_back(); }
  void agent_started(NodeIndex node);
  void agent_gone(NodeIndex node);
  void controller_gone();
  void up(NodeIndex node, EventBody body, bool full);
  void down(NodeIndex node, std::variant<Orders, core::Acknowledge> message);
  void refused(NodeIndex node);

  void cut(NodeIndex node, bool up, bool down);  // each direction: cut or open
  void clog(NodeIndex node, bool clogged);       // messages wait instead of being lost
  bool open(NodeIndex node) const;               // both directions pass: a launch can be relayed

 private:
  struct Link {
    bool up_cut = false, down_cut = false, clogged = false, connecting = false;
    std::uint64_t connection = 0;       // 0: none
    std::uint64_t controller_life = 0;  // of the connection
    TimeMs last_up_ms = 0, last_down_ms = 0;
    std::vector<std::function<void()>> clogged_messages;
    std::vector<Orders> late_orders;      // kept for the agent's next life
    std::vector<EventBody> late_reports;  // kept until the agent's next life has spoken
  };
  void keep_connecting(NodeIndex node);
  void break_connection(NodeIndex node, DurationMs noticed_after_ms);
  void carry(NodeIndex node, bool is_up, std::function<void()> deliver);
  void deliver_down(NodeIndex node, const std::variant<Orders, core::Acknowledge>& message);

  World& x_world;
  const Rates& x_rates;
  std::vector<std::unique_ptr<Machine>>& x_machines;
  ControllerHost& x_controller;
  Random x_random;
  std::vector<Link> x_links;
  std::uint64_t x_connections = 0;
};

}  // namespace trainyard::simulator
