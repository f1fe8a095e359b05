// What can happen to the controller (Event, its time inside) and what one event asks of the outside (Action).
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "common/result.h"
#include "controller/core/rows.h"

namespace trainyard::core {

// Names as users write them. Compared case-insensitively; the case of creation is kept.
struct WorkspaceRef {
  std::string group, workspace;
};
struct ExperimentRef {
  std::string group, workspace, experiment;
};
struct ClusterRef {
  std::string group, workspace, cluster;
};
struct FileServerRef {
  std::string group, workspace, file_server;
};
struct JobRef {
  std::string group, workspace, experiment, job;
};

// ---- Commands of users. Each is answered by exactly one Reply with the command's ticket. ----

struct CreateGroup {
  std::string name, location;
  Tags tags;
};
// Replaces the tags.
struct UpdateGroup {
  std::string name;
  Tags tags;
};
struct DeleteGroup {
  std::string name;
};
struct CreateWorkspace {
  WorkspaceRef ref;
  std::string location;
  Tags tags;
};  // location "": the group's
// Replaces the tags.
struct UpdateWorkspace {
  WorkspaceRef ref;
  Tags tags;
};
// Replaces the quota.
struct SetQuota {
  WorkspaceRef ref;
  Quota quota;
};
struct DeleteWorkspace {
  WorkspaceRef ref;
};
struct CreateExperiment {
  ExperimentRef ref;
};
struct DeleteExperiment {
  ExperimentRef ref;
};
struct CreateCluster {
  ClusterRef ref;
  ClusterSpec spec;
  std::string unique = {};  // uuid drawn by the edge: last part of the path of the set-up task's files
};
// To manual scale settings, whatever it had before.
struct ResizeCluster {
  ClusterRef ref;
  std::uint32_t target_node_count;
  DeallocationOption option;
};
// To autoScale settings, whatever it had before. Without an idle time: the one it has, or the default.
struct AutoScaleCluster {
  ClusterRef ref;
  std::uint32_t minimum = 0, maximum = 0;
  std::optional<DurationMs> idle_before_scale_down_ms = std::nullopt;
};
struct DeleteCluster {
  ClusterRef ref;
};
// A job of the same workspace that must end first; or, where no job has that name, a job array.
struct DependsOn {
  std::string experiment, job;  // experiment empty: the job's own
  After after = After::ok;
  bool array = false;  // a job array in any case
};
struct SubmitJob {
  JobRef ref;
  ClusterRef cluster;
  JobSpec spec;
  ImageMapping mapping;
  std::string unique;                          // uuid drawn by the edge: last part of the job's path segment
  std::optional<RunAs> run_as = std::nullopt;  // by the operator's table; none: the workspace's own user
  std::vector<DependsOn> dependencies = {};
  std::optional<std::string> hold = std::nullopt;  // held from the beginning, and why
};
// It is not started (again) until it is released. Refused once it runs.
struct HoldJob {
  JobRef ref;
  std::string why;
};
struct ReleaseJob {
  JobRef ref;
};
// Its place in the queue from now on; one that runs has it when it is queued again.
struct PrioritizeJob {
  JobRef ref;
  Priority priority = Priority::normal;
};
struct TerminateJob {
  JobRef ref;
};
struct DeleteJob {
  JobRef ref;
};
// The same again as a new job. `new_name` empty: the job's with the next free number.
struct RerunJob {
  JobRef ref;
  std::string new_name, unique;  // unique: as in SubmitJob
  std::optional<RunAs> run_as = std::nullopt;
};
// Many jobs at once, as one record; `job.ref.job` is the array's name, and no task is made while its dependencies are
// not met or it is held. `tasks` 0: as many as the sweep makes.
struct CreateJobArray {
  SubmitJob job;
  std::uint32_t tasks = 0, parallel = 0;
  Sweep sweep = {};
};
// What is given changes. Held: no more tasks are made until it is released; those that were made go on.
struct UpdateJobArray {
  JobRef ref;
  std::optional<std::uint32_t> parallel = std::nullopt;
  std::optional<bool> held = std::nullopt;
  std::string why = {};  // of the hold
};
// No more tasks are made; those that have not ended are terminated.
struct TerminateJobArray {
  JobRef ref;
};
// With its tasks.
struct DeleteJobArray {
  JobRef ref;
};
// The same job at the times of a cron expression; `job.ref.job` is the schedule's name. It has no dependencies and no
// hold of its own.
struct CreateJobSchedule {
  SubmitJob job;
  std::string cron, utc_offset;
  Overlap overlap = Overlap::skip;
  std::uint32_t keep = 10;
  std::optional<std::string> suspended = std::nullopt;  // from the beginning, and why
};
// What is given changes.
struct UpdateJobSchedule {
  JobRef ref;
  std::optional<std::string> cron = std::nullopt, utc_offset = std::nullopt;
  std::optional<Overlap> overlap = std::nullopt;
  std::optional<std::uint32_t> keep = std::nullopt;
  std::optional<bool> suspended = std::nullopt;
  std::string why = {};  // it is suspended
};
// Its jobs stay.
struct DeleteJobSchedule {
  JobRef ref;
};
struct CreateAccount {
  std::string group, name, location, sku, place;
};  // place: from the operator's table
struct CreateShare {
  std::string account, name;
};
// Refused while something mounts it. Afterwards nothing new can: its files may be removed, which is not the core's
// work.
struct DeleteShare {
  std::string account, name;
};
// The share was being deleted, and the last of its files is gone.
struct ForgetShare {
  ShareId share;
};
// Somebody runs a command in a job: a line of its timeline, nothing else.
struct NoteExec {
  JobRef ref;
  std::string node, what;
};
// address, export_path: from the operator's table; empty: a storage node makes it
struct CreateFileServer {
  FileServerRef ref;
  FileServerSpec spec;
  std::string address, export_path;
};
struct DeleteFileServer {
  FileServerRef ref;
};
struct FenceNode {
  std::string node;
  bool confirmed_off = false;
};
// Jobs of `workspace` only, or nobody, may run on these nodes in that time.
struct CreateReservation {
  std::string name;
  std::vector<std::string> nodes;
  TimeMs from_ms = 0, until_ms = 0;
  std::optional<WorkspaceRef> workspace;
  std::string why;
};
struct DeleteReservation {
  std::string name;
};
// An unusable node is set up again at once.
struct RepairNode {
  std::string node;
};
// Nothing new is placed on it until it is undrained. `requeue`: its jobs are stopped and queued again.
struct DrainNode {
  std::string node, why;
  bool requeue = false;
  bool cordon = false;  // see Drain
};
struct UndrainNode {
  std::string node;
};
// What a health check found. A node that failed it is drained.
struct RecordNodeHealth {
  std::string node;
  bool passed = false;
  std::string summary;
  std::vector<NamedValue> figures;
};

using CommandBody =
    std::variant<CreateGroup, DeleteGroup, CreateWorkspace, DeleteWorkspace, CreateExperiment, DeleteExperiment,
                 CreateCluster, ResizeCluster, AutoScaleCluster, DeleteCluster, SubmitJob, TerminateJob, DeleteJob,
                 CreateAccount, CreateShare, FenceNode, RepairNode, UpdateGroup, UpdateWorkspace, CreateFileServer,
                 DeleteFileServer, DeleteShare, ForgetShare, NoteExec, RerunJob, DrainNode, UndrainNode,
                 RecordNodeHealth, HoldJob, ReleaseJob, PrioritizeJob, SetQuota, CreateReservation, DeleteReservation,
                 CreateJobArray, UpdateJobArray, TerminateJobArray, DeleteJobArray, CreateJobSchedule,
                 UpdateJobSchedule, DeleteJobSchedule>;

using Ticket = std::uint64_t;  // drawn by the edge; names who waits for the reply

struct Command {
  Ticket ticket = 0;
  std::string request_id;   // client's; empty: not repeatable
  std::string fingerprint;  // of principal, method and body
  std::string principal;
  CommandBody body;
};

// ---- From agents ----

struct NodeReported {
  Report report;
};
// "Same as my last full report": renews the lease; `sequence` and `epoch` are the new message's.
struct NodeSame {
  std::string node_name, epoch;
  std::uint64_t orders_revision = 0, sequence = 0;
};
// The edge has renewed its lease by itself, then (Acknowledge::settled_revision).
struct NodeHeard {
  std::string node_name, epoch;
  TimeMs at_ms = 0;
};

// ---- From the machinery ----

struct FenceFinished {
  std::string node;
  bool ok = false;
  std::string message;
};               // of a pool's fence command
struct Tick {};  // time passed; posted at least every second and when `next_deadline` is reached

struct Event {
  TimeMs now_ms = 0;  // never less than that of the event before
  std::variant<Command, NodeReported, NodeSame, NodeHeard, FenceFinished, Tick> body;
};

// ---- Actions ----

// The resource a command made or found; the edge reads its present form through view.h. `none`: deletes.
struct Subject {
  enum class Kind {
    none,
    group,
    workspace,
    experiment,
    cluster,
    job,
    account,
    share,
    node,
    file_server,
    reservation,
    job_array,
    job_schedule
  } kind = Kind::none;
  std::uint64_t id = 0;
  friend bool operator==(const Subject&, const Subject&) = default;
};

struct Reply {
  Ticket ticket = 0;
  Result<Subject> result;
};
// The node's orders changed (or it must hear them again): send orders_for(state, node). Duplicates are folded per
// batch.
struct SendOrders {
  NodeId node;
};
// Answer to a report: renews the agent's lease from the moment it sent `sequence`.
struct Acknowledge {
  std::string node_name, epoch;
  std::uint64_t sequence = 0;
  // Both sides have said all that they had to say, and these are the node's orders: while it says the same again and
  // again, its lease can be renewed without asking here, if NodeHeard tells so in time. 0: every report must come here.
  std::uint64_t settled_revision = 0;
};
// A report that must not be taken: the agent is told why and goes away (another live agent of that name).
struct Refuse {
  std::string node_name, epoch;
  Error error;
};
struct RunFence {
  NodeId node;
  std::string node_name, pool;
};
struct Publish {
  TimelineLine line;
};

using Action = std::variant<Reply, SendOrders, Acknowledge, Refuse, RunFence, Publish>;

}  // namespace trainyard::core
