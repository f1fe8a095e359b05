// Internal to core: the state, what the present batch did to it, and the deadlines. Every change of a row goes through
// edit(), so that nothing is forgotten at the commit; every index is kept by settle(), move() and the add/erase
// functions.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "controller/core/core.h"

namespace trainyard::core {

template <class Key>
struct Marks {
  std::set<Key> changed, erased;
  void change(const Key& key) { erased.erase(key), changed.insert(key); }
  void erase(const Key& key) { changed.erase(key), erased.insert(key); }
};

// From the set under `key`, which goes with its last value.
template <class Key, class Set>
void erase_from(std::map<Key, Set>& index, const Key& key, const typename Set::key_type& value) {
  auto it = index.find(key);
  if (it == index.end()) return;
  it->second.erase(value);
  if (it->second.empty()) index.erase(it);
}

// Things by the time at which something must be looked at again.
template <class Key>
class Deadlines {
 public:
  void set(const Key& key, TimeMs at) {  // 0: none
    auto it = x_at.find(key);
    if (it != x_at.end()) {
      if (it->second == at) return;
      x_order.erase({it->second, key});
      x_at.erase(it);
    }
    if (at != 0) {
      x_at.emplace(key, at);
      x_order.insert({at, key});
    }
  }
  TimeMs first() const { return x_order.empty() ? 0 : x_order.begin()->first; }
  // REQUIRES: first() != 0
  Key first_key() const { return x_order.begin()->second; }

 private:
  std::map<Key, TimeMs> x_at;
  std::set<std::pair<TimeMs, Key>> x_order;
};

struct Engine {
  Engine(Settings settings, Tables tables, TimeMs now_ms);

  Settings settings;
  State state;
  TimeMs now = 0;
  std::string who = "controller";  // of the present event, for the timeline
  bool wake_plan = true;
  TimeMs planned_ms = 0;  // when the last plan was applied

  // ---- Rows. edit() marks the row as changed. REQUIRES: the row exists ----
  Group& edit(GroupId id) {
    groups.change(id);
    return state.groups.at(id);
  }
  Workspace& edit(WorkspaceId id) {
    workspaces.change(id);
    return state.workspaces.at(id);
  }
  Experiment& edit(ExperimentId id) {
    experiments.change(id);
    return state.experiments.at(id);
  }
  Cluster& edit(ClusterId id) {
    clusters.change(id);
    touched_clusters.insert(id);
    return state.clusters.at(id);
  }
  Node& edit(NodeId id) {
    nodes.change(id);
    touched_nodes.insert(id);
    return state.nodes.at(id);
  }
  Job& edit(JobId id) {
    jobs.change(id);
    touched_jobs.insert(id);
    return state.jobs.at(id);
  }
  JobArray& edit(JobArrayId id) {
    arrays.change(id);
    return state.arrays.at(id);
  }
  JobSchedule& edit(JobScheduleId id) {
    schedules.change(id);
    return state.schedules.at(id);
  }
  Share& edit(ShareId id) {
    shares.change(id);
    return state.shares.at(id);
  }
  Holding& edit(const HoldingKey& key) {
    holdings.change(key);
    touched_nodes.insert(key.first);
    return state.holdings.at(key);
  }
  // The memory-only part of a node: nothing is written.
  Node::Live& live(NodeId id) {
    touched_nodes.insert(id);
    return state.nodes.at(id).live;
  }

  std::uint64_t next_id() { return state.meta.next_id++; }
  void add_holding(Holding holding);
  void spend(const Holding& holding);  // its time from its beginning until now
  void erase_holding(const HoldingKey& key);

  // ---- What the outside is told ----
  void note(std::string subject, std::string what, std::string why);
  void say(Action action) { actions.push_back(std::move(action)); }
  void send_orders(NodeId node);
  // The node's orders change: its revision rises (once per batch: nothing of a batch is spoken before its end).
  std::uint64_t bump(NodeId node);

  // Brings node states, indexes, allocation states and deadlines up to date with what the event touched.
  void settle();

  Marks<GroupId> groups;
  Marks<WorkspaceId> workspaces;
  Marks<ExperimentId> experiments;
  Marks<ClusterId> clusters;
  Marks<NodeId> nodes;
  Marks<JobId> jobs;
  Marks<HoldingKey> holdings;
  Marks<AccountId> accounts;
  Marks<ShareId> shares;
  Marks<FileServerId> file_servers;
  Marks<std::string> requests;
  Marks<Payer> spent;
  Marks<ReservationId> reservations;
  Marks<JobArrayId> arrays;
  Marks<JobScheduleId> schedules;
  std::vector<TimelineLine> timeline;
  std::vector<Usage> usage;  // of holdings that ended
  std::vector<Action> actions;
  std::set<NodeId> orders_asked, bumped;
  std::vector<std::pair<Awaited, bool>> ended;  // and whether it succeeded: for those that wait for the end
  std::set<JobArrayId> stirred;                 // arrays of which something changed: more tasks may come, or its end
  std::set<JobScheduleId> crowded;              // of which jobs ended, or fewer are to be kept: some may go
  bool fed = false;                             // a task became a job since the last plan was begun to be applied

  std::set<NodeId> touched_nodes;
  std::set<JobId> touched_jobs;
  std::set<ClusterId> touched_clusters;
  std::set<NodeId> checked_nodes;  // touched since the last outcome, for check_touched
  std::set<JobId> checked_jobs;

  Deadlines<NodeId> node_deadlines;
  Deadlines<JobId> job_deadlines;
  Deadlines<std::string> request_deadlines;
  Deadlines<JobScheduleId> schedule_deadlines;

 private:
  // What the indexes know of a node: compared with what they should know, so an unchanged node costs nothing.
  struct Facts {
    ClusterId cluster;  // 0: none
    NodeState state = NodeState::unassigned;
    bool unreachable = false, free = false;
    std::uint32_t shared_units = 0;
    NodeOffer offer;      // in a cluster
    std::string flavour;  // lower-cased, only while free in no cluster
    friend bool operator==(const Facts&, const Facts&) = default;
  };
  Facts facts_of(const Node& node) const;
  void index(NodeId id);
  void settle_node(NodeId id);
  void settle_cluster(ClusterId id);
  void settle_jobs();
  std::map<NodeId, Facts> x_facts;
};

// ---- The rules, by file ----

// on_job.cc
void move(Engine&, Job&, JobEvent, const std::string& why);  // the only writer of Job::state
void end(Engine&, JobId, Verdict, EndCause);
void end_infrastructure(Engine&, JobId, EndCause);  // requeue or failure, as the job's recovery says
void check_gone(Engine&, JobId);                    // stopping, and nothing left that it waits for?
void delete_job(Engine&, JobId, const std::string& why);
bool cluster_is_going(const State&, ClusterId);   // or gone
ClusterRef cluster_ref(const std::string& path);  // of "group/workspace/cluster"
void place(Engine&, const Placement&);
void all_ready(Engine&, JobId);  // if every holding of the attempt is prepared: phase run
void head_exited(Engine&, JobId, std::optional<std::int32_t> exit_code, const NodeError& error);
void check_confirmed(Engine&, JobId);  // has every node reported after the head's exit?
std::string subject_of(const State&, const Job&);
// What a submission is by the rows that there are, or why it cannot be.
struct Submission {
  ExperimentId experiment;
  ClusterId cluster;
  std::vector<Volume> volumes;
  RunAs run_as;
  std::vector<std::string> warnings;
  std::vector<Dependency> dependencies;
};
Result<Submission> resolve(Engine&, const SubmitJob&);
// What is kept of a submission for jobs that are made later.
JobTemplate template_of(const Engine&, const SubmitJob&, Submission);
bool same_dependencies(const State&, ExperimentId, const std::vector<Dependency>&, const std::vector<DependsOn>&);
// Submits a job, or says why it cannot be: to its row comes what the submission and the rows that there are say.
Result<JobId> add_job(Engine&, const SubmitJob&, Job, const std::string& why);
// Puts a job into its cluster's queue. Given: all that its submission says; id, path, segment and times are made here.
JobId enqueue(Engine&, Job, const std::string& unique, const std::string& why);

// on_array.cc
void task_moved(Engine&, const Job& task, JobState from, JobState to);
void task_erased(Engine&, const Job& task);
void consider(Engine&, JobArrayId);  // makes the tasks that may come; ends it, or erases it, when that is due
// Of arrays that wait for this end.
void consider_waiting_arrays(Engine&, Awaited ended, bool succeeded);
void delete_array(Engine&, JobArrayId, const std::string& why);
// At a start: counts that do not fit the rows, because some of them were damaged.
void mend_arrays(Engine&);
// The array of which a job of that name would be a task; null: of none.
const JobArray* array_of_task(const State&, const JobRef&);

// on_schedule.cc
void on_due(Engine&, JobScheduleId);    // its time has come
void thin_out(Engine&, JobScheduleId);  // deletes those of its jobs that have ended and are more than it keeps
void erase_schedule(Engine&, JobScheduleId, const std::string& why);
void run_erased(Engine&, const Job&);  // REQUIRES: a schedule made it

// on_queue.cc
void enter_queue(Engine&, const Job&);  // or among those that are held back
void leave_queue(Engine&, const Job&);  // REQUIRES: nothing that its place depends on has changed yet
// Jobs that wait for this end: they may start, or never can and end, too.
void consider_dependents(Engine&, Awaited ended, bool succeeded);
// By names; an error where it is missing, or has ended otherwise than waited for.
Result<std::vector<Dependency>> resolve_dependencies(const Engine&, const SubmitJob&);
// Those on what has ended become met; the cause, where one of them never can be any more.
std::optional<EndCause> settle_dependencies(std::vector<Dependency>&, Awaited ended, bool succeeded);

void preempt(Engine&, const Preemption&);

// parts.cc
// Free GPUs for a part of the node: of one NVLink island, else near one memory. REQUIRES: so many are free
std::vector<std::string> choose_gpus(const State&, const Node&, std::uint32_t count);

// on_cluster.cc
void withdraw(Engine&, const Withdrawal&, const std::string& why);
void assign(Engine&, const Assignment&);
void advance(Engine&, NodeId);  // preparing -> idle, running -> idle, leaving -> unassigned, when they are due
void retarget(Engine&, const Retarget&);
void delete_cluster(Engine&, ClusterId, const std::string& why);
std::vector<JobId> jobs_on(const State&, NodeId);  // whose present attempt is on it
void update_allocation(Engine&, ClusterId);        // resizing or steady; a deleted cluster without nodes vanishes
std::string subject_of(const State&, const Cluster&);

// on_setup.cc: what clusters make of their nodes
void begin_setup(Engine&, NodeId);                          // a new run, for a node that is in a cluster
void take_setup(Engine&, NodeId, const Report&);            // what a node says of it
bool is_set_up(const Node&);                                // the present run is done, or there is none
void consider_setup(Engine&, NodeId);                       // failed: the node is unusable for a while
void retry_setup(Engine&, NodeId, const std::string& why);  // REQUIRES: it is unusable

// on_service.cc: nodes that are drained, and GPUs that are out of service
void take_inventory(Engine&, NodeId, const Inventory& reported);
void forget_missing_gpus(Engine&, NodeId);
void drain(Engine&, NodeId, const std::string& why, bool cordon);

// on_reservation.cc
void forget_past_reservations(Engine&);
void forget_reservations_of(Engine&, WorkspaceId);  // it goes

// on_resource.cc: groups, workspaces, experiments vanish when they are deleted and empty
void vanish_if_empty(Engine&, GroupId);
void vanish_if_empty(Engine&, WorkspaceId);
void vanish_if_empty(Engine&, ExperimentId);

// on_file_server.cc
void delete_file_servers(Engine&, const std::string& workspace_path, const std::string& why);
void take_file_servers(Engine&, NodeId, const Report&);             // what a node says of those that it serves
void forget_file_servers(Engine&, NodeId, const std::string& why);  // those that wait for the node to remove them

// on_node.cc
void on_report(Engine&, const Report&);
void on_same(Engine&, const NodeSame&);
void on_heard(Engine&, const NodeHeard&);
void release(Engine&, HoldingKey, const CleanupReceipt* receipt);
// Nothing of these holdings can be alive any more: ends their attempts, then gives them back.
void fence(Engine&, NodeId, const std::string& why);
void fence_one(Engine&, HoldingKey, const std::string& why);
void set_node_state(Engine&, NodeId, NodeState, const std::string& why);
std::string subject_of(const Node&);

// on_time.cc
void on_tick(Engine&);
void on_fence_finished(Engine&, const FenceFinished&);
TimeMs deadline_of(const Engine&, const Node&);
TimeMs deadline_of(const Engine&, const Job&);
void consider_fence_command(Engine&, NodeId);

// Commands; each answers with the resource it made or found.
Result<Subject> apply(Engine&, const CreateGroup&);
Result<Subject> apply(Engine&, const DeleteGroup&);
Result<Subject> apply(Engine&, const CreateWorkspace&);
Result<Subject> apply(Engine&, const DeleteWorkspace&);
Result<Subject> apply(Engine&, const CreateExperiment&);
Result<Subject> apply(Engine&, const DeleteExperiment&);
Result<Subject> apply(Engine&, const CreateCluster&);
Result<Subject> apply(Engine&, const ResizeCluster&);
Result<Subject> apply(Engine&, const AutoScaleCluster&);
Result<Subject> apply(Engine&, const DeleteCluster&);
Result<Subject> apply(Engine&, const SubmitJob&);
Result<Subject> apply(Engine&, const TerminateJob&);
Result<Subject> apply(Engine&, const DeleteJob&);
Result<Subject> apply(Engine&, const RerunJob&);
Result<Subject> apply(Engine&, const HoldJob&);
Result<Subject> apply(Engine&, const ReleaseJob&);
Result<Subject> apply(Engine&, const PrioritizeJob&);
Result<Subject> apply(Engine&, const SetQuota&);
Result<Subject> apply(Engine&, const CreateReservation&);
Result<Subject> apply(Engine&, const DeleteReservation&);
Result<Subject> apply(Engine&, const CreateJobArray&);
Result<Subject> apply(Engine&, const UpdateJobArray&);
Result<Subject> apply(Engine&, const TerminateJobArray&);
Result<Subject> apply(Engine&, const DeleteJobArray&);
Result<Subject> apply(Engine&, const CreateJobSchedule&);
Result<Subject> apply(Engine&, const UpdateJobSchedule&);
Result<Subject> apply(Engine&, const DeleteJobSchedule&);
Result<Subject> apply(Engine&, const CreateAccount&);
Result<Subject> apply(Engine&, const CreateShare&);
Result<Subject> apply(Engine&, const DeleteShare&);
Result<Subject> apply(Engine&, const ForgetShare&);
Result<Subject> apply(Engine&, const NoteExec&);
Result<Subject> apply(Engine&, const FenceNode&);
Result<Subject> apply(Engine&, const UpdateGroup&);
Result<Subject> apply(Engine&, const UpdateWorkspace&);
Result<Subject> apply(Engine&, const CreateFileServer&);
Result<Subject> apply(Engine&, const DeleteFileServer&);
Result<Subject> apply(Engine&, const RepairNode&);
Result<Subject> apply(Engine&, const DrainNode&);
Result<Subject> apply(Engine&, const UndrainNode&);
Result<Subject> apply(Engine&, const RecordNodeHealth&);

// lookup.cc: names to ids; an error names what is missing and where.
Result<GroupId> find_group(const State&, const std::string& name);
Result<WorkspaceId> find_workspace(const State&, const std::string& group, const std::string& workspace);
Result<ExperimentId> find_experiment(const State&, const ExperimentRef&);
Result<ClusterId> find_cluster(const State&, const ClusterRef&);
Result<JobId> find_job(const State&, const JobRef&);
Result<JobArrayId> find_array(const State&, const JobRef&);
Result<JobScheduleId> find_schedule(const State&, const JobRef&);
Result<FileServerId> find_file_server(const State&, const FileServerRef&);
Result<ShareId> find_share(const State&, const std::string& account, const std::string& share);
template <class Value>
std::vector<Value> ids_below(const std::map<std::string, Value>& index, const std::string& path) {
  std::vector<Value> found;
  const std::string prefix = path + "/";
  for (auto it = index.lower_bound(prefix); it != index.end() && it->first.starts_with(prefix); ++it) {
    found.push_back(it->second);
  }
  return found;
}

// Adds (+1) or takes (-1) a node of that kind.
void tally(NodeCounts& counts, NodeState state, bool unreachable, int delta);
bool active(JobState state);
const char* name_of(JobState state);
const char* name_of(NodeState state);
const char* name_of(Provisioning state);
const char* name_of(ArrayState state);
std::string clock_time(TimeMs time);  // "14:02:09" of controller time, for texts
std::string lower(std::string_view text);

// states of a holding only go forward; an older message never takes one back
int rank_of(HoldingState state);

}  // namespace trainyard::core
