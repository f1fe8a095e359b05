// Carries out the core's SetUp and TakeDownSetup for one run of the cluster's set-up: mounts its volumes, runs its task
// under a shim in a cgroup of its own, brings the output to its directory. A restarted agent goes on with what is
// there. Loop thread only; outcomes come through `Events`, never from inside a call.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/exec/shim.h"
#include "agent/loop/cleaner.h"
#include "agent/loop/volume_set.h"

namespace trainyard::agent {

class SetupExecutor : public std::enable_shared_from_this<SetupExecutor> {
 public:
  struct Events {
    std::function<void(SetUpEnded)> ended;
    std::function<void(SetupBroke)> broke;
    std::function<void(SetupTakenDown)> taken_down;
  };
  SetupExecutor(ExecutorContext& context, Place place, const HeldSetup& held, Events events);

  void set_up();
  // One that is done, of an earlier life of the agent: its volumes are looked at again.
  void adopt();
  void take_down();

 private:
  Status make_place();
  void mount_volumes();
  void volumes_mounted(std::optional<NodeError> error);
  void watch_volumes();
  void volume_broke(NodeError error);
  void make_output_directory();
  void output_directory_made(HelperResult result);
  void keep_earlier_files();
  void earlier_files_kept(HelperResult result);
  void start_task();
  void watch_task(const std::string& directory);
  void task_ended(const ShimObservation& seen);
  std::vector<NamedValue> environment() const;
  void begin_logs();
  void end(std::optional<NodeError> error);
  void begin_clean();
  void say(const std::string& line) const;
  // A helper's answer: runs `next` unless the set-up is being taken down; then the clean-up goes on instead.
  template <class Answer>
  std::function<void(Answer)> step(void (SetupExecutor::*next)(Answer));

  ExecutorContext& x_context;
  const Place x_place;
  const std::uint64_t x_run;
  const TimeMs x_begun_ms;
  const std::shared_ptr<const ClusterSetup> x_setup;
  const std::vector<SealedValue> x_secrets, x_credentials;
  Events x_events;
  const std::string x_mount_root;
  const std::shared_ptr<VolumeSet> x_volumes;
  std::string x_output;                           // absolute; empty: there is no task
  std::string x_output_root, x_output_directory;  // the same for a helper
  int x_helpers_under_way = 0;  // taking down waits for them: a mount must not appear after the unmounting
  bool x_taking_down = false, x_timed_out = false, x_done = false;
  std::optional<NodeError> x_broken;  // a volume that stopped to work before the task ended
  boost::asio::steady_timer x_limit;
  std::shared_ptr<LogShipper> x_logs;
  std::unique_ptr<ShimWatch> x_watch;
  std::shared_ptr<Cleaner> x_cleaner;
};

}  // namespace trainyard::agent
