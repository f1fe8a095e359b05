// Runs commands (and connections) that users ask of this node, through the controller: each under a supervisor process
// (trainyard-exec) and in a cgroup of its own, inside the job's or beside them. Whatever ends the call, the cgroup is
// empty and gone before the call is. Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "agent/edge/controller_link.h"
#include "agent/exec/exec_frames.h"
#include "agent/loop/place.h"

namespace trainyard::agent {

class ExecServer {
 public:
  using Open = std::function<std::shared_ptr<ExecStream>(const std::string& call_id, ExecHandlers handlers)>;
  // What a process of the attempt gets, when a command may run in it now; else why not.
  using FindJob = std::function<Result<ShimSpec>(AttemptId id, const std::string& script)>;
  ExecServer(ExecutorContext& context, Open open, FindJob find_job);
  ~ExecServer();

  void serve(const std::string& call_id);
  // The controller cannot be reached: nobody wants any of them.
  void cancel_all();
  // Kills and removes what an agent and its supervisors, killed together, left behind.
  void sweep();

 private:
  class Session;
  ExecutorContext& x_context;
  Open x_open;
  FindJob x_find_job;
  std::set<std::shared_ptr<Session>> x_sessions;
};

}  // namespace trainyard::agent
