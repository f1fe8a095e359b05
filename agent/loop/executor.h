// Carries out the core's Prepare, StartHead and Stop for one attempt on this node, and finds its processes again after
// a restart of the agent. Everything is repeatable: what is there already is adopted. Loop thread only; outcomes come
// through `Events`, never from inside a call.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/core/agent_core.h"
#include "agent/exec/shim.h"
#include "agent/loop/cleaner.h"
#include "agent/loop/container_steps.h"
#include "agent/loop/limit_watch.h"
#include "agent/loop/log_shipper.h"
#include "agent/loop/place.h"
#include "agent/loop/progress_watch.h"
#include "agent/loop/volume_set.h"

namespace trainyard::agent {

class Executor : public std::enable_shared_from_this<Executor> {
 public:
  struct Events {
    std::function<void(Prepared)> prepared;
    std::function<void(ImageKnown)> image_known;
    std::function<void(ProgressTold)> progress_told;
    std::function<void(HeadStarted)> head_started;
    std::function<void(HeadEnded)> head_ended;
    std::function<void(LimitExceeded)> limit_exceeded;
    std::function<void(Stuck)> stuck;
    std::function<void(Cleaned)> cleaned;
  };

  Executor(ExecutorContext& context, Place place, const HeldAttempt& held, Events events);

  void prepare();
  // What all nodes of the attempt run; see PinImage.
  void pin_image(const std::string& digest) {
    if (x_container && !x_stopping) x_container->pin(digest);
  }
  void start_head();
  // After the agent's restart, for a holding that was prepared: its logs flow again, its head is found (or started,
  // when the agent died between deciding and doing).
  void adopt(const HeldAttempt& held);
  // Phase run has come: from now on every node of the attempt may write into the job's stdouterr directory.
  void run();
  void stop(DurationMs grace_ms, DurationMs notice_ms = 0);

  const Place& place() const { return x_place; }
  const HoldingPaths& paths() const { return x_paths; }
  const RunAs& user() const { return x_launch->run_as; }
  // What a process of this attempt gets: environment, cgroup, work directory, bash -c `script`.
  ShimSpec process(const std::string& script) const;
  // A task of the launch's own list, asked for by the head; an error says why it is not started here.
  Result<ShimSpec> task(std::uint32_t number, const std::string& from_node, const std::string& key) const;
  // A process that was launched here has ended: says so, and answers a failed task's last lines.
  std::string launch_ended(const std::string& key, const ShimExit& exit) const;
  // This node, as the attempt's nodes are named.
  bool is_at(const std::string& host) const {
    return x_member < x_launch->members.size() && x_launch->members[x_member].address == host;
  }
  // A line in the job's execution log, and in the agent's.
  void say(const std::string& line) const;

 private:
  void mount_volumes();
  void volumes_mounted(std::optional<NodeError> error);
  void watch_volumes();
  void rotate_old_logs();
  void rotated(HelperResult result);
  void make_output_directories();
  void make_next_directories();
  void output_directories_made(HelperResult result);
  void output_directory_failed(const HelperResult& result);
  void container_started(std::optional<NodeError> error);
  void start_preparation();
  void preparation_ended(const ShimObservation& seen);
  void watch_limits();
  void watch_head();
  void head_ended(const ShimObservation& seen);
  void begin_logs();
  bool logs_may_begin() const;
  std::vector<LogShipper::File> log_files() const;
  std::vector<NamedValue> environment(std::optional<std::size_t> task = std::nullopt) const;
  NodeError failure(const ShimExit& exit) const;
  void fail_preparation(NodeError error);
  Status make_place();
  // A helper's answer: runs `next` unless the attempt is being stopped; then the clean-up goes on instead.
  template <class Answer>
  std::function<void(Answer)> step(void (Executor::*next)(Answer));
  void begin_clean();
  void post(std::function<void()> what);

  ExecutorContext& x_context;
  Place x_place;
  AttemptId x_id;
  std::uint32_t x_member = 0;
  DurationMs x_lease_ms = kForever;
  std::vector<std::string> x_gpu_uuids;
  std::shared_ptr<const Launch> x_launch;
  std::vector<SealedValue> x_secrets, x_credentials;
  HoldingPaths x_paths;
  Events x_events;
  std::string x_stdouterr;    // absolute
  std::string x_shared_temp;  // AZ_BATCHAI_SHARED_JOB_TEMP where that is on a share
  bool x_run = false;
  bool x_stopping = false;
  int x_helpers_under_way = 0;  // a stop waits for them: a mount must not appear after the unmounting
  DurationMs x_grace_ms = 0, x_notice_ms = 0;
  std::shared_ptr<ProgressWatch> x_progress;  // of the head
  std::shared_ptr<VolumeSet> x_volumes;
  std::map<std::string, std::vector<std::string>> x_left_directories;  // still to be made, by the helper's root
  std::shared_ptr<LogShipper> x_logs;
  std::unique_ptr<ShimWatch> x_preparation_watch, x_head_watch;
  const std::shared_ptr<LimitWatch> x_limits;
  std::shared_ptr<JobContainer> x_container;  // none: the job runs on the host
  std::shared_ptr<Cleaner> x_cleaner;
};

}  // namespace trainyard::agent
