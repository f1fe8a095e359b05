#include "tests/support/simulator/network.h"

#include <algorithm>
#include <utility>

namespace trainyard::simulator {
namespace {

constexpr std::size_t kLateKept = 4;  // messages of one kind for the next life of an agent

}  // namespace

Network::Network(World& world, const Rates& rates, std::vector<std::unique_ptr<Machine>>& machines,
                 ControllerHost& controller)
    : x_world(world), x_rates(rates), x_machines(machines), x_controller(controller), x_random(world.random.fork()) {}

// ---- Connections ----

void Network::agent_started(NodeIndex node) {
  // Late orders: written to the stream of an earlier life, delivered to this one.
  for (Orders& orders : std::exchange(x_links[node].late_orders, {})) {
    // To the same epoch only what is older than the orders it knows: newer ones of a dead stream cannot come, since a
    // stream is read in order and ends with its connection.
    const Machine& machine = *x_machines[node];
    if (orders.node_epoch == machine.epoch() && orders.revision >= machine.agent_revision()) continue;
    const bool before_it_connects = x_random.chance(600);
    x_world.after(x_random.between(0, before_it_connects ? 40 : 3'000), [this, node, orders = std::move(orders)] {
      x_world.hit("fault late orders");
      deliver_down(node, orders);
    });
  }
  for (EventBody& report : std::exchange(x_links[node].late_reports, {})) {
    x_world.after(x_random.between(200, 15'000), [this, report = std::move(report)] {
      x_world.hit("fault late report");
      x_controller.post(report);
    });
  }
  keep_connecting(node);
}

void Network::agent_gone(NodeIndex node) {
  x_links[node].connection = 0;
}

void Network::keep_connecting(NodeIndex node) {
  if (std::exchange(x_links[node].connecting, true)) return;
  x_world.after(x_random.between(50, 1'500), [this, node] {
    Link& link = x_links[node];
    link.connecting = false;
    const Machine& machine = *x_machines[node];
    if (link.connection != 0 || !machine.agent_running()) return;
    if (!machine.agent_listens() || !x_controller.up() || link.up_cut || link.down_cut || link.clogged) {
      return keep_connecting(node);
    }
    link.connection = ++x_connections;
    link.controller_life = x_controller.life();
    x_world.note("connected", node, link.connection);
    x_machines[node]->input(agent::LinkUp{.wall_ms = x_world.now_ms()});
  });
}

void Network::break_connection(NodeIndex node, DurationMs noticed_after_ms) {
  x_world.after(noticed_after_ms, [this, node, connection = x_links[node].connection] {
    Link& link = x_links[node];
    if (connection == 0 || link.connection != connection) return;
    link.connection = 0;
    x_world.note("connection broken", node, connection);
    x_machines[node]->input(agent::LinkDown{});
    keep_connecting(node);
  });
}

void Network::controller_gone() {
  for (NodeIndex node = 0; node < x_links.size(); ++node) {
    const Link& link = x_links[node];
    if (link.connection != 0 && link.controller_life != x_controller.life())
      break_connection(node, x_random.between(0, 1'000));
  }
}

void Network::refused(NodeIndex node) {
  x_world.hit("agent refused");
  break_connection(node, x_random.between(1, 20));
}

// ---- Messages ----

void Network::carry(NodeIndex node, bool is_up, std::function<void()> deliver) {
  Link& link = x_links[node];
  if (is_up ? link.up_cut : link.down_cut) {
    // Lost for good: TCP would try again for a while, then the stream breaks.
    return break_connection(node, x_random.between(500, 15'000));
  }
  if (x_random.chance(x_rates.drop)) {
    x_world.hit("fault drop");
    return break_connection(node, x_random.between(0, 3'000));
  }
  if (link.clogged) return link.clogged_messages.push_back(std::move(deliver));
  DurationMs delay_ms = x_random.between(1, 4);
  if (x_random.chance(x_rates.delay)) {
    x_world.hit("fault delay");
    delay_ms += x_random.between(50, 8'000);
  }
  TimeMs& last_ms = is_up ? link.last_up_ms : link.last_down_ms;
  TimeMs at_ms = x_world.now_ms() + delay_ms;
  if (at_ms < last_ms && x_random.chance(x_rates.reorder)) {
    x_world.hit("fault reorder");
  } else {
    at_ms = last_ms = std::max(at_ms, last_ms);
  }
  if (x_random.chance(x_rates.duplicate)) {
    x_world.hit("fault duplicate");
    x_world.after(at_ms - x_world.now_ms() + x_random.between(0, 5'000), deliver);
  }
  x_world.after(at_ms - x_world.now_ms(), std::move(deliver));
}

void Network::up(NodeIndex node, EventBody body, bool full) {
  Link& link = x_links[node];
  if (link.connection == 0) return;
  if (full && link.late_reports.size() < kLateKept && x_random.chance(x_rates.late_reports)) {
    link.late_reports.push_back(body);
  }
  carry(node, true, [this, node, full, life = link.controller_life, body = std::move(body)] {
    if (life != x_controller.life()) return;                          // written to a process that is gone
    if (!x_controller.post(body) && full) break_connection(node, 1);  // a lost full report must not look like one taken
  });
}

void Network::down(NodeIndex node, std::variant<Orders, core::Acknowledge> message) {
  Link& link = x_links[node];
  if (link.connection == 0 || link.controller_life != x_controller.life()) return;
  if (std::holds_alternative<Orders>(message) && x_random.chance(x_rates.late_orders)) {
    if (link.late_orders.size() >= kLateKept) link.late_orders.erase(link.late_orders.begin());
    link.late_orders.push_back(std::get<Orders>(message));
  }
  carry(node, false, [this, node, connection = link.connection, message = std::move(message)] {
    if (connection == x_links[node].connection) deliver_down(node, message);
  });
}

void Network::deliver_down(NodeIndex node, const std::variant<Orders, core::Acknowledge>& message) {
  if (const auto* orders = std::get_if<Orders>(&message)) {
    x_machines[node]->input(agent::OrdersArrived{*orders});
  } else {
    x_machines[node]->input(agent::ReportAcknowledged{std::get<core::Acknowledge>(message).sequence});
  }
}

// ---- Faults ----

void Network::cut(NodeIndex node, bool up, bool down) {
  Link& link = x_links[node];
  link.up_cut = up;
  link.down_cut = down;
  if (up || down) break_connection(node, x_random.between(1'000, 20'000));
}

void Network::clog(NodeIndex node, bool clogged) {
  Link& link = x_links[node];
  link.clogged = clogged;
  if (clogged) return;
  for (auto& deliver : std::exchange(link.clogged_messages, {}))
    x_world.after(x_random.between(0, 50), std::move(deliver));
}

bool Network::open(NodeIndex node) const {
  const Link& link = x_links[node];
  return link.connection != 0 && !link.up_cut && !link.down_cut && !link.clogged && x_controller.up() &&
         link.controller_life == x_controller.life();
}

}  // namespace trainyard::simulator
