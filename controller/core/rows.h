// The rows of the controller's tables: what the core owns and the store keeps. Plain values; written by core only.
// Fields in a `Live` part are memory only: they start fresh after a restart (every lease counts as just renewed).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/model.h"
#include "controller/core/cron.h"
#include "controller/core/job_state.h"
#include "controller/core/shares.h"
#include "controller/core/sweep.h"

namespace trainyard::core {

using Tags = std::map<std::string, std::string>;

struct Meta {
  std::string store_generation;  // random, drawn by the edge when the database is created or restored
  std::uint64_t next_id = 1;     // one counter for all nouns: an id is never used twice
  std::uint64_t next_timeline = 1;
  TimeMs last_now_ms = 0;  // of the newest event committed
  friend bool operator==(const Meta&, const Meta&) = default;
};

struct Group {
  GroupId id;
  std::string name, location;
  Tags tags;
  TimeMs created_ms = 0;
  bool deleting = false;
  friend bool operator==(const Group&, const Group&) = default;
};

struct Workspace {
  WorkspaceId id;
  GroupId group;
  std::string name, location;
  Tags tags;
  TimeMs created_ms = 0;
  bool deleting = false;
  Quota quota = {};
  friend bool operator==(const Workspace&, const Workspace&) = default;
};

struct Experiment {
  ExperimentId id;
  WorkspaceId workspace;
  std::string name;
  TimeMs created_ms = 0;
  bool deleting = false;
  friend bool operator==(const Experiment&, const Experiment&) = default;
};

enum class VmPriority { dedicated, low_priority };
enum class DeallocationOption { requeue, terminate, wait_for_job_completion };

// scaleSettings.autoScale: as many nodes as queued and running jobs need, never fewer or more than these.
struct AutoScale {
  std::uint32_t minimum = 0, maximum = 0;
  std::uint32_t initial = 0;  // after the creation, until the idle time has passed
  DurationMs idle_before_scale_down_ms = 5 * 60 * 1000;
  friend bool operator==(const AutoScale&, const AutoScale&) = default;
};

struct ClusterSpec {
  std::string vm_size;
  VmPriority vm_priority = VmPriority::dedicated;
  std::uint32_t target_node_count = 0;  // scaleSettings.manual; without meaning when `auto_scale` is set
  DeallocationOption node_deallocation_option = DeallocationOption::requeue;
  std::string admin_user_name, admin_user_ssh_public_key;
  std::optional<AutoScale> auto_scale = std::nullopt;
  NodeSetup node_setup = {};
  friend bool operator==(const ClusterSpec&, const ClusterSpec&) = default;
};

struct Cluster {
  ClusterId id;
  WorkspaceId workspace;
  std::string name;
  ClusterSpec spec;
  bool resizing = false;  // allocationState
  TimeMs created_ms = 0, allocation_changed_ms = 0;
  bool deleting = false;
  std::uint32_t auto_target = 0;     // autoScale: how many nodes it should have now
  std::string setup_path_suffix;     // stdOutErrPathSuffix
  std::vector<Volume> volumes = {};  // of spec.node_setup, resolved at the creation
  friend bool operator==(const Cluster&, const Cluster&) = default;
};

// Nothing new is placed on a drained node.
struct Drain {
  std::string why, who;
  TimeMs since_ms = 0;
  bool cordon = false;  // for the time being: what runs there is meant to go on
  friend bool operator==(const Drain&, const Drain&) = default;
};

// Result of the newest health check of a node.
struct NodeHealth {
  TimeMs at_ms = 0;
  bool passed = true;
  std::string summary;
  std::vector<NamedValue> figures;
  friend bool operator==(const NodeHealth&, const NodeHealth&) = default;
};

enum class NodeState { unassigned, preparing, idle, running, leaving, unusable };

struct Node {
  NodeId id;
  std::string name;
  Inventory inventory;
  std::string epoch;                       // the life of the agent that `revision` counts for
  std::vector<std::string> former_epochs;  // the newest few before it, oldest first: their reports are refused for ever
  std::uint64_t revision = 0;              // of its orders; rises for ever, durable
  std::optional<ClusterId> cluster;
  NodeState state = NodeState::unassigned;
  std::string reason;  // of unusable
  TimeMs state_changed_ms = 0;
  // Orders of this revision or newer must be echoed before `preparing` becomes idle, `leaving` ends, or anything is
  // placed: after a fence the node must show that it knows that what it held is no longer its.
  std::uint64_t awaited_revision = 0;
  // The run of its cluster's set-up that it should have; 0: the cluster has none, or the node is in no cluster.
  std::uint64_t setup_run = 0;
  std::uint32_t setup_failures = 0;  // one after the other: the pause before the next try grows
  TimeMs setup_retry_ms = 0;         // while unusable: when it is tried again
  NodeError setup_error = {};        // while unusable
  std::optional<Drain> drain = std::nullopt;
  std::optional<NodeHealth> health = std::nullopt;

  struct Live {
    bool seen = false;  // reported since the controller started; placement needs it
    bool reachable = true;
    TimeMs last_report_ms = 0;  // newest report; set to `now` for every node at start
    std::uint64_t echoed_revision = 0;
    std::string fence_state;      // "", "running", "failed: ...": of the pool's fence command
    TimeMs fence_changed_ms = 0;  // of fence_state
    // It still runs something that this controller knows nothing of (fenced wrongly, or of another database): nothing
    // is placed on it. `sequence` is of the newest full report.
    bool strays = false;
    std::uint64_t sequence = 0;
    std::optional<SetupReport> setup = std::nullopt;  // what is there of a set-up, as that report says
    friend bool operator==(const Live&, const Live&) = default;
  } live;
  friend bool operator==(const Node&, const Node&) = default;
};

// When a job that waits for another one may start: the other has succeeded; has ended; has failed or was terminated.
// A job array has succeeded when all its tasks have, and ended with the last of them.
enum class After { ok, any, not_ok };
// Whose end is waited for: one of the two is set.
struct Awaited {
  JobId job;
  JobArrayId array = {};
  friend auto operator<=>(const Awaited&, const Awaited&) = default;
};
// A job or a job array of the same workspace that must have ended first.
struct Dependency {
  std::string job;  // "experiment/name", as created
  JobId id;         // may point to a row that is gone once it is met; 0: it is an array
  After after = After::ok;
  bool met = false;
  JobArrayId array = {};  // as `id`
  Awaited awaited() const { return {id, array}; }
  friend bool operator==(const Dependency&, const Dependency&) = default;
};

// A held job is not started until somebody releases it.
struct Hold {
  std::string why, who;
  TimeMs since_ms = 0;
  friend bool operator==(const Hold&, const Hold&) = default;
};

// Why an attempt ended, in words and for programs.
struct EndCause {
  std::string code;  // JobFailed, NodeLost, Terminated, TimeLimit, ClusterResized, ClusterDeleted, ...
  std::string message;
  bool infrastructure = false;
  friend bool operator==(const EndCause&, const EndCause&) = default;
};

// Final cause of a requeue: does it use the job's budget of infrastructure requeues?
struct Job {
  JobId id;
  ExperimentId experiment;
  ClusterId cluster;         // may point to a row that is gone
  std::string cluster_path;  // "group/workspace/cluster", kept for people
  std::string name;
  std::string rerun_of;  // the job of the same experiment whose repetition it is; empty: none
  std::shared_ptr<const JobSpec> spec;
  ImageMapping mapping;
  std::vector<Volume> volumes;        // as in Launch, resolved at submit
  std::string segment;                // jobOutputDirectoryPathSegment
  std::vector<std::string> warnings;  // given at submit ("cluster can have 4 nodes, job needs 5")
  JobState state = JobState::queued;
  Verdict verdict = Verdict::none;  // of the current attempt
  EndCause cause;                   // of the current or last end
  std::uint32_t attempt = 0;        // 0: never placed
  std::uint32_t requeues = 0;       // infrastructure requeues used
  TimeMs created_ms = 0, state_changed_ms = 0, started_ms = 0, ended_ms = 0;
  std::optional<std::int32_t> exit_code;  // of the head, shown as soon as known
  TimeMs head_exited_ms = 0;              // exit seen, verdict may still wait for the other nodes' reports
  std::vector<NodeError> errors;          // executionInfo.errors
  std::vector<CleanupReceipt> receipts;   // of the newest attempt, per node
  std::vector<std::string> last_nodes;    // node names of the newest attempt, in rank order
  RunAs run_as = {};                      // by the operator's table, at submit
  std::uint32_t first_port = 0;           // of the newest attempt: Launch::first_port
  std::string image_digest = {};          // of a container job, once a head has told it: pinned for all attempts
  std::string owner = {};                 // the principal that submitted it
  std::optional<Priority> new_priority =
      std::nullopt;  // instead of the one that it was submitted with: see priority_of
  std::optional<Hold> hold = std::nullopt;
  std::vector<Dependency> dependencies = {};  // as submitted; see may_start
  DurationMs limit_ms = 0;                    // time limit of the newest attempt: see limit_of
  JobArrayId array = {};                      // whose task it is; 0: of none
  std::uint32_t task = 0;                     // its index there
  JobScheduleId schedule = {};                // that made it; may point to a row that is gone. 0: none
  TimeMs due_ms = 0;                          // which of its times it was made for
  bool deleting = false;
};

// What is given of jobs that are made later, many of the same kind: as of a job, all of it, and it never changes.
struct JobTemplate {
  std::string cluster_path;
  JobSpec spec;
  ImageMapping mapping;
  std::vector<Volume> volumes;
  std::string unique;  // last part of the jobs' path segments
  RunAs run_as;
  std::string owner;
  std::vector<std::string> warnings;
  friend bool operator==(const JobTemplate&, const JobTemplate&) = default;
};

// What is given when a job array is made: one copy, however often its row is written. Each task gets its variables
// beside those of the spec.
struct ArrayBody : JobTemplate {
  std::uint32_t tasks = 0;  // NAME_0 to NAME_(tasks - 1)
  Sweep sweep;
  friend bool operator==(const ArrayBody&, const ArrayBody&) = default;
};

enum class ArrayState { running, succeeded, failed, terminated };

// Many jobs that differ by their parameters only, as one record: a task becomes a job when it comes near (see
// wants_task), and is a job like others from then on.
struct JobArray {
  JobArrayId id;
  ExperimentId experiment;
  ClusterId cluster;
  std::string name;
  std::shared_ptr<const ArrayBody> body;
  std::uint32_t parallel = 0;                 // jobs of it that have not ended, at most; 0: any number
  std::uint32_t next = 0;                     // the tasks before it were made
  std::uint32_t succeeded = 0, failed = 0;    // tasks that have ended, also those whose jobs were deleted since
  std::uint32_t removed = 0;                  // tasks whose jobs were deleted
  ArrayState state = ArrayState::running;     // until no task is to come, and none has not ended
  EndCause cause = {};                        // why no more tasks are made before all were; also why it failed
  std::optional<Hold> hold = std::nullopt;    // no tasks are made until it is released
  std::vector<Dependency> dependencies = {};  // none are made before they are met
  TimeMs created_ms = 0, state_changed_ms = 0;
  TimeMs parallel_changed_ms = 0;  // 0: never. Tasks that were made before go on, also when it was lowered
  bool deleting = false;
};

// What a schedule does when it is time for the next job while one of its jobs has not ended.
enum class Overlap { skip, allow };

// What became of a time that was due.
enum class DueOutcome { made, skipped, refused };
struct DueRun {
  TimeMs due_ms = 0;
  DueOutcome outcome = DueOutcome::made;
  std::string job;  // name of the job that was made; empty: none was
  std::string why;  // none was
  friend bool operator==(const DueRun&, const DueRun&) = default;
};

// The same job again and again, at the times of a cron expression. What it makes is submitted like a job of a user,
// looked up by names each time: a cluster that was made anew is found. Its jobs stay when it is deleted.
struct JobSchedule {
  JobScheduleId id;
  ExperimentId experiment;
  std::string name;
  std::shared_ptr<const JobTemplate> body;
  Cron cron;
  Overlap overlap = Overlap::skip;
  std::uint32_t keep = 10;                       // of its jobs that have ended, the newest; 0: all
  std::optional<Hold> suspended = std::nullopt;  // its times pass without anything
  TimeMs next_ms = 0;                            // when it is due; 0: it is suspended
  // Of the times that came: jobs made; skipped because one went on; refused as submits are; passed unseen, with a later
  // one made up for.
  std::uint32_t made = 0, skipped = 0, refused = 0, missed = 0;
  std::string error = {};           // of the newest that was not skipped, when it was refused
  std::vector<DueRun> recent = {};  // what became of the newest few, oldest first
  TimeMs created_ms = 0;
  TimeMs changed_ms = 0;  // when a user did so last
};

// What became of the work of an attempt, for the accounting: `lost` when infrastructure ended it (a node was lost, a
// GPU failed), `requeued` when it was stopped to be queued again (preempted, resized, drained), else `kept`.
enum class Work { kept, lost, requeued };

// A GPU's owner. Lives until the node says clean or is fenced; outlives its job, cluster and group rows.
struct Holding {
  AttemptId id;
  NodeId node;
  std::string job_name;      // for people, also when the job row is gone
  std::string node_epoch;    // life of the agent it was given to
  std::uint32_t member = 0;  // 0 = head
  Payer payer;
  std::vector<std::string> gpu_uuids;
  bool shared = false;  // it has these GPUs only; otherwise the whole node
  DurationMs lease_ms = 0;
  TimeMs since_ms = 0;
  HoldingState reported = HoldingState::preparing;
  bool stop_ordered = false;  // this node should stop it, whatever the job's state
  // After the head's exit: the verdict waits until the node echoes this revision. 0: nothing awaited.
  std::uint64_t confirm_revision = 0;
  // ---- For the accounting (accounting.h): what it is counted for, also when those rows are gone, and by which cause
  // ----
  std::string job_path = {}, cluster_path = {};  // as of the job's row
  TimeMs running_ms = 0;  // when the work of its attempt began, or `stopped_ms` if it never did; set with that
  TimeMs stopped_ms = 0;  // when the end of its attempt was decided; 0: it goes on
  Work work = Work::kept;
  friend bool operator==(const Holding&, const Holding&) = default;
};

// GPUs that it takes away from others, from its beginning to its end; a node without any counts as one.
inline std::uint32_t gpus_of(const Holding& holding) {
  return holding.gpu_uuids.empty() ? 1 : static_cast<std::uint32_t>(holding.gpu_uuids.size());
}

using HoldingKey = std::pair<NodeId, AttemptId>;
inline HoldingKey key_of(const Holding& holding) {
  return {holding.node, holding.id};
}

// Operator's places are configured; an account is a user's name for one of them.
struct Account {
  AccountId id;
  GroupId group;
  std::string name, location, sku;
  std::string place;  // absolute directory on the nodes that holds the account's shares
  TimeMs created_ms = 0;
  friend bool operator==(const Account&, const Account&) = default;
};

struct Share {
  ShareId id;
  AccountId account;
  std::string name;
  TimeMs created_ms = 0;
  bool deleting = false;  // its files are being removed: nothing new may use it
  friend bool operator==(const Share&, const Share&) = default;
};

// Batch AI's file server, as its user asked for it.
struct FileServerSpec {
  std::string vm_size;
  std::uint32_t disk_size_gb = 0, disk_count = 0;
  std::string storage_account_type;  // Standard_LRS | Premium_LRS
  std::string caching_type;          // none | readonly | readwrite
  std::string admin_user_name, admin_user_ssh_public_key;
  friend bool operator==(const FileServerSpec&, const FileServerSpec&) = default;
};

enum class Provisioning { creating, succeeded, failed, deleting };

// A name for an NFS export: one that the operator registered, or one that a storage node serves for it.
struct FileServer {
  FileServerId id;
  WorkspaceId workspace;
  std::string name;
  FileServerSpec spec;
  std::string address, export_path;  // from the operator's table, or as its node said; empty until it did
  TimeMs created_ms = 0;
  // ---- Of one that Trainyard made ----
  std::string node = {};  // that has its files, by name; empty: registered, always `succeeded`
  Provisioning state = Provisioning::succeeded;
  TimeMs state_changed_ms = 0;
  std::uint32_t port = 0;
  std::string error = {};  // why it failed, or why it does not go away
  friend bool operator==(const FileServer&, const FileServer&) = default;
};

// Nodes that are kept free for a time: for jobs of one workspace, or (maintenance) for nobody. Nothing else that might
// still run then is placed on them; what runs already goes on. Gone when its time is over.
struct Reservation {
  ReservationId id;
  std::string name;
  std::vector<NodeId> nodes;  // rising
  TimeMs from_ms = 0, until_ms = 0;
  std::optional<WorkspaceId> workspace;
  std::string why, who;
  TimeMs created_ms = 0;
  friend bool operator==(const Reservation&, const Reservation&) = default;
};

// The first answer to a client's request id; kept 30 days.
struct RequestRecord {
  std::string request_id;
  std::string fingerprint;  // of principal + method + body: the same id for something else is refused
  TimeMs at_ms = 0;
  int code = 0;         // Code of the answer
  std::string message;  // of an error
  std::string subject;  // kind:id of the resource answered, e.g. "job:17"
  friend bool operator==(const RequestRecord&, const RequestRecord&) = default;
};

// History for people and audit: who did what to which thing, and why.
struct TimelineLine {
  std::uint64_t sequence = 0;  // gap-free
  TimeMs at_ms = 0;
  std::string who;      // principal, or "controller", or "node:NAME"
  std::string subject;  // "job:17 group/workspace/experiment/name"
  std::string what;     // "queued -> preparing"
  std::string why;
  friend bool operator==(const TimelineLine&, const TimelineLine&) = default;
};

// What a holding was, written when it ends and never changed: the accounting. Its time is cut in three: preparing from
// `from_ms`, the work of its attempt from `running_ms`, stopping from `stopped_ms` to `to_ms`. Outlives all other rows.
struct Usage {
  AttemptId id;
  NodeId node;
  std::string job_path, owner, cluster_path, node_name;
  std::uint32_t units = 1;  // GPUs; a node without GPUs counts as one
  std::vector<std::string> gpu_uuids;
  TimeMs from_ms = 0, running_ms = 0, stopped_ms = 0, to_ms = 0;
  Work work = Work::kept;
  friend bool operator==(const Usage&, const Usage&) = default;
};

// What one batch changed: whole rows to upsert, keys to erase, lines to append. One transaction.
struct Changes {
  Meta meta;
  std::vector<Group> groups;
  std::vector<Workspace> workspaces;
  std::vector<Experiment> experiments;
  std::vector<Cluster> clusters;
  std::vector<Node> nodes;
  std::vector<Job> jobs;
  std::vector<Holding> holdings;
  std::vector<Account> accounts;
  std::vector<Share> shares;
  std::vector<FileServer> file_servers;
  std::vector<RequestRecord> requests;
  std::vector<Spent> spent;
  std::vector<Reservation> reservations;
  std::vector<JobArray> arrays;
  std::vector<JobSchedule> schedules;
  std::vector<TimelineLine> timeline;
  std::vector<Usage> usage;  // appended

  std::vector<GroupId> erased_groups;
  std::vector<WorkspaceId> erased_workspaces;
  std::vector<ExperimentId> erased_experiments;
  std::vector<ClusterId> erased_clusters;
  std::vector<NodeId> erased_nodes;
  std::vector<JobId> erased_jobs;
  std::vector<HoldingKey> erased_holdings;
  std::vector<AccountId> erased_accounts;
  std::vector<ShareId> erased_shares;
  std::vector<FileServerId> erased_file_servers;
  std::vector<std::string> erased_requests;
  std::vector<Payer> erased_spent;
  std::vector<ReservationId> erased_reservations;
  std::vector<JobArrayId> erased_arrays;
  std::vector<JobScheduleId> erased_schedules;

  bool empty() const;  // nothing but meta.last_now_ms would change
};

// Everything that was committed; what a controller starts from. The timeline and the accounting stay on disk.
struct Tables {
  Meta meta;
  std::vector<Group> groups;
  std::vector<Workspace> workspaces;
  std::vector<Experiment> experiments;
  std::vector<Cluster> clusters;
  std::vector<Node> nodes;
  std::vector<Job> jobs;
  std::vector<Holding> holdings;
  std::vector<Account> accounts;
  std::vector<Share> shares;
  std::vector<FileServer> file_servers;
  std::vector<RequestRecord> requests;
  std::vector<Spent> spent;
  std::vector<Reservation> reservations;
  std::vector<JobArray> arrays;
  std::vector<JobSchedule> schedules;
};

}  // namespace trainyard::core
