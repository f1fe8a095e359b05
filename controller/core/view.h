// What users are shown, derived from the state. Pure; read-only.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "controller/core/state.h"

namespace trainyard::core {

struct ClusterView {
  Cluster row;
  std::string group, workspace;
  std::uint32_t current_node_count = 0;
  NodeCounts counts;
  std::string reason;             // why it has fewer nodes than its target; empty when steady
  std::vector<NodeError> errors;  // of its unusable nodes
};

struct JobView {
  Job row;
  std::string group, workspace, experiment;
  std::string execution_state;  // queued | running | terminating | succeeded | failed
  std::string phase;            // the state proper: queued, preparing, starting, running, stopping, succeeded, failed
  // Never empty while queued or stopping: "needs 4 idle nodes of nc6cluster; 2 idle, 1 running cifar_1, 1 preparing".
  std::string reason;
  std::vector<std::string> nodes;  // names of the newest attempt's nodes, rank order
  std::optional<Progress> progress;
  std::string array;           // of whose tasks it is one; empty: of none
  std::string schedule;        // that made it; empty: none, or it is gone
  std::string priority_class;  // see class_of
};

struct ArrayView {
  JobArray row;
  std::string group, workspace, experiment;
  std::string execution_state;  // running | terminating | succeeded | failed | terminated
  std::string reason;           // how far it is, or why it makes no more tasks
  TaskCounts counts;
  std::string priority_class;  // see class_of
};

struct ScheduleView {
  JobSchedule row;
  std::string group, workspace, experiment;
  std::string utc_offset;            // "+02:00"; empty: UTC
  std::string reason;                // why it is suspended, why its newest job was refused, or when the next one is due
  std::vector<TimeMs> next;          // the next three times; none while it is suspended
  std::vector<std::string> states;   // of the jobs of row.recent, as of JobView; empty: there is none (any more)
  std::uint32_t live = 0, kept = 0;  // of its jobs: that have not ended, and that have
  std::string priority_class;        // see class_of
};

struct NodeView {
  Node row;
  std::string state;                 // as nodeStateCounts names it, or "unassigned"; "unreachable" when it is
  std::string cluster_path;          // empty: inventory
  std::vector<std::string> running;  // "job (attempt n)" of holdings; orphans marked
  std::string note;                  // unreachable since..., fence state, reason of unusable
  std::map<std::string, std::string> holders = {};  // by UUID of a GPU: which of `running` has it
};

struct FileServerView {
  FileServer row;
  std::string group, workspace;
  std::string provisioning_state;
  std::string reason;  // what it waits for, why it failed; empty when it serves
};

// Names of an experiment, its workspace and its group into a view.
template <class View>
void name_home(const State& state, ExperimentId id, View& view) {
  const Experiment& experiment = state.experiments.at(id);
  const Workspace& workspace = state.workspaces.at(experiment.workspace);
  view.experiment = experiment.name;
  view.workspace = workspace.name;
  view.group = state.groups.at(workspace.group).name;
}

ClusterView view(const State&, const Cluster&);
JobView view(const State&, const Job&);
ArrayView view(const State&, const JobArray&);
ScheduleView view(const State&, const JobSchedule&);
NodeView view(const State&, const Node&, TimeMs now_ms);
FileServerView view(const State&, const FileServer&);

// "held by ada since 14:02:09: new data, until `trainyard job release`"; `noun`: the commands that release it.
std::string held_text(const Hold&, const std::string& noun);
// "waits for prep/unpack (running) to succeed", "waits for job array prep/a (running, 3 of 8 tasks left) to end"; empty
// when all are met.
std::string waits_for(const State&, const std::vector<Dependency>&);
// Who holds it, and the jobs that it waits for; empty when it may start. REQUIRES: job.state == queued
std::string why_not_in_queue(const State&, const Job&);
// "workspace w has 6 of at most 8 GPUs, and this needs 4"; empty when the workspace may have them.
std::string over_quota(const State&, const Job&);
// What keeps the array's next task from becoming a job.
struct TaskObstacle {
  std::string code;  // held | dependency | parallel | queued
  std::string text;
};
// REQUIRES: a task is to come
std::vector<TaskObstacle> why_no_task(const State&, const JobArray&);
// The first of its tasks that waits in the queue, or is held back; none: no one does.
std::optional<JobId> first_queued_task(const State&, const JobArray&);
// Why the job waits, with numbers. REQUIRES: job.state == queued
std::string why_queued(const State&, const Job&);

}  // namespace trainyard::core
