// Clusters and the nodes they take from the inventory and give back.
#include "common/check.h"
#include "controller/core/engine.h"

namespace trainyard::core {

std::string subject_of(const State& state, const Cluster& cluster) {
  return "cluster:" + std::to_string(cluster.id.value) + " " + path_of(state, cluster);
}

namespace {

// Ends the attempts that a leaving node runs, as the cluster's option says.
void end_jobs_on(Engine& e, NodeId id, const Cluster& cluster) {
  std::vector<JobId> jobs;
  for (auto it = e.state.holdings.lower_bound({id, AttemptId{}}); it != e.state.holdings.end() && it->first.first == id;
       ++it) {
    if (current(e.state, it->second)) jobs.push_back(it->second.id.job);
  }
  for (JobId job : jobs) {
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
  const std::uint64_t revision = e.bump(id);
  if (!node.live.reachable) node.awaited_revision = revision;
}

bool going(const State& state, ClusterId id) {
  auto cluster = state.clusters.find(id);
  return cluster == state.clusters.end() || cluster->second.deleting;
}

}  // namespace

void withdraw(Engine& e, NodeId id, const std::string& why) {
  const Node& node = e.state.nodes.at(id);
  TY_CHECK(node.cluster.has_value());
  if (node.state == NodeState::leaving) return;
  set_node_state(e, id, NodeState::leaving, why);
  e.edit(id).awaited_revision = e.bump(id);
  end_jobs_on(e, id, e.state.clusters.at(*node.cluster));
}

void assign(Engine& e, const Assignment& assignment) {
  Node& node = e.edit(assignment.node);
  TY_CHECK(!node.cluster && placeable(e.state, node));
  node.cluster = assignment.cluster;
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
  if (node.state == NodeState::preparing && echoed) return set_node_state(e, id, NodeState::idle, "ready");
  if (node.state == NodeState::running && nothing_held) {
    if (echoed) return set_node_state(e, id, NodeState::idle, "nothing left on it");
    return set_node_state(e, id, NodeState::preparing, "what it held was fenced");
  }
  if (node.state == NodeState::leaving && nothing_held && (echoed || !node.live.reachable)) {
    return detach(e, id, "back in the inventory");
  }
}

void update_allocation(Engine& e, ClusterId id) {
  const Cluster& cluster = e.state.clusters.at(id);
  auto nodes = e.state.cluster_nodes.find(id);
  const std::size_t count = nodes == e.state.cluster_nodes.end() ? 0 : nodes->second.size();
  if (cluster.deleting && count == 0) {
    const WorkspaceId workspace = cluster.workspace;
    e.note(subject_of(e.state, cluster), "deleted", "its nodes are given back");
    e.state.cluster_by_path.erase(lower(path_of(e.state, cluster)));
    e.state.clusters.erase(id);
    e.clusters.erase(id);
    return vanish_if_empty(e, workspace);
  }
  bool resizing = cluster.resizing || count != cluster.spec.target_node_count;
  if (count == cluster.spec.target_node_count) {
    const NodeCounts counts = count == 0 ? NodeCounts{} : e.state.counts.at(id);
    if (counts.leaving == 0 && counts.preparing == 0) resizing = false;
  }
  if (cluster.deleting) resizing = true;
  if (resizing == cluster.resizing) return;
  Cluster& row = e.edit(id);
  row.resizing = resizing;
  row.allocation_changed_ms = e.now;
  e.note(subject_of(e.state, row), resizing ? "steady -> resizing" : "resizing -> steady",
         std::to_string(count) + " of " + std::to_string(row.spec.target_node_count) + " nodes");
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
    for (const QueueKey& key : queue->second) jobs.push_back(key.job);
  }
  if (auto running = e.state.active_jobs.find(id); running != e.state.active_jobs.end()) {
    jobs.insert(jobs.end(), running->second.begin(), running->second.end());
  }
  for (JobId job : jobs) end(e, job, Verdict::cancel, cause);
  if (auto found = e.state.cluster_nodes.find(id); found != e.state.cluster_nodes.end()) {
    const std::set<NodeId> nodes = found->second;
    for (NodeId node : nodes) withdraw(e, node, "its cluster was deleted");
  }
}

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
  Cluster cluster{{e.next_id()}, *workspace, c.ref.cluster, c.spec, false, e.now, e.now};
  const ClusterId id = cluster.id;
  e.state.cluster_by_path.emplace(key, id);
  e.state.clusters.emplace(id, std::move(cluster));
  e.edit(id);
  e.wake_plan = true;
  e.note(subject_of(e.state, e.state.clusters.at(id)), "created", "target " + std::to_string(c.spec.target_node_count));
  return Subject{Subject::Kind::cluster, id.value};
}

Result<Subject> apply(Engine& e, const ResizeCluster& c) {
  auto id = find_cluster(e.state, c.ref);
  if (!id.ok()) return id.error();
  const Cluster& before = e.state.clusters.at(*id);
  if (before.deleting) return Error{Code::failed_precondition, "cluster " + before.name + " is being deleted"};
  Cluster& cluster = e.edit(*id);
  if (cluster.spec.target_node_count != c.target_node_count) {
    e.note(subject_of(e.state, cluster), "resize",
           std::to_string(cluster.spec.target_node_count) + " -> " + std::to_string(c.target_node_count) + " nodes");
  }
  cluster.spec.target_node_count = c.target_node_count;
  cluster.spec.node_deallocation_option = c.option;
  e.wake_plan = true;
  if (auto found = e.state.cluster_nodes.find(*id); found != e.state.cluster_nodes.end()) {
    for (NodeId node : found->second) {
      if (e.state.nodes.at(node).state == NodeState::leaving) end_jobs_on(e, node, cluster);
    }
  }
  return Subject{Subject::Kind::cluster, id->value};
}

Result<Subject> apply(Engine& e, const DeleteCluster& c) {
  auto id = find_cluster(e.state, c.ref);
  if (!id.ok()) return id.error();
  delete_cluster(e, *id, "deleted by " + e.who);
  return Subject{};
}

}  // namespace trainyard::core
