// One run of the whole system in virtual time: the real controller core and plan, real agent cores, pretend machines,
// network and users, one seed. Breaks off with an abort when a promise is broken. Same options, same trace.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/support/simulator/chaos.h"
#include "tests/support/simulator/gangs.h"

namespace trainyard::simulator {

struct RunResult {
  std::uint64_t events = 0, core_events = 0, trace_hash = 0;
  std::uint32_t jobs = 0;  // acknowledged
  DurationMs virtual_ms = 0;
  Coverage coverage;
};

// What a set of runs must have covered: each fault kind and each transition of jobs, nodes and holdings.
const std::vector<std::string>& required_coverage();

class Simulation final : public Site, public Listeners {
 public:
  explicit Simulation(const Options& options);
  RunResult run();
  const World& world() const { return x_world; }

 private:
  // Site
  void send_up(NodeIndex node, agent::Action report) override;
  void agent_started(NodeIndex node) override { x_network.agent_started(node); }
  void agent_gone(NodeIndex node) override { x_network.agent_gone(node); }
  void head_started(NodeIndex node, AttemptId id, std::shared_ptr<const Launch> launch) override;
  void member_gone(NodeIndex node, AttemptId id, bool machine_lost) override;
  const Rates& rates() const override { return x_rates; }
  // Listeners
  void reply(core::Ticket ticket, const Result<core::Subject>& result, bool state_changed) override;
  void send_orders(const std::string& node_name, Orders orders) override;
  void acknowledge(const core::Acknowledge& acknowledge) override;
  void refuse(const core::Refuse& refuse) override;
  void run_fence(const core::RunFence& fence) override;

  void run_with_faults();
  void run_healed();
  void watch_controller();
  bool at_rest(std::string& why_not) const;

  World x_world;
  Oracle x_oracle;
  Rates x_rates;
  std::vector<std::unique_ptr<Machine>> x_machines;
  ControllerHost x_controller;
  Network x_network;
  Gangs x_gangs;
  Users x_users;
  Chaos x_chaos;
  std::uint64_t x_controller_life = 0;
};

}  // namespace trainyard::simulator
