// Ground truth and the promises: which processes really live on which simulated machine, what every head's exit really
// was, and what the controller committed and said. Knows nothing of the cores' own bookkeeping except what was
// committed. A broken promise ends the run.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/model.h"
#include "controller/core/event.h"
#include "controller/core/state.h"
#include "tests/support/simulator/disk.h"
#include "tests/support/simulator/world.h"

namespace trainyard::simulator {

using NodeIndex = std::uint32_t;

// Why a head's process really ended.
enum class ExitReason { own, killed, machine_lost, peer_lost };

class Oracle {
 public:
  explicit Oracle(World& world) : x_world(world) {}

  // ---- What happens on the machines ----
  // Every process belongs to a holding that the controller has on disk.
  void watch_disk(const Disk& disk) { x_disk = &disk; }
  void processes_live(NodeIndex node, const std::string& node_name, AttemptId id, const std::vector<std::string>& gpus);
  void processes_gone(NodeIndex node, AttemptId id);
  void head_exited(AttemptId id, std::int32_t code, ExitReason reason);
  void head_started(AttemptId id);
  // Of a cluster's set-up. A run starts once, ever; jobs start only where their cluster's present run is done; and a
  // node is given to a cluster only when nothing of another set-up is there.
  void setup_started(NodeIndex node, std::uint64_t run);
  void setup_done(NodeIndex node, std::uint64_t run) { x_setups[node].done = x_setups[node].run == run; }
  void setup_gone(NodeIndex node) { x_setups.erase(node); }
  // Of file servers: files go only when that was asked for, and a row goes only when they have gone (or the machine is
  // off and an operator said so).
  void files_made(NodeIndex node, const std::string& node_name, std::uint64_t id);
  void files_removed(NodeIndex node, std::uint64_t id);
  void powered(NodeIndex node, bool is_powered);
  // A frozen machine runs nothing. One that thaws may run its old processes for the instant before its agent kills
  // them.
  void frozen(NodeIndex node, bool is_frozen);
  void excuse_until(NodeIndex node, TimeMs until_ms);

  // ---- What the controller does ----
  // Between any two changes of what is held, by the core's own time: the units held from then on. They count once they
  // are committed; a crash before takes them back.
  void held(TimeMs controller_ms, const core::State& state);
  void crashed() { x_held.clear(); }
  // Before the changes are applied to the disk.
  void committing(const core::Changes& changes, const Disk& disk);
  // Of a job ("experiment/job") or of all in an experiment ("experiment/").
  void erasure_wanted(const std::string& path);
  void replied(const std::string& request_id, const core::CommandBody& body, const Result<core::Subject>& result,
               const Disk& disk, bool state_changed);
  // Now and then: what is called running has processes, or will soon be called otherwise.
  void check_running_jobs(const Disk& disk, DurationMs bound_ms);

  std::size_t live_attempts() const { return x_live.size(); }
  std::size_t acknowledged_jobs() const { return x_acknowledged.size(); }

 private:
  struct Exit {
    std::int32_t code = 0;
    ExitReason reason = ExitReason::own;
  };
  struct Seen {  // of a job, when first committed
    bool fenced_rerun = true;
    std::string path;
    std::uint32_t newest_started = 0;
  };
  struct Answer {
    Code code = Code::ok;
    core::Subject subject;
  };

  bool excused(NodeIndex node) const;
  bool erasable(const std::string& job_path) const;
  std::optional<NodeIndex> node_where_live(AttemptId id) const;
  void check_recorded(const std::string& node_name, AttemptId id) const;
  void check_set_up(NodeIndex node, const std::string& node_name, AttemptId id) const;
  void check_node(const core::Node& node, const core::Node* before) const;
  void check_file_server_gone(const core::FileServer& row) const;
  void check_job(const core::Job& job, const core::Job* before, const core::Changes& changes, const Disk& disk);
  void check_end(const core::Job& job);
  void check_new_holding(const core::Holding& holding, const core::Changes& changes, const Disk& disk);
  void check_quotas(const core::Changes& changes, const Disk& disk);
  void check_usage(const core::Changes& changes, const Disk& disk);
  void check_allocated(const core::Changes& changes);
  void cover(const core::Changes& changes, const Disk& disk);

  World& x_world;
  const Disk* x_disk = nullptr;
  std::map<AttemptId, std::map<NodeIndex, std::vector<std::string>>> x_live;
  std::map<NodeIndex, std::set<AttemptId>> x_live_on;
  struct Setup {
    std::uint64_t run = 0;
    bool done = false;
  };
  std::map<NodeIndex, Setup> x_setups;
  std::set<std::uint64_t> x_setup_runs;
  std::map<NodeIndex, std::set<std::uint64_t>> x_files;
  std::set<NodeIndex> x_off;
  std::map<std::string, NodeIndex> x_node_by_name;
  std::map<std::string, NodeId> x_recorded_nodes;
  std::map<AttemptId, Exit> x_exits;
  std::set<AttemptId> x_started;
  std::set<NodeIndex> x_frozen;
  std::map<NodeIndex, TimeMs> x_excused_until;
  std::map<JobId, Seen> x_jobs;
  std::set<std::pair<JobScheduleId, TimeMs>> x_due;  // times of schedules for which there was a job
  std::map<std::string, Answer> x_answers;
  std::set<JobId> x_acknowledged;
  std::set<std::string> x_erasable;  // paths of jobs whose rows may go
  std::map<JobId, TimeMs> x_running_without_process_since;

  // Of the accounting: what was held and when, watched from outside and held against its rows.
  struct Held {
    TimeMs at_ms = 0;
    std::int64_t units = 0;
  };
  std::vector<Held> x_held;  // not committed yet
  Held x_held_last;          // the newest that is
  std::int64_t x_allocated_ms = 0, x_accounted_ms = 0;
  std::map<core::HoldingKey, core::Usage> x_open;  // with units and since when
  std::map<AttemptId, core::Usage> x_attempts;     // the first row of each
};

// A number that changes whenever anything a refused command must not touch changes.
std::uint64_t digest(const core::State& state);

}  // namespace trainyard::simulator
