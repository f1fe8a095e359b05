// The controller's process around the real core and plan: the loop's batch (step*, plan, commit, dispatch) in virtual
// time, with crashes at every point between them. What survives a crash is the Disk.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "controller/core/core.h"
#include "controller/loop/heartbeat.h"
#include "tests/support/simulator/disk.h"
#include "tests/support/simulator/machine.h"
#include "tests/support/simulator/oracle.h"
#include "tests/support/simulator/world.h"

namespace trainyard::simulator {

using EventBody = decltype(core::Event::body);

// Where the controller's words go.
class Listeners {
 public:
  virtual ~Listeners() = default;
  virtual void reply(core::Ticket ticket, const Result<core::Subject>& result, bool state_changed) = 0;
  virtual void send_orders(const std::string& node_name, Orders orders) = 0;
  virtual void acknowledge(const core::Acknowledge& acknowledge) = 0;
  virtual void refuse(const core::Refuse& refuse) = 0;
  virtual void run_fence(const core::RunFence& fence) = 0;
};

class ControllerHost {
 public:
  ControllerHost(World& world, Oracle& oracle, const Rates& rates, Listeners& listeners, core::Settings settings);

  void start();
  // Everything in memory is lost. A commit under way may have become durable just before.
  void crash();
  bool up() const { return x_core != nullptr; }
  std::uint64_t life() const { return x_life; }  // of the process: rises with every start and crash
  // False: the inbox is full or there is no process.
  bool post(EventBody body);
  const Disk& disk() const { return x_disk; }
  // REQUIRES: up()
  const core::State& state() const { return x_core->state(); }
  void step_wall_clock(DurationMs by_ms) { x_wall_offset_ms += by_ms; }

  TimeMs controller_now() const;  // by its own clock

 private:
  void later(DurationMs delay_ms, std::function<void()> what);  // not after a crash
  void wake();
  void batch();
  void step(EventBody body);
  // The edge renews the lease by itself; false: the loop must hear it.
  bool renewed(const core::NodeSame& same);
  void look_at_heartbeats();
  controller::Heartbeat& heartbeat_of(const std::string& node, const std::string& epoch);
  bool is_small() const;
  void check();  // all of the state, where it is small enough for that after every event
  void commit(core::Outcome outcome);
  void dispatch(const core::Outcome& outcome);
  void say(const core::Action& action);
  void schedule_deadline();

  World& x_world;
  Oracle& x_oracle;
  const Rates& x_rates;
  Listeners& x_listeners;
  const core::Settings x_settings;
  Random x_random;
  Disk x_disk;
  const std::int64_t x_drift_per_million;
  DurationMs x_wall_offset_ms = 0;
  TimeMs x_started_at_ms = 0, x_seed_ms = 0;
  std::unique_ptr<core::Core> x_core;
  std::uint64_t x_life = 0;
  std::deque<EventBody> x_inbox;
  bool x_busy = false;  // a batch is scheduled or its commit under way
  std::unique_ptr<core::Outcome> x_committing;
  std::map<core::Ticket, bool> x_changed_by;  // commands stepped, not yet answered
  TimeMs x_deadline_at_ms = 0, x_looked_at_ms = 0;
  std::map<std::pair<std::string, std::string>, controller::Heartbeat> x_heartbeats;  // by node and epoch
};

}  // namespace trainyard::simulator
