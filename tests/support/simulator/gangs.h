// The user's programs: what an mpirun and its ranks do across the machines of one attempt. Draws how long each runs and
// how it ends; peers are launched over the controller's relay, and a vanished peer ends the head early.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/simulator/machine.h"
#include "tests/support/simulator/network.h"
#include "tests/support/simulator/world.h"

namespace trainyard::simulator {

class Gangs {
 public:
  Gangs(World& world, const Rates& rates, std::vector<std::unique_ptr<Machine>>& machines, Network& network)
      : x_world(world), x_rates(rates), x_machines(machines), x_network(network), x_random(world.random.fork()) {}

  void head_started(NodeIndex head, AttemptId id, const Launch& launch);
  // A member's processes ended by themselves, by a kill or with their machine.
  void member_gone(NodeIndex node, AttemptId id, bool machine_lost);

 private:
  struct Gang {
    NodeIndex head = 0;
    std::vector<NodeIndex> peers;
    std::uint32_t ranks_up = 0;
    bool ending = false;
  };
  void launch(AttemptId id, NodeIndex peer, std::uint32_t tries);
  void run(AttemptId id);
  void end(AttemptId id, std::int32_t code, ExitReason reason);

  World& x_world;
  const Rates& x_rates;
  std::vector<std::unique_ptr<Machine>>& x_machines;
  Network& x_network;
  Random x_random;
  std::map<AttemptId, Gang> x_gangs;
};

}  // namespace trainyard::simulator
