// The agent's one thread: inputs are stepped through the core one by one, what must survive is spooled (one fsynced
// write per step), and only then its actions are carried out. Everything else (gRPC, the probe) posts to it.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>

#include "agent/core/agent_core.h"
#include "agent/edge/controller_link.h"
#include "agent/loop/counter_sampler.h"
#include "agent/loop/exec_server.h"
#include "agent/loop/executor.h"
#include "agent/loop/file_server.h"
#include "agent/loop/launch_relay.h"
#include "agent/loop/machine_watch.h"
#include "agent/loop/nfs_servers.h"
#include "agent/loop/setup_executor.h"
#include "agent/loop/spool.h"

namespace trainyard::agent {

struct LoopSettings {
  Settings core;
  DurationMs reconnect_max_ms = 3'000;
  DurationMs counters_every_ms = 15'000;
  WatchSettings watch = {};
};

class AgentLoop {
 public:
  // `context.io` is run by the caller; all members of `context` are set but its mounter.
  AgentLoop(ExecutorContext& context, LoopSettings settings, LinkSettings link, SpoolDirectory spool,
            Inventory inventory);
  ~AgentLoop();

  // Cleans what earlier lives left behind, takes up what still runs, then dials the controller.
  void start();
  // Settings that may change while the agent runs: the heartbeat, the pauses of the counters and between two dials.
  // GPUs that were out of service are looked at anew.
  void reload(const LoopSettings& settings);
  // Leaves jobs running under their shims. The io_context runs out of work, or is stopped after a second.
  void shut_down();
  // What the process should exit with once the io_context has ended.
  int exit_code() const { return x_exit_code; }

 private:
  using Body = decltype(Input::body);
  void feed(Body body);
  void drain();
  void execute(const std::vector<Action>& actions);
  void spool(const std::vector<Action>& actions);
  void tell_shims_the_lease();
  void carry_out(const Prepare& action);
  void carry_out(const PinImage& action);
  void carry_out(const StartHead& action);
  void carry_out(const Stop& action);
  void carry_out(const ForgetHolding& action);
  void carry_out(const SendReport& action);
  void carry_out(const SendSame& action);
  void carry_out(const SetUp& action);
  void carry_out(const TakeDownSetup& action);
  void carry_out(const ServeFiles& action) { x_nfs.serve(action.order); }
  void carry_out(const RemoveFileServer& action) { x_nfs.remove(action.order); }
  void carry_out(const EndOtherFileServers& action) { x_nfs.end_others(action.ordered); }
  void carry_out(const PersistOrders&) {}  // spooled before
  void carry_out(const PersistHolding&) {}
  void carry_out(const PersistSetup&) {}
  void follow_phases();
  void schedule_tick();

  void clean_leftovers();
  void leftover_cleaned();
  void remove_spool(const std::string& name);
  void take_up();
  std::map<AttemptId, HoldingReading> read_holdings();
  std::shared_ptr<Executor> executor_of(AttemptId id);
  std::shared_ptr<Executor> find_executor(AttemptId id);
  std::shared_ptr<SetupExecutor> setup_executor();
  void setup_taken_down(SetupTakenDown outcome);
  void opened(AttemptId id);
  void cleaned(Cleaned outcome);

  LinkHandlers link_handlers();
  LaunchRelay::Hooks relay_hooks();
  Result<ShimSpec> process_in(AttemptId id, const std::string& script);
  void connect();
  void link_ended(const std::string& reason);
  void watch_silence();
  void refused(const std::string& reason);

  ExecutorContext& x_context;
  LoopSettings x_settings;
  SpoolDirectory x_spool;
  std::unique_ptr<Mounter> x_mounter;
  AgentCore x_core;
  std::map<AttemptId, std::shared_ptr<Executor>> x_executors;
  std::map<AttemptId, bool> x_run_told;
  std::shared_ptr<SetupExecutor> x_setup_executor;  // of the core's set-up, once there was something to do
  ControllerLink x_link;
  LaunchRelay x_relay;
  FileServer x_files;
  ExecServer x_execs;
  std::shared_ptr<GpuWatch> x_gpu_watch;  // null: no real GPU
  CounterSampler x_counters;
  MachineWatch x_machine;
  NfsServers x_nfs;
  std::deque<Body> x_inputs;
  bool x_draining = false;
  boost::asio::steady_timer x_tick, x_redial, x_silence;
  std::string x_waiting_cluster;  // of orders under way to the core
  DurationMs x_backoff_ms = 0;
  TimeMs x_last_heard_ms = 0;
  bool x_heard = false;  // on the present stream
  std::size_t x_leftovers = 0;
  bool x_shutting_down = false;
  int x_exit_code = 0;
  std::mt19937 x_random;  // jitter of the back-off only
};

}  // namespace trainyard::agent
