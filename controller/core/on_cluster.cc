// Clusters and the nodes they take from the inventory and give back.
#include "common/check.h"
#include "controller/core/engine.h"
#include "controller/core/setup.h"
#include "controller/core/volumes.h"

namespace trainyard::core {

std::string subject_of(const State& state, const Cluster& cluster) {
  return "cluster:" + std::to_string(cluster.id.value) + " " + path_of(state, cluster);
}

std::vector<JobId> jobs_on(const State& state, NodeId id) {
  std::vector<JobId> jobs;
  for (const auto& [key, holding] : holdings_on(state, id)) {
    if (current(state, holding)) jobs.push_back(holding.id.job);
  }
  return jobs;
}

namespace {

// Ends the attempts that a leaving node runs, as the cluster's option says.
void end_jobs_on(Engine& e, NodeId id, const Cluster& cluster) {
  for (JobId job : jobs_on(e.state, id)) {
    if (cluster.deleting) {
      end(e, job, Verdict::cancel, {"ClusterDeleted", "its cluster " + cluster.name + " was deleted"});
    } else if (cluster.spec.node_deallocation_option == DeallocationOption::requeue) {
      end(e, job, Verdict::requeue, {"ClusterResized", "cluster " + cluster.name + " was resized"});
    } else if (cluster.spec.node_deallocation_option == DeallocationOption::terminate) {
      end(e, job, Verdict::cancel,
          {"ClusterResized", "cluster " + cluster.name + " was resized with option terminate"});
    }
  }
}

void detach(Engine& e, NodeId id, const std::string& why) {
  set_node_state(e, id, NodeState::unassigned, why);
  Node& node = e.edit(id);
  node.cluster.reset();
  node.setup_run = node.setup_failures = 0;
  node.setup_retry_ms = 0;
  node.setup_error = {};
  node.reason.clear();
  const std::uint64_t revision = e.bump(id);
  if (!node.live.reachable) node.awaited_revision = revision;
}

bool going(const State& state, ClusterId id) {
  auto cluster = state.clusters.find(id);
  return cluster == state.clusters.end() || cluster->second.deleting;
}

}  // namespace

void withdraw(Engine& e, const Withdrawal& withdrawal, const std::string& why) {
  const NodeId id = withdrawal.node;
  const Node& node = e.state.nodes.at(id);
  TY_CHECK(node.cluster.has_value());
  if (node.state == NodeState::leaving) return;
  const Cluster& cluster = e.state.clusters.at(*node.cluster);
  std::string taken;
  if (withdrawal.taken_for) {
    taken = "node " + node.name + " of low-priority cluster " + cluster.name + " was taken back for cluster " +
            e.state.clusters.at(*withdrawal.taken_for).name;
  }
  set_node_state(e, id, NodeState::leaving, taken.empty() ? why : taken);
  Node& row = e.edit(id);
  row.awaited_revision = e.bump(id);
  row.setup_retry_ms = 0;
  row.setup_error = {};
  row.reason.clear();
  if (taken.empty()) return end_jobs_on(e, id, cluster);
  for (JobId job : jobs_on(e.state, id)) end(e, job, Verdict::requeue, {"Preempted", taken});
}

void assign(Engine& e, const Assignment& assignment) {
  Node& node = e.edit(assignment.node);
  TY_CHECK(!node.cluster && placeable(e.state, node));
  node.cluster = assignment.cluster;
  begin_setup(e, assignment.node);
  node.awaited_revision = e.bump(assignment.node);
  set_node_state(e, assignment.node, NodeState::preparing,
                 "given to cluster " + path_of(e.state, e.state.clusters.at(assignment.cluster)));
}

void advance(Engine& e, NodeId id) {
  const Node& node = e.state.nodes.at(id);
  if (!node.cluster) return;
  const bool nothing_held = holds_nothing(e.state, id);
  const bool echoed = node.live.seen && node.live.echoed_revision >= node.awaited_revision;
  if (!node.live.reachable && going(e.state, *node.cluster)) {
    return detach(e, id, "its cluster was deleted while the node is unreachable; what it held is fenced later");
  }
  if (node.state == NodeState::preparing && echoed && is_set_up(node)) {
    if (node.setup_failures != 0) e.edit(id).setup_failures = 0;
    return set_node_state(e, id, NodeState::idle, "ready");
  }
  if (node.state == NodeState::preparing) return consider_setup(e, id);
  // A volume of a set-up that was done stopped to work: the jobs there end first, with its error.
  const bool works = node.state == NodeState::idle || node.state == NodeState::running;
  if (works && nothing_held && setup_failed(node)) return consider_setup(e, id);
  if (node.state == NodeState::running && nothing_held) {
    if (echoed && is_set_up(node)) return set_node_state(e, id, NodeState::idle, "nothing left on it");
    return set_node_state(e, id, NodeState::preparing, "what it held was fenced");
  }
  // An unreachable one is taken out at once: in the inventory it is free only when it says that nothing is left.
  const bool clean = echoed && !node.live.setup;
  if (node.state == NodeState::leaving && nothing_held && (clean || !node.live.reachable)) {
    return detach(e, id, "back in the inventory");
  }
}

void retarget(Engine& e, const Retarget& change) {
  Cluster& cluster = e.edit(change.cluster);
  e.note(subject_of(e.state, cluster), "auto-scale",
         std::to_string(cluster.auto_target) + " -> " + std::to_string(change.target) + " nodes: " + change.why);
  cluster.auto_target = change.target;
}

void update_allocation(Engine& e, ClusterId id) {
  const Cluster& cluster = e.state.clusters.at(id);
  auto nodes = e.state.cluster_nodes.find(id);
  const std::size_t count = nodes == e.state.cluster_nodes.end() ? 0 : nodes->second.size();
  if (cluster.deleting && count == 0) {
    const WorkspaceId workspace = cluster.workspace;
    e.note(subject_of(e.state, cluster), "deleted", "its nodes are given back");
    e.state.cluster_by_path.erase(lower(path_of(e.state, cluster)));
    e.state.setups.erase(id);
    e.state.clusters.erase(id);
    e.clusters.erase(id);
    return vanish_if_empty(e, workspace);
  }
  bool resizing = cluster.resizing || count != target_of(cluster);
  if (count == target_of(cluster)) {
    const NodeCounts counts = count == 0 ? NodeCounts{} : e.state.counts.at(id);
    if (counts.leaving == 0 && counts.preparing == 0) resizing = false;
  }
  if (cluster.deleting) resizing = true;
  if (resizing == cluster.resizing) return;
  Cluster& row = e.edit(id);
  row.resizing = resizing;
  row.allocation_changed_ms = e.now;
  e.note(subject_of(e.state, row), resizing ? "steady -> resizing" : "resizing -> steady",
         std::to_string(count) + " of " + std::to_string(target_of(row)) + " nodes");
}

void delete_cluster(Engine& e, ClusterId id, const std::string& why) {
  Cluster& cluster = e.edit(id);
  if (cluster.deleting) return;
  cluster.deleting = true;
  e.wake_plan = true;
  e.note(subject_of(e.state, cluster), "deleting", why);
  const EndCause cause{"ClusterDeleted", "its cluster " + cluster.name + " was deleted"};
  std::vector<JobId> jobs;
  if (auto queue = e.state.queues.find(id); queue != e.state.queues.end()) {
    for (const auto& [group, ids] : queue->second) jobs.insert(jobs.end(), ids.begin(), ids.end());
  }
  for (const auto* index : {&e.state.held_back, &e.state.active_jobs}) {
    if (auto others = index->find(id); others != index->end()) {
      jobs.insert(jobs.end(), others->second.begin(), others->second.end());
    }
  }
  for (JobId job : jobs) end(e, job, Verdict::cancel, cause);
  for (const auto& [array, row] : e.state.arrays) {
    if (row.cluster == id) e.stirred.insert(array);
  }
  if (auto found = e.state.cluster_nodes.find(id); found != e.state.cluster_nodes.end()) {
    const std::set<NodeId> nodes = found->second;
    for (NodeId node : nodes) withdraw(e, {node}, "its cluster was deleted");
  }
}

namespace {

std::string scale_text(const ClusterSpec& spec) {
  if (!spec.auto_scale) return "target " + std::to_string(spec.target_node_count);
  return "autoScale " + std::to_string(spec.auto_scale->minimum) + " to " + std::to_string(spec.auto_scale->maximum);
}

// The leaving nodes go by the scale settings' new option.
void rescaled(Engine& e, ClusterId id, const ClusterSpec& before) {
  const Cluster& cluster = e.state.clusters.at(id);
  const std::string was = scale_text(before), now = scale_text(cluster.spec);
  if (!before.auto_scale && !cluster.spec.auto_scale && was != now) {
    e.note(
        subject_of(e.state, cluster), "resize",
        std::to_string(before.target_node_count) + " -> " + std::to_string(cluster.spec.target_node_count) + " nodes");
  } else if (was != now) {
    e.note(subject_of(e.state, cluster), "resize", was + " -> " + now);
  }
  e.wake_plan = true;
  auto found = e.state.cluster_nodes.find(id);
  if (found == e.state.cluster_nodes.end()) return;
  for (NodeId node : found->second) {
    e.touched_nodes.insert(node);  // when its idle time is over may have changed
    if (e.state.nodes.at(node).state == NodeState::leaving) end_jobs_on(e, node, cluster);
  }
}

}  // namespace

Result<Subject> apply(Engine& e, const CreateCluster& c) {
  auto workspace = find_workspace(e.state, c.ref.group, c.ref.workspace);
  if (!workspace.ok()) return workspace.error();
  const std::string key = path_key({c.ref.group, c.ref.workspace, c.ref.cluster});
  if (auto existing = e.state.cluster_by_path.find(key); existing != e.state.cluster_by_path.end()) {
    const Cluster& cluster = e.state.clusters.at(existing->second);
    if (cluster.deleting) {
      return Error{Code::already_exists, "cluster " + cluster.name + " is being deleted; wait until it is gone"};
    }
    if (cluster.spec == c.spec) return Subject{Subject::Kind::cluster, cluster.id.value};
    return Error{Code::already_exists, "cluster " + cluster.name + " exists already in workspace " + c.ref.workspace +
                                           " with another definition; choose another name or resize it"};
  }
  if (e.state.workspaces.at(*workspace).deleting) {
    return Error{Code::failed_precondition, "workspace " + c.ref.workspace + " is being deleted"};
  }
  auto volumes =
      resolve_volumes(e.state, "properties.nodeSetup.mountVolumes.", {c.ref.group, c.ref.workspace}, c.spec.node_setup);
  if (!volumes.ok()) return volumes.error();
  Cluster cluster{{e.next_id()}, *workspace, c.ref.cluster, c.spec, false, e.now, e.now};
  const ClusterId id = cluster.id;
  cluster.volumes = std::move(*volumes);
  e.state.cluster_by_path.emplace(key, id);
  Cluster& row = e.state.clusters.emplace(id, std::move(cluster)).first->second;
  const Workspace& home = e.state.workspaces.at(*workspace);
  row.setup_path_suffix = "trainyard/" + e.state.groups.at(home.group).name + "/workspaces/" + home.name +
                          "/clusters/" + row.name + "/" + c.unique;
  if (auto setup = setup_of(e.state, row)) e.state.setups.emplace(id, std::move(setup));
  e.edit(id);
  e.wake_plan = true;
  e.note(subject_of(e.state, row), "created", scale_text(row.spec));
  return Subject{Subject::Kind::cluster, id.value};
}

Result<Subject> apply(Engine& e, const ResizeCluster& c) {
  auto id = find_cluster(e.state, c.ref);
  if (!id.ok()) return id.error();
  const Cluster& before = e.state.clusters.at(*id);
  if (before.deleting) return Error{Code::failed_precondition, "cluster " + before.name + " is being deleted"};
  const ClusterSpec was = before.spec;
  ClusterSpec& spec = e.edit(*id).spec;
  spec.auto_scale.reset();
  spec.target_node_count = c.target_node_count;
  spec.node_deallocation_option = c.option;
  rescaled(e, *id, was);
  return Subject{Subject::Kind::cluster, id->value};
}

Result<Subject> apply(Engine& e, const AutoScaleCluster& c) {
  auto id = find_cluster(e.state, c.ref);
  if (!id.ok()) return id.error();
  const Cluster& before = e.state.clusters.at(*id);
  if (before.deleting) return Error{Code::failed_precondition, "cluster " + before.name + " is being deleted"};
  const ClusterSpec was = before.spec;
  Cluster& cluster = e.edit(*id);
  AutoScale scale = cluster.spec.auto_scale.value_or(AutoScale{});
  if (!cluster.spec.auto_scale) cluster.auto_target = cluster.spec.target_node_count;
  scale.minimum = c.minimum;
  scale.maximum = c.maximum;
  scale.initial = 0;
  if (c.idle_before_scale_down_ms) scale.idle_before_scale_down_ms = *c.idle_before_scale_down_ms;
  cluster.spec.auto_scale = scale;
  cluster.spec.target_node_count = 0;
  cluster.spec.node_deallocation_option = DeallocationOption::requeue;
  rescaled(e, *id, was);
  return Subject{Subject::Kind::cluster, id->value};
}

Result<Subject> apply(Engine& e, const DeleteCluster& c) {
  auto id = find_cluster(e.state, c.ref);
  if (!id.ok()) return id.error();
  delete_cluster(e, *id, "deleted by " + e.who);
  return Subject{};
}

}  // namespace trainyard::core
