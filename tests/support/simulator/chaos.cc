#include "tests/support/simulator/chaos.h"

#include <algorithm>
#include <utility>

namespace trainyard::simulator {
namespace {

// The agent alone may be away for at most this long: the kill time that the controller adds to a lease (60 s in the
// simulator) has to cover it, and so does the real one. A whole machine may be frozen for any time.
constexpr DurationMs kAgentAwayMs = 20'000;
constexpr DurationMs kAgentRestMs = 5'000;

}  // namespace

Chaos::Chaos(World& world, Rates& rates, std::vector<std::unique_ptr<Machine>>& machines, Network& network,
             ControllerHost& controller, Users& users)
    : x_world(world),
      x_rates(rates),
      x_machines(machines),
      x_network(network),
      x_controller(controller),
      x_users(users),
      x_random(world.random.fork()) {}

void Chaos::start() {
  const auto roughness = static_cast<std::uint32_t>(x_random.between(1, 4));
  x_rates = {.drop = 2 * roughness,
             .duplicate = 10 * roughness,
             .delay = 10 * roughness,
             .reorder = 200 * roughness,
             .late_orders = 40 * roughness,
             .late_reports = 20 * roughness,
             .agent_crash_in_step = roughness,
             .controller_crash_in_dispatch = x_world.options.nodes > 1'000 ? 0 : roughness,
             .slow_commit = roughness,
             .preparation_fails = 10 * roughness,
             .user_fails = 100,
             .slow_kill = 10,
             .preparation_hangs = 2,
             .setup_fails = 50,
             .setup_breaks = 100,
             .file_server_fails = 50,
             .file_server_dies = 300};
  // About one fault for each node in five to twenty minutes.
  x_gap_ms = std::max<std::int64_t>(10, 1'200'000 / roughness / x_world.options.nodes);
  strike();
}

void Chaos::strike() {
  if (x_healed) return;
  one_fault();
  x_world.after(x_random.between(1, 2 * x_gap_ms), [this] { strike(); });
}

void Chaos::one_fault() {
  const auto node = static_cast<NodeIndex>(x_random.below(x_machines.size()));
  const std::uint64_t draw = x_random.below(1000);
  if (draw < 250) return fault_of_agent(node);
  if (draw < 450) return fault_of_machine(node);
  if (draw < 700) return fault_of_network(node);
  if (draw < 940) return fault_of_process();
  fault_of_controller();
}

void Chaos::undo_later(DurationMs delay_ms, std::function<void()> undo) {
  x_world.after(delay_ms, [this, undo = std::move(undo)] {
    if (!x_healed) undo();  // heal() has undone it
  });
}

void Chaos::fault_of_agent(NodeIndex node) {
  Machine& hit = machine(node);
  if (!hit.agent_listens() || hit.agent_since_ms() + kAgentRestMs > x_world.now_ms()) return;
  const DurationMs away_ms = x_random.between(100, kAgentAwayMs);
  const std::uint64_t draw = x_random.below(100);
  if (draw < 60) {
    x_world.hit("fault agent crash");
    hit.crash_agent();
    return undo_later(away_ms, [&hit] { hit.start_agent(false); });
  }
  if (draw < 70) {
    x_world.hit("fault agent restarts without its spool");
    hit.crash_agent();
    return undo_later(away_ms, [&hit] { hit.start_agent(true); });
  }
  x_world.hit("fault agent paused");
  hit.pause_agent(true);
  undo_later(away_ms, [&hit] { hit.pause_agent(false); });
}

void Chaos::power_cycle(NodeIndex node, DurationMs off_ms) {
  machine(node).power_off();
  const bool spool_lost = x_random.chance(300);
  undo_later(off_ms, [this, node, spool_lost] {
    if (!x_kept_off.contains(node)) machine(node).power_on(spool_lost);
  });
}

void Chaos::fault_of_machine(NodeIndex node) {
  Machine& hit = machine(node);
  if (!hit.powered() || hit.frozen()) return;
  const std::uint64_t draw = x_random.below(100);
  if (draw < 35) {
    x_world.hit("fault machine reboots");
    return power_cycle(node, x_random.between(2'000, 40'000));
  }
  if (draw < 55) {
    x_world.hit("fault machine dies for long");
    return power_cycle(node, x_random.between(60'000, 500'000));
  }
  if (draw < 70) {
    x_world.hit("fault machine dies and an operator confirms it");
    x_kept_off.insert(node);
    hit.power_off();
    x_world.after(x_random.between(1'000, 60'000), [this, node] {
      x_users.confirm_off(machine(node).name(), [this, node] {
        x_kept_off.erase(node);
        x_world.after(x_random.between(1'000, 60'000), [this, node] { machine(node).power_on(false); });
      });
    });
    return;
  }
  x_world.hit("fault machine frozen");
  hit.freeze(true);
  const bool is_long = x_random.chance(300);
  undo_later(is_long ? x_random.between(100'000, 400'000) : x_random.between(500, 40'000),
             [&hit] { hit.freeze(false); });
}

void Chaos::cut(NodeIndex node, bool up, bool down, DurationMs duration_ms) {
  x_network.cut(node, up, down);
  undo_later(duration_ms, [this, node] { x_network.cut(node, false, false); });
}

void Chaos::fault_of_network(NodeIndex node) {
  const bool is_long = x_random.chance(300);
  const DurationMs duration_ms = is_long ? x_random.between(60'000, 400'000) : x_random.between(500, 45'000);
  const std::uint64_t draw = x_random.below(100);
  if (draw < 35) {
    x_world.hit("fault partition");
    return cut(node, true, true, duration_ms);
  }
  if (draw < 55) {
    x_world.hit("fault one-way partition from the node");
    return cut(node, true, false, duration_ms);
  }
  if (draw < 75) {
    x_world.hit("fault one-way partition to the node");
    return cut(node, false, true, duration_ms);
  }
  if (draw < 85) {  // a switch: many at once
    x_world.hit("fault partition of many");
    const std::uint64_t count = x_random.below(std::min<std::uint64_t>(x_machines.size(), 40)) + 1;
    for (std::uint64_t at = 0; at < count; ++at) {
      cut((node + static_cast<NodeIndex>(at)) % static_cast<NodeIndex>(x_machines.size()), true, true, duration_ms);
    }
    return;
  }
  swizzle();
}

void Chaos::swizzle() {
  x_world.hit("fault swizzle-clog");
  // Stop a random set of links one after the other, then let them go again in another order.
  const std::uint64_t count = x_random.between(2, 8);
  for (std::uint64_t at = 0; at < count; ++at) {
    const auto node = static_cast<NodeIndex>(x_random.below(x_machines.size()));
    const DurationMs begin_ms = x_random.between(0, 10'000);
    const DurationMs length_ms = x_random.between(1'000, 50'000);
    undo_later(begin_ms, [this, node] { x_network.clog(node, true); });
    undo_later(begin_ms + length_ms, [this, node] { x_network.clog(node, false); });
  }
}

void Chaos::fault_of_process() {
  // The first machine from a random one on that runs what the fault needs.
  const std::uint64_t begin = x_random.below(x_machines.size());
  const std::uint64_t draw = x_random.below(100);
  for (std::size_t at = 0; at < x_machines.size(); ++at) {
    Machine& hit = *x_machines[(begin + at) % x_machines.size()];
    if (!hit.powered() || hit.frozen()) continue;
    const auto ids = draw < 40 ? hit.heads() : hit.ranks();
    if (ids.empty()) continue;
    if (draw < 20) {
      x_world.hit("fault head killed");
      return hit.end_head(ids.front(), 137, ExitReason::own);
    }
    if (draw < 40) {
      x_world.hit("fault head's shim lost");
      return hit.lose_head_shim(ids.front());
    }
    if (draw < 70) {
      x_world.hit("fault peer's shim lost");
      return hit.lose_peer_shim(ids.front());
    }
    if (draw < 80) {
      x_world.hit("fault rank out of memory");
      return hit.exceed_memory(ids.front());
    }
    x_world.hit("fault rank vanishes silently");
    return hit.vanish_rank(ids.front());
  }
}

void Chaos::fault_of_controller() {
  if (!x_controller.up()) return;
  x_world.hit("fault controller crash");
  x_controller.crash();
  const bool is_long = x_random.chance(50);
  undo_later(is_long ? x_random.between(60'000, 200'000) : x_random.between(100, 10'000), [this] {
    if (x_random.chance(200)) {
      x_world.hit("fault controller's clock steps");
      x_controller.step_wall_clock(x_random.between(-3'600'000, 60'000));
    }
    x_controller.start();
  });
}

void Chaos::run_fence(NodeIndex node) {
  const std::string name = machine(node).name();
  const bool works = x_random.chance(700);
  x_world.after(x_random.between(500, 10'000), [this, node, name, works, life = x_controller.life()] {
    if (works) {
      x_world.hit("fence command succeeds");
      const bool quick = x_random.chance(400);
      const DurationMs off_ms = quick ? x_random.between(500, 5'000) : x_random.between(10'000, 200'000);
      if (machine(node).powered()) power_cycle(node, off_ms);
      // power_cycle's undo is skipped after healing: then the site's people switch it on.
      if (x_healed) x_world.after(20'000, [this, node] { machine(node).power_on(false); });
    } else {
      x_world.hit("fence command fails");
    }
    if (life != x_controller.life()) return x_world.hit("fault outcome of a fence command lost");
    // The program may take its time to end: by then the machine may be back in a new life.
    const bool lingers = x_random.chance(300);
    x_world.after(lingers ? x_random.between(500, 30'000) : x_random.between(1, 500), [this, name, works, life] {
      if (life == x_controller.life()) x_controller.post(core::FenceFinished{name, works, works ? "" : "as drawn"});
    });
  });
}

void Chaos::heal() {
  x_world.note("heal");
  x_healed = true;
  x_rates = {};
  x_controller.start();
  for (NodeIndex node = 0; node < x_machines.size(); ++node) {
    x_network.cut(node, false, false);
    x_network.clog(node, false);
    Machine& healed = machine(node);
    healed.set_restart_after(200, 1'000);
    healed.freeze(false);
    healed.pause_agent(false);
    if (!x_kept_off.contains(node)) healed.power_on(false);
    healed.start_agent(false);
  }
}

}  // namespace trainyard::simulator
