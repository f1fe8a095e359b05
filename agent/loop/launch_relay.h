// Starts processes of an attempt on its nodes, without ssh: the launcher program (trainyard-rsh for mpirun, or
// trainyard-tasks) asks here over its holding's socket; the request goes up the agent's stream and down the target's,
// or straight to this node's own part where that is the target. Loop thread only.
//
// Asking side: re-sends what has no answer each second and on every new stream; what runs is asked after now and then,
// so that no lost message leaves a launcher waiting. Target side: a launch id starts at most one process, also across
// restarts of the agent: its directory in the spool is the record. Repeats are answered with the present state.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "agent/edge/controller_link.h"
#include "agent/exec/launch_socket.h"
#include "agent/exec/shim.h"
#include "agent/loop/executor.h"

namespace trainyard::agent {

class LaunchRelay {
 public:
  struct Hooks {
    std::function<void(const LaunchCall&)> send_call;
    std::function<void(const LaunchStatus&)> send_status;
    std::function<bool(AttemptId)> accepts_launch;
    std::function<bool(AttemptId)> may_accept_later;  // held and on its way to phase run
    std::function<std::shared_ptr<Executor>(AttemptId)> executor;
    std::function<void(PeerLost)> peer_lost;
  };
  LaunchRelay(ExecutorContext& context, Hooks hooks);

  // The attempt is prepared here: its launchers may ask, and its launches of an earlier life of the agent are watched.
  void open(AttemptId id);
  void close(AttemptId id);  // being cleaned: nothing is asked or started any more
  void phase_run(AttemptId id);
  void link_up();

  void on_call(const LaunchCall& call);        // of another node's launcher, by way of the controller
  void on_status(const LaunchStatus& status);  // answer to one of ours

 private:
  struct Ask {  // of a launcher on this node
    LaunchCall call;
    bool running = false;
    std::optional<LaunchStatus> answer;  // definite
    TimeMs sent_ms = 0;
  };
  struct Target {  // a process here, for another node
    LaunchStatus status;
    std::unique_ptr<ShimWatch> watch;
  };

  void on_request(AttemptId id, const LaunchRequest& request);
  void send(Ask& ask);
  void tell(const LaunchStatus& status);
  void start(const LaunchCall& call, const std::shared_ptr<Executor>& executor);
  void report(const LaunchStatus& status);
  void watch(const LaunchId& id, const std::string& directory);
  void ended(const LaunchId& id, const ShimObservation& seen);
  void refuse(const LaunchId& id, const std::string& message);
  void schedule();

  ExecutorContext& x_context;
  Hooks x_hooks;
  boost::asio::steady_timer x_timer;
  bool x_scheduled = false;
  std::map<AttemptId, std::unique_ptr<LaunchSocket>> x_sockets;
  std::map<LaunchId, Ask> x_asks;
  std::map<LaunchId, Target> x_targets;
  std::map<LaunchId, LaunchCall> x_parked;  // came before this node's own phase run
};

}  // namespace trainyard::agent
