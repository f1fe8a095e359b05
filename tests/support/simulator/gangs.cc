#include "tests/support/simulator/gangs.h"

#include <algorithm>
#include <string>

namespace trainyard::simulator {
namespace {

constexpr std::uint32_t kLaunchTries = 40;  // of a launcher: it sits out restarts of agents and controller

}  // namespace

void Gangs::head_started(NodeIndex head, AttemptId id, const Launch& launch_of_all) {
  Gang& gang = x_gangs[id];
  gang.head = head;
  for (std::size_t member = 1; member < launch_of_all.members.size(); ++member) {
    // Simulated machines are called n0000, n0001, ...
    const auto peer = static_cast<NodeIndex>(std::stoul(launch_of_all.members[member].node_name.substr(1)));
    gang.peers.push_back(peer);
    x_world.after(x_random.between(5, 300), [this, id, peer] { launch(id, peer, kLaunchTries); });
  }
  if (gang.peers.empty()) run(id);
}

void Gangs::launch(AttemptId id, NodeIndex peer, std::uint32_t tries) {
  const auto found = x_gangs.find(id);
  if (found == x_gangs.end() || found->second.ending) return;
  Gang& gang = found->second;
  const bool relayed = x_network.open(gang.head) && x_network.open(peer);
  if (relayed && x_machines[peer]->launch_rank(id)) {
    if (++gang.ranks_up == gang.peers.size()) run(id);
    return;
  }
  if (tries > 0)
    return x_world.after(x_random.between(200, 1'500), [this, id, peer, tries] { launch(id, peer, tries - 1); });
  x_world.hit("fault launch gave up");
  end(id, 1, ExitReason::peer_lost);
}

void Gangs::run(AttemptId id) {
  const bool fails = x_random.chance(x_rates.user_fails);
  const std::int32_t code = fails ? static_cast<std::int32_t>(x_random.between(1, 139)) : 0;
  const bool is_long = x_random.chance(250);  // longer than leases last
  x_world.after(is_long ? x_random.between(60'000, 200'000) : x_random.between(1'000, 60'000),
                [this, id, code] { end(id, code, ExitReason::own); });
}

void Gangs::end(AttemptId id, std::int32_t code, ExitReason reason) {
  const auto found = x_gangs.find(id);
  if (found == x_gangs.end()) return;
  Gang& gang = found->second;
  if (reason == ExitReason::own && gang.ending) return;  // a peer is gone: it will not end well
  Machine& head = *x_machines[gang.head];
  if (head.frozen()) return x_world.after(1'000, [this, id, code, reason] { end(id, code, reason); });
  head.end_head(id, code, reason);
  // The ranks see their launcher go, if their machine runs.
  for (const NodeIndex peer : gang.peers) {
    x_world.after(x_random.between(5, 2'000), [this, id, peer] {
      if (!x_machines[peer]->frozen()) x_machines[peer]->end_rank(id);
    });
  }
  x_gangs.erase(found);
}

void Gangs::member_gone(NodeIndex node, AttemptId id, bool machine_lost) {
  const auto found = x_gangs.find(id);
  if (found == x_gangs.end()) return;
  if (node == found->second.head) {
    x_gangs.erase(found);  // orphaned ranks stay until they are killed
    return;
  }
  if (found->second.ending) return;
  found->second.ending = true;
  if (x_random.chance(200)) return x_world.hit("fault head hangs without its peer");
  x_world.hit("fault early exit of the head");
  const ExitReason reason = machine_lost ? ExitReason::machine_lost : ExitReason::peer_lost;
  x_world.after(x_random.between(500, 20'000), [this, id, reason] { end(id, 1, reason); });
}

}  // namespace trainyard::simulator
