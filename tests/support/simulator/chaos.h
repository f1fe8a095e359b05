// The fault injector: draws a fault every now and then and undoes it later. heal() undoes all of them at once.
#pragma once

#include <memory>
#include <set>
#include <vector>

#include "tests/support/simulator/controller_host.h"
#include "tests/support/simulator/machine.h"
#include "tests/support/simulator/network.h"
#include "tests/support/simulator/users.h"
#include "tests/support/simulator/world.h"

namespace trainyard::simulator {

class Chaos {
 public:
  Chaos(World& world, Rates& rates, std::vector<std::unique_ptr<Machine>>& machines, Network& network,
        ControllerHost& controller, Users& users);

  void start();
  void heal();
  bool healed() const { return x_healed; }
  // A pool's fence command for that machine: cuts its power, or fails.
  void run_fence(NodeIndex node);

 private:
  void strike();
  void one_fault();
  void fault_of_agent(NodeIndex node);
  void fault_of_machine(NodeIndex node);
  void fault_of_network(NodeIndex node);
  void fault_of_process();
  void fault_of_controller();
  void power_cycle(NodeIndex node, DurationMs off_ms);
  void cut(NodeIndex node, bool up, bool down, DurationMs duration_ms);
  void swizzle();
  void undo_later(DurationMs delay_ms, std::function<void()> undo);
  Machine& machine(NodeIndex node) { return *x_machines[node]; }

  World& x_world;
  Rates& x_rates;
  std::vector<std::unique_ptr<Machine>>& x_machines;
  Network& x_network;
  ControllerHost& x_controller;
  Users& x_users;
  Random x_random;
  DurationMs x_gap_ms = 0;
  bool x_healed = false;
  std::set<NodeIndex> x_kept_off;  // the operator is confirming that it is off
};

}  // namespace trainyard::simulator
