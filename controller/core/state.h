// The controller's whole state: tables and the indexes derived from them. Owned by the loop's thread; read by plan and
// views. Ordered containers only: iteration order is part of determinism.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <ranges>
#include <set>
#include <string>
#include <vector>

#include "controller/core/rows.h"

namespace trainyard::core {

// Lower-cased path of names, e.g. "group/workspace/cluster": the key users name things by.
std::string path_key(std::initializer_list<std::string_view> names);

// Jobs of a cluster's queue of one class and payer. Classes go one after the other; whose turn it is within a class,
// plan decides.
struct QueueGroup {
  int rank = 0;  // of the class: its negated number, so that the least goes first
  Payer payer;
  friend auto operator<=>(const QueueGroup&, const QueueGroup&) = default;
};
using Queue = std::map<QueueGroup, std::set<JobId>>;  // each oldest first

// What holdings of a payer take now. The time that they have had at `now` is gpus * now - gpus_times_since.
struct Held {
  std::uint32_t gpus = 0;
  std::uint64_t gpus_times_since = 0;  // sum of gpus * since_ms
  void add(const Holding& holding) {
    gpus += gpus_of(holding);
    gpus_times_since += gpus_of(holding) * static_cast<std::uint64_t>(holding.since_ms);
  }
  void remove(const Holding& holding) {
    gpus -= gpus_of(holding);
    gpus_times_since -= gpus_of(holding) * static_cast<std::uint64_t>(holding.since_ms);
  }
  friend bool operator==(const Held&, const Held&) = default;
};

// How Batch AI's nodeStateCounts names a cluster's nodes. Unreachable nodes count as unusable unless they are leaving.
struct NodeCounts {
  std::uint32_t idle = 0, running = 0, preparing = 0, unusable = 0, leaving = 0;
  std::uint32_t unreachable = 0;  // of all of the above
  friend bool operator==(const NodeCounts&, const NodeCounts&) = default;
};

// What a node of a cluster can do for jobs, whatever it does now.
struct NodeOffer {
  bool drained = false, faulty = false;  // faulty: not drained, but without one of its GPUs
  bool containers = true;
  std::uint32_t gpus = 0;  // to give
  friend bool operator==(const NodeOffer&, const NodeOffer&) = default;
};
NodeOffer offer_of(const Node& node);
// The same of all nodes of a cluster.
struct Offers {
  std::uint32_t drained = 0, faulty = 0, no_containers = 0;
  std::map<std::uint32_t, std::uint32_t> by_gpus;  // nodes, by the GPUs that each has to give
  friend bool operator==(const Offers&, const Offers&) = default;
};
void tally(Offers& offers, const NodeOffer& node, int delta);

// Jobs of an array that have not ended.
struct TaskCounts {
  std::uint32_t live = 0, queued = 0;  // queued: of the live ones
  friend bool operator==(const TaskCounts&, const TaskCounts&) = default;
};

// How long the newest few jobs of a program took, newest last.
struct RunTimes {
  std::vector<DurationMs> took_ms;
  std::uint64_t learnt = 0;  // 1 is the first of the program: which was learnt last
  friend bool operator==(const RunTimes&, const RunTimes&) = default;
};

struct State {
  Meta meta;
  std::map<GroupId, Group> groups;
  std::map<WorkspaceId, Workspace> workspaces;
  std::map<ExperimentId, Experiment> experiments;
  std::map<ClusterId, Cluster> clusters;
  std::map<NodeId, Node> nodes;
  std::map<JobId, Job> jobs;
  std::map<HoldingKey, Holding> holdings;  // by node, then attempt
  std::map<AccountId, Account> accounts;
  std::map<ShareId, Share> shares;
  std::map<FileServerId, FileServer> file_servers;
  std::map<std::string, RequestRecord> requests;
  std::map<Payer, Spent> spent;
  std::map<ReservationId, Reservation> reservations;
  std::map<JobArrayId, JobArray> arrays;
  std::map<JobScheduleId, JobSchedule> schedules;
  DurationMs usage_half_life_ms = 0;  // a setting
  PriorityClasses classes;            // a setting
  // What nodes cannot end of holdings that are stopping, as their newest reports say; not stored.
  std::map<HoldingKey, std::string> stuck;
  std::map<AttemptId, Progress>
      progress;  // of running attempts that tell it, as their heads' newest reports say; not stored

  // Derived, rebuilt at start; kept true by core.
  std::map<std::string, GroupId> group_by_path;
  std::map<std::string, WorkspaceId> workspace_by_path;
  std::map<std::string, ExperimentId> experiment_by_path;
  std::map<std::string, ClusterId> cluster_by_path;
  std::map<std::string, JobId> job_by_path;
  std::map<std::string, NodeId> node_by_name;
  std::map<std::string, AccountId> account_by_name;
  std::map<std::string, ShareId> share_by_path;  // "account/share"
  std::map<std::string, FileServerId> file_server_by_path;
  std::map<std::string, ReservationId> reservation_by_name;
  std::map<std::string, JobArrayId> array_by_path;
  std::map<JobArrayId, std::map<std::uint32_t, JobId>> array_tasks;  // that are jobs now, by index
  std::map<JobArrayId, TaskCounts> task_counts;                      // of every array
  std::map<Awaited, std::set<JobArrayId>> waiting_arrays;            // for this end
  std::map<std::string, JobScheduleId> schedule_by_path;
  std::map<JobScheduleId, std::map<TimeMs, JobId>> schedule_jobs;   // that are there, by when they were due
  std::map<std::string, std::set<FileServerId>> node_file_servers;  // made by Trainyard, by the node's name
  std::map<ClusterId, std::set<NodeId>> cluster_nodes;
  std::map<ClusterId, std::set<NodeId>> free_nodes;  // idle, reachable, seen, holding nothing: placeable now
  // Running nodes of which jobs have parts only: units that are free of each.
  std::map<ClusterId, std::map<NodeId, std::uint32_t>> shared_nodes;
  std::set<NodeId> free_inventory;                          // in no cluster, reachable, seen, holding nothing
  std::map<ClusterId, Queue> queues;                        // queued jobs that may start
  std::map<Payer, Held> held;                               // of holdings
  std::map<ClusterId, std::set<JobId>> held_back;           // queued jobs that may not
  std::map<Awaited, std::set<JobId>> dependents;            // queued jobs that wait for this end
  std::map<JobId, std::set<HoldingKey>> job_holdings;       // all attempts that still hold something
  std::map<std::string, std::set<NodeId>> free_flavours;    // free_inventory by lower-cased flavour
  std::map<ClusterId, NodeCounts> counts;                   // of cluster_nodes
  std::map<ClusterId, Offers> offers;                       // of cluster_nodes
  std::map<ClusterId, std::set<JobId>> active_jobs;         // preparing, starting, running, stopping
  std::map<JobId, std::shared_ptr<const Launch>> launches;  // of active jobs: one copy for all nodes of the attempt
  std::map<ClusterId, std::shared_ptr<const ClusterSetup>> setups;  // of clusters that have something to set up
  // Of jobs that succeeded, by program and by the number of nodes that they got: see run_times.cc.
  std::map<std::string, std::map<std::uint32_t, RunTimes>> run_times;
};

// What jobs of the same workspace, toolkit and program took on `nodes` nodes; for an elastic job at least what they
// took on the next fewer and on more of those that it may get, so the fewer nodes, the longer. None: there is no such
// job that succeeded, or the job says nothing of its program.
std::optional<DurationMs> usual_run_time(const State& state, const Job& job, std::uint32_t nodes);
// Takes the time of a job that has succeeded into `run_times`.
void learn_run_time(State& state, const Job& job);

// Fills the derived members of `state` from its tables.
void rebuild_indexes(State& state);

Payer payer_of(const State& state, const Job& job);
QueueGroup queue_group(const State& state, const Job& job);
std::size_t size_of(const Queue& queue);
Priority priority_of(const Job& job);
// Name of the operator's class; empty: it is low, normal or high, or of a class that is not defined any more.
std::string class_of(const State& state, Priority priority);
DurationMs limit_of(const Job& job);  // of its newest attempt, or of the next one if it never had one
// What of it still counts after so long: half after each half-life. Integers only: linear within one.
std::uint64_t decayed(std::uint64_t gpu_ms, DurationMs elapsed_ms, DurationMs half_life_ms);
// GPUs that the workspace's jobs have now.
std::uint32_t gpus_held(const State& state, WorkspaceId workspace);
// GPUs of one of the cluster's nodes that jobs of whole nodes get, at most; at least 1.
std::uint32_t gpus_per_whole_node(const State& state, ClusterId cluster);
// The fewest nodes that it starts on, and the GPUs that these are where a whole node has so many.
std::uint32_t least_nodes(const JobSpec& spec);
// That its newest attempt got; of a job that never had one, those that it asks for.
std::uint32_t nodes_got(const Job& job);
std::uint32_t gpus_wanted(const Job& job, std::uint32_t per_whole_node);
std::uint32_t gpus_wanted(const State& state, const Job& job);  // by its cluster's largest node
// Nothing but nodes is missing: nobody holds it, and what it waits for has ended as it should. REQUIRES: it is queued
bool may_start(const Job& job);
bool all_met(const std::vector<Dependency>& dependencies);
// Enters a queued job into `queues` or `held_back`, and into `dependents`.
void index_queued(State& state, const Job& job);
// What all nodes of the job's newest attempt are told; built once, when the attempt is placed.
std::shared_ptr<const Launch> launch_of(const State& state, const Job& job);

// What the cluster's nodes are told of its set-up; null when there is nothing to do.
std::shared_ptr<const ClusterSetup> setup_of(const State& state, const Cluster& cluster);

std::uint32_t target_of(const Cluster& cluster);     // nodes it should have now
std::uint32_t capacity_of(const ClusterSpec& spec);  // nodes it can have with these scale settings
// The same without nodes that it has now and that run no containers.
std::uint32_t container_capacity(const State& state, const Cluster& cluster);
// Why a job with an image cannot run on the cluster's nodes as they are, by node; empty: some can run it.
std::string why_no_containers(const State& state, const Cluster& cluster);
// What the cluster's queued jobs need, in the queue's order, without those that never can run there or that their
// workspace's limit keeps; counted up to `most` nodes. `count`, if given, says how many of the `left` ones a job needs;
// 0: none would help it.
struct Demand {
  std::uint32_t nodes = 0, jobs = 0;
};
using CountNodes = std::function<std::uint32_t(const Job& job, std::uint32_t left)>;
Demand demand_of(const State& state, const Cluster& cluster, std::uint32_t most, const CountNodes& count = {});

// Derived facts of one row, by the same rules as the indexes. Pure.
bool holds_nothing(const State& state, NodeId node);
// The node's holdings by attempt: pairs of key and row.
inline auto holdings_on(const State& state, NodeId node) {
  return std::ranges::subrange(state.holdings.lower_bound({node, AttemptId{}}),
                               state.holdings.lower_bound({NodeId{node.value + 1}, AttemptId{}}));
}
bool answers(const Node& node);  // it is there, and knows what is its
// In service, answering, holding nothing, idle or in no cluster: for a job of whole nodes.
bool placeable(const State& state, const Node& node);
// Why nothing new is given to the node though it is there: it is drained, or a GPU of it is faulty (jobs of whole nodes
// do without it then; those of parts get its other GPUs). Empty: it is in service.
std::string out_of_service(const Node& node);
bool in_service(const Node& node);
const char* verb_of(const Drain& drain);                            // drained | cordoned
std::vector<std::string> gpus_to_give(const Inventory& inventory);  // uuids
std::uint32_t count_to_give(const Inventory& inventory);            // of them
// What can be given away of a node: its GPUs that are to give, or 1 when there are none.
std::uint32_t units_of(const Node& node);
// GPUs of the cluster's node that has the most to give; nothing: it has no node, so nobody knows.
std::optional<std::uint32_t> most_gpus(const State& state, ClusterId cluster);
std::uint32_t units_of(const State& state, const Holding& holding);
// Units that a job which takes parts of nodes may have of it now, beside the jobs that have parts of it. Not of a node
// that is free as a whole: see placeable.
std::uint32_t shared_units(const State& state, const Node& node);
bool current(const State& state,
             const Holding& holding);  // of its job's running attempt; otherwise an orphan or ending
std::string path_of(const State& state, const Group& group);  // names as created, joined with "/"
std::string path_of(const State& state, const Workspace& workspace);
std::string path_of(const State& state, const Experiment& experiment);
std::string path_of(const State& state, const Cluster& cluster);
std::string path_of(const State& state, const Job& job);
std::string path_of(const State& state, const FileServer& file_server);
std::string path_of(const State& state, const JobArray& array);
std::string path_of(const State& state, const JobSchedule& schedule);
// More tasks may come, and those that are there are not being ended.
bool goes_on(const JobArray& array);
std::uint32_t tasks_left(const JobArray& array);  // that have not ended, with those to come
bool tasks_to_come(const JobArray& array);        // that are no jobs yet
// Tasks of an array that wait in the queue, at most: enough for the plan to fill what is free and to promise nodes to
// those next in turn, and few enough that an array of 100,000 tasks costs no more than one of a hundred. More come as
// soon as some have left the queue.
inline constexpr std::uint32_t kMostQueuedTasks = 64;
// Its next task may become a job now: fewer than `parallel` allows have not ended, and few wait in the queue.
bool wants_task(const State& state, const JobArray& array);

}  // namespace trainyard::core
