// One simulated machine: its clock, its disk, its processes and its agent, which is the real agent core with pretend
// execution. Power, freezing and crashes of the agent are orders of the fault injector.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/core/agent_core.h"
#include "tests/support/simulator/oracle.h"
#include "tests/support/simulator/world.h"

namespace trainyard::simulator {

// How likely small faults are, per thousand. Healing sets them all to 0.
struct Rates {
  std::uint32_t drop = 0, duplicate = 0, delay = 0, reorder = 0, late_orders = 0, late_reports = 0;
  std::uint32_t agent_crash_in_step = 0, controller_crash_in_dispatch = 0, slow_commit = 0;
  std::uint32_t preparation_fails = 0, user_fails = 0, slow_kill = 0, preparation_hangs = 0;
  std::uint32_t setup_fails = 0, setup_breaks = 0;
  std::uint32_t file_server_fails = 0, file_server_dies = 0;
};

class Machine;

// What a machine needs of its surroundings.
class Site {
 public:
  virtual ~Site() = default;
  virtual void send_up(NodeIndex node, agent::Action report) = 0;  // SendReport or SendSame
  virtual void agent_started(NodeIndex node) = 0;                  // will want a connection
  virtual void agent_gone(NodeIndex node) = 0;                     // its connection is gone with it
  virtual void head_started(NodeIndex node, AttemptId id, std::shared_ptr<const Launch> launch) = 0;
  // The processes of a member ended otherwise than by the head's own exit.
  virtual void member_gone(NodeIndex node, AttemptId id, bool machine_lost) = 0;
  virtual const Rates& rates() const = 0;
};

class Machine {
 public:
  Machine(World& world, Oracle& oracle, Site& site, NodeIndex index, Inventory inventory, DurationMs report_every_ms);
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  const std::string& name() const { return x_name; }
  const Inventory& inventory() const { return x_inventory; }
  std::string epoch() const;
  bool powered() const { return x_powered; }
  bool frozen() const { return x_frozen; }
  bool agent_running() const { return x_agent != nullptr; }
  bool agent_listens() const { return x_agent != nullptr && !x_paused && !x_frozen; }
  TimeMs agent_since_ms() const { return x_agent_since_ms; }
  // Of the newest orders its agent knows. REQUIRES: agent_running()
  std::uint64_t agent_revision() const { return x_agent->revision(); }
  bool idle() const;  // no processes, nothing held
  bool has_setup() const { return x_setup_work.has_value(); }
  // Numbers of the file servers whose server runs here.
  std::vector<std::uint64_t> serving() const;

  void power_on(bool spool_lost);
  void power_off();
  void start_agent(bool spool_lost);
  void crash_agent();
  void pause_agent(bool paused);
  void freeze(bool frozen);
  void set_restart_after(DurationMs low_ms, DurationMs high_ms) {
    x_restart_low_ms = low_ms, x_restart_high_ms = high_ms;
  }

  // An input from the network; lost when no agent runs.
  void input(decltype(agent::Input::body) body);

  // ---- The processes, as the gang's program and the fault injector drive them ----
  bool launch_rank(AttemptId id);  // false: not accepted here now
  void end_rank(AttemptId id);
  void end_head(AttemptId id, std::int32_t code, ExitReason reason);
  std::vector<AttemptId> heads() const;  // alive now
  std::vector<AttemptId> ranks() const;
  void lose_head_shim(AttemptId id);
  void exceed_memory(AttemptId id);
  void say_out_of_memory(AttemptId id, DurationMs after_ms);
  void lose_peer_shim(AttemptId id);
  void vanish_rank(AttemptId id);

 private:
  enum class Preparation { none, running, done, failed };
  struct Work {  // what really exists of an attempt
    std::vector<std::string> gpus;
    std::shared_ptr<const Launch> launch;
    std::uint32_t member = 0;
    Preparation preparation = Preparation::none;
    NodeError preparation_error;
    bool head_started = false, head_alive = false, head_lost = false;
    std::optional<std::int32_t> head_exit;
    bool rank_alive = false, peer_lost = false, out_of_memory = false, daemon_alive = false;
    bool stopping = false;
    std::uint64_t stop_serial = 0;
    bool alive() const { return preparation == Preparation::running || head_alive || rank_alive || daemon_alive; }
  };

  TimeMs boottime() const;

  // Runs on the machine: not after a power cut, later when it is frozen.
  void later(DurationMs delay_ms, std::function<void()> what);
  // Runs in the agent: not after its crash, later when it is paused.
  void agent_later(DurationMs delay_ms, std::function<void()> what);
  void step(decltype(agent::Input::body) body);
  void schedule_tick();
  void observe();  // what the executor of a restarted agent finds
  void execute(const agent::Action& action);
  void prepare(AttemptId id);
  void finish_preparation(AttemptId id);
  void start_head(AttemptId id);
  void stop(AttemptId id, DurationMs grace_ms);
  void kill(AttemptId id, bool machine_lost);
  void became(AttemptId id, bool was_alive);  // tells the oracle
  void kill_everything();
  void set_up(std::uint64_t run);
  void finish_setup(std::uint64_t run);
  void break_setup(std::uint64_t run);
  void take_down_setup(std::uint64_t run);
  void setup_vanishes();
  void serve_files(const FileServerOrder& order);
  void serving_begins(std::uint64_t id);
  void remove_files(const FileServerOrder& order);
  void end_other_file_servers(const std::set<std::uint64_t>& ordered);
  void servers_die();

  World& x_world;
  Oracle& x_oracle;
  Site& x_site;
  Random x_random;
  const NodeIndex x_index;
  const std::string x_name;
  const Inventory x_inventory;
  const agent::Settings x_settings;
  const std::int64_t x_drift_per_million;

  bool x_powered = false, x_frozen = false, x_paused = false;
  std::uint64_t x_boot = 0, x_spool_generation = 1;
  TimeMs x_booted_at_ms = 0, x_boottime_base_ms = 0;
  std::map<AttemptId, Work> x_work;
  struct SetupWork {  // what really exists of a set-up
    std::uint64_t run = 0;
    bool ended = false;
    std::optional<NodeError> error;
  };
  std::optional<SetupWork> x_setup_work;
  struct FilesWork {  // what really exists of a file server: its files outlive every boot
    std::string name;
    bool serving = false;
    std::uint64_t serial = 0;  // of what is being done with it: the newest counts
  };
  std::map<std::uint64_t, FilesWork> x_files;

  agent::Spool x_spool;                               // durable: all but holdings
  std::map<AttemptId, agent::HeldAttempt> x_spooled;  // durable
  std::unique_ptr<agent::AgentCore> x_agent;
  std::uint64_t x_agent_life = 0, x_tick = 0;
  TimeMs x_agent_since_ms = 0, x_tick_at_ms = 0;
  DurationMs x_restart_low_ms = 200, x_restart_high_ms = 20'000;
  std::deque<std::function<void()>> x_deferred;  // while frozen
  std::deque<std::function<void()>> x_backlog;   // while the agent is paused
};

}  // namespace trainyard::simulator
