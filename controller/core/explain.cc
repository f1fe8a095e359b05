// What users are shown. Reasons carry numbers and names, and are never empty while something waits.
#include <algorithm>

#include "common/topology.h"
#include "controller/core/engine.h"
#include "controller/core/setup.h"
#include "controller/core/view.h"

namespace trainyard::core {

std::string clock_time(TimeMs time) {
  const std::string text = iso8601(time);
  return text.size() >= 19 ? text.substr(11, 8) : text;
}

namespace {

constexpr std::size_t kNamesShown = 3;
constexpr std::size_t kCountedAtMost = 1000;

std::string count_of(std::size_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

void append(std::string& text, const std::string& separator, const std::string& more) {
  if (!text.empty() && !more.empty()) text += separator;
  text += more;
}

// "a, b, c and 4 more"
std::string names_of(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < kNamesShown; ++i) append(text, ", ", names[i]);
  if (names.size() > kNamesShown) text += " and " + std::to_string(names.size() - kNamesShown) + " more";
  return text;
}

NodeCounts counts_of(const State& state, ClusterId id) {
  auto counts = state.counts.find(id);
  return counts == state.counts.end() ? NodeCounts{} : counts->second;
}

std::size_t node_count(const State& state, ClusterId id) {
  auto nodes = state.cluster_nodes.find(id);
  return nodes == state.cluster_nodes.end() ? 0 : nodes->second.size();
}

// "inventory has 0 free Standard_NC6 nodes (1 unreachable, 2 of other sizes, 4 in other clusters)"
std::string inventory_text(const State& state, const Cluster& cluster) {
  const std::string& vm_size = cluster.spec.vm_size;
  const std::string wanted = lower(vm_size);
  std::size_t free = 0, unreachable = 0, held = 0, other = 0, taken = 0, coming = 0, aside_count = 0;
  if (auto found = state.free_flavours.find(wanted); found != state.free_flavours.end()) free = found->second.size();
  for (const auto& [id, node] : state.nodes) {
    if (node.cluster) {
      if (node.cluster == cluster.id || lower(node.inventory.flavour) != wanted) continue;
      ++(node.state == NodeState::leaving ? coming : taken);
      continue;
    }
    if (lower(node.inventory.flavour) != wanted) {
      ++other;
    } else if (!node.live.reachable || !node.live.seen) {
      ++unreachable;
    } else if (!holds_nothing(state, id) || node.live.setup) {
      ++held;
    } else if (!in_service(node)) {
      ++aside_count;
    }
  }
  std::string aside;
  if (unreachable != 0) append(aside, ", ", std::to_string(unreachable) + " unreachable");
  if (held != 0) append(aside, ", ", std::to_string(held) + " still cleaning up");
  if (aside_count != 0) append(aside, ", ", std::to_string(aside_count) + " drained or with faulty GPUs");
  if (coming != 0) append(aside, ", ", std::to_string(coming) + " leaving other clusters");
  if (taken != 0) append(aside, ", ", std::to_string(taken) + " in other clusters");
  if (other != 0) append(aside, ", ", std::to_string(other) + " of other sizes");
  return "inventory has " + std::to_string(free) + " free " + vm_size + " nodes" +
         (aside.empty() ? "" : " (" + aside + ")");
}

// "n3 is unusable: SetupTaskFailed: ..."
std::string unusable_text(const State& state, ClusterId id) {
  auto nodes = state.cluster_nodes.find(id);
  if (nodes == state.cluster_nodes.end() || counts_of(state, id).unusable == 0) return "";
  std::vector<std::string> names;
  for (NodeId member : nodes->second) {
    const Node& node = state.nodes.at(member);
    if (node.state == NodeState::unusable) names.push_back(node.name);
  }
  if (names.empty()) return "";
  return names_of(names) + (names.size() == 1 ? " is" : " are") + " unusable: see the cluster's errors";
}

// "target 4", or "target 3 of autoScale 0 to 4 (1 busy, 2 needed by 1 queued job)". What the plan takes for a job that
// insists on a place depends on what lies there: that job's own reason says it.
std::string target_text(const State& state, const Cluster& cluster) {
  const std::string target = "target " + std::to_string(target_of(cluster));
  if (!cluster.spec.auto_scale) return target;
  const AutoScale& scale = *cluster.spec.auto_scale;
  std::uint32_t insisting = 0;
  const Demand demand = demand_of(state, cluster, scale.maximum, [&](const Job& job, std::uint32_t left) {
    if (!insists(job.spec->topology)) return std::min(job.spec->node_count, left);
    ++insisting;
    return 0U;
  });
  std::string rest;
  if (insisting != 0) rest = ", and nodes that lie where " + count_of(insisting, "queued job") + " can start on them";
  return target + " of autoScale " + std::to_string(scale.minimum) + " to " + std::to_string(scale.maximum) + " (" +
         std::to_string(counts_of(state, cluster.id).running) + " busy, " + std::to_string(demand.nodes) +
         " needed by " + count_of(demand.jobs, "queued job") + rest + ")";
}

std::string allocation_reason(const State& state, const Cluster& cluster) {
  const std::size_t have = node_count(state, cluster.id);
  const NodeCounts counts = counts_of(state, cluster.id);
  if (cluster.deleting) return "being deleted; waits for " + count_of(have, "node") + " to be given back";
  const std::uint32_t wanted = target_of(cluster);
  // Only when it is said: with autoScale it looks through the queue.
  const auto target = [&] { return target_text(state, cluster) + ", has " + std::to_string(have); };
  std::string text;
  if (have < wanted) text = target() + ": " + inventory_text(state, cluster);
  if (have > wanted || counts.leaving != 0) {
    append(text, "; ", (text.empty() ? target() + ": " : "") + count_of(counts.leaving, "node") + " leaving");
  }
  if (text.empty() && cluster.resizing) {
    text = counts.preparing != 0 ? count_of(counts.preparing, "node") + " preparing"
                                 : target() + ": nodes are being chosen";
  }
  append(text, "; ", unusable_text(state, cluster.id));
  return text;
}

// "2 drained: new memory modules", "n3 out of service: 1 of 4 GPUs: XID 79: ..."
std::string out_of_service_text(const State& state, ClusterId id) {
  std::size_t drained = 0, faulty = 0;
  std::string why_drained, why_faulty;
  for (NodeId member : state.cluster_nodes.at(id)) {
    const Node& node = state.nodes.at(member);
    if (node.state != NodeState::idle || !node.live.reachable || in_service(node)) continue;
    if (node.drain) {
      if (drained++ == 0) why_drained = node.drain->why;
    } else if (faulty++ == 0) {
      why_faulty = node.name + ": " + out_of_service(node);
    }
  }
  std::string text;
  if (drained != 0) text = std::to_string(drained) + " drained: " + why_drained;
  if (faulty != 0) append(text, ", ", std::to_string(faulty) + " with faulty GPUs: " + why_faulty);
  return text;
}

std::size_t out_of_service_count(const State& state, ClusterId id) {
  const std::set<NodeId>& nodes = state.cluster_nodes.at(id);
  return static_cast<std::size_t>(std::count_if(nodes.begin(), nodes.end(), [&](NodeId member) {
    const Node& node = state.nodes.at(member);
    return node.state == NodeState::idle && node.live.reachable && !in_service(node);
  }));
}

// "2 idle, 1 running cifar_1, 1 preparing"
std::string nodes_text(const State& state, ClusterId id) {
  const NodeCounts counts = counts_of(state, id);
  auto free = state.free_nodes.find(id);
  const std::size_t free_count = free == state.free_nodes.end() ? 0 : free->second.size();
  std::string text = std::to_string(free_count) + " idle";
  if (counts.idle > free_count) {
    const std::size_t aside = out_of_service_count(state, id);
    const std::size_t not_yet = counts.idle - std::min<std::size_t>(counts.idle, free_count + aside);
    if (not_yet != 0) append(text, ", ", std::to_string(not_yet) + " idle but not usable yet");
    append(text, ", ", out_of_service_text(state, id));
  }
  if (counts.running != 0) {
    std::vector<std::string> names;
    if (auto jobs = state.active_jobs.find(id); jobs != state.active_jobs.end()) {
      for (JobId job : jobs->second) names.push_back(state.jobs.at(job).name);
    }
    append(text, ", ", std::to_string(counts.running) + " running" + (names.empty() ? "" : " " + names_of(names)));
    if (auto shared = state.shared_nodes.find(id); shared != state.shared_nodes.end()) {
      std::uint32_t units = 0;
      for (const auto& [node, free_units] : shared->second) units += free_units;
      append(text, ", ", count_of(units, "GPU") + " free beside them");
    }
  }
  if (counts.preparing != 0) append(text, ", ", std::to_string(counts.preparing) + " preparing");
  if (counts.leaving != 0) append(text, ", ", std::to_string(counts.leaving) + " leaving");
  if (counts.unusable > 0) {
    const std::uint32_t cut = std::min(counts.unusable, counts.unreachable);
    if (cut != 0) append(text, ", ", std::to_string(cut) + " unreachable");
    if (counts.unusable > cut) append(text, ", ", std::to_string(counts.unusable - cut) + " unusable");
  }
  return text;
}

// Jobs that go before it for certain and could run at the cluster's target size: of a higher class, or its payer's
// older ones. Whose turn it is among payers changes with what each had.
std::string behind_text(const State& state, const Job& job, std::uint32_t target) {
  auto queue = state.queues.find(job.cluster);
  if (queue == state.queues.end()) return "";
  const QueueGroup own = queue_group(state, job);
  std::size_t before = 0, beside = 0;
  std::string first;
  for (const auto& [group, jobs] : queue->second) {
    if (group.rank > own.rank || before >= kCountedAtMost) break;
    if (group.rank == own.rank && group != own) {
      beside += jobs.size();
      continue;
    }
    for (const JobId id : jobs) {
      if ((group == own && id >= job.id) || before == kCountedAtMost) break;
      const Job& other = state.jobs.at(id);
      if (least_nodes(*other.spec) > target) continue;
      if (before++ == 0) first = other.name + " (needs " + std::to_string(least_nodes(*other.spec)) + ")";
    }
  }
  std::string text;
  if (before != 0) {
    text = "behind " + std::string(before == kCountedAtMost ? "at least " : "") + count_of(before, "job") +
           ", first: " + first;
  }
  if (beside != 0) append(text, "; ", count_of(beside, "job") + " of others in turn with it");
  return text;
}

std::string quota_text(const State& state, const Job& job) {
  const std::string text = over_quota(state, job);
  const std::uint32_t limit = state.workspaces.at(payer_of(state, job).workspace).quota.limit;
  const bool never = !text.empty() && gpus_wanted(state, job) > limit;
  return text + (never ? ": it can never start until an operator raises the limit" : "");
}

std::string waiting_nodes(const State& state, const Job& job) {
  std::vector<std::string> names;
  auto held = state.job_holdings.find(job.id);
  if (held == state.job_holdings.end()) return "";
  for (const HoldingKey& key : held->second) {
    if (key.second.attempt != job.attempt) continue;
    const Node& node = state.nodes.at(key.first);
    std::string name = node.name;
    if (!node.live.reachable) {
      const DurationMs lease = state.holdings.at(key).lease_ms;
      name += " (unreachable since " + clock_time(node.live.last_report_ms);
      name += lease == kForever ? ", until it is fenced)"
                                : ", fenced soon after " + clock_time(node.live.last_report_ms + lease) + ")";
    }
    names.push_back(std::move(name));
  }
  return names_of(names);
}

std::string unready_nodes(const State& state, const Job& job) {
  std::vector<std::string> names;
  if (auto held = state.job_holdings.find(job.id); held != state.job_holdings.end()) {
    for (const HoldingKey& key : held->second) {
      const Holding& holding = state.holdings.at(key);
      if (key.second.attempt == job.attempt && holding.reported == HoldingState::preparing) {
        const Node& node = state.nodes.at(key.first);
        names.push_back(node.name + (node.live.reachable ? "" : " (unreachable)"));
      }
    }
  }
  return names_of(names);
}

std::string why_stopping(const State& state, const Job& job) {
  std::string text;
  if (job.exit_code) {
    text = "exited " + std::to_string(*job.exit_code) + " at " + clock_time(job.head_exited_ms);
    if (job.verdict != Verdict::success && job.cause.code != "JobFailed") append(text, "; ", job.cause.message);
  } else {
    text = job.cause.message;
  }
  if (job.verdict == Verdict::requeue) append(text, "; ", "will be queued again");
  const std::string nodes = waiting_nodes(state, job);
  append(text, "; ", nodes.empty() ? "nothing is left of it" : "waiting for clean-up of " + nodes);
  for (const auto& [key, what] : state.stuck) {
    if (key.second.job == job.id) append(text, "; ", "ALARM: node " + state.nodes.at(key.first).name + ": " + what);
  }
  return text;
}

std::string why_running(const State& state, const Job& job) {
  std::string text;
  if (job.head_exited_ms != 0 && job.exit_code) {
    text = "exited " + std::to_string(*job.exit_code) + " at " + clock_time(job.head_exited_ms) +
           "; waiting for every node's report before the verdict";
  }
  std::vector<std::string> cut;
  if (auto held = state.job_holdings.find(job.id); held != state.job_holdings.end()) {
    for (const HoldingKey& key : held->second) {
      const Node& node = state.nodes.at(key.first);
      if (key.second.attempt == job.attempt && !node.live.reachable) {
        cut.push_back(node.name + " unreachable since " + clock_time(node.live.last_report_ms));
      }
    }
  }
  append(text, "; ", names_of(cut));
  return text;
}

// "prep/unpack (running)", "job array prep/a (running, 3 of 8 tasks left)"; empty: it is gone.
std::string other_text(const State& state, const Dependency& dependency) {
  if (dependency.array) {
    const auto found = state.arrays.find(dependency.array);
    if (found == state.arrays.end()) return "";
    const JobArray& array = found->second;
    return "job array " + dependency.job + " (" + (goes_on(array) ? name_of(array.state) : "terminating") + ", " +
           std::to_string(tasks_left(array)) + " of " + std::to_string(array.body->tasks) + " tasks left)";
  }
  const auto job = state.jobs.find(dependency.id);
  return job == state.jobs.end() ? "" : dependency.job + " (" + name_of(job->second.state) + ")";
}

std::string reason_of(const State& state, const Job& job) {
  switch (job.state) {
    case JobState::queued:
      return why_queued(state, job);
    case JobState::preparing: {
      const std::string nodes = unready_nodes(state, job);
      return nodes.empty() ? "every node is prepared" : "preparing on " + nodes;
    }
    case JobState::starting:
      return job.last_nodes.empty() ? "starting" : "the head " + job.last_nodes.front() + " starts the job's command";
    case JobState::running:
      return why_running(state, job);
    case JobState::stopping:
      return why_stopping(state, job);
    case JobState::succeeded:
      return "";
    case JobState::failed:
      return job.cause.message;
  }
  return "";
}

}  // namespace

std::string over_quota(const State& state, const Job& job) {
  const Workspace& workspace = state.workspaces.at(payer_of(state, job).workspace);
  const std::uint32_t limit = workspace.quota.limit, has = gpus_held(state, workspace.id),
                      needs = gpus_wanted(state, job);
  if (limit == 0 || has + needs <= limit) return "";
  return "workspace " + workspace.name + " has " + std::to_string(has) + " of at most " + count_of(limit, "GPU") +
         ", and this needs " + std::to_string(needs);
}

std::string waits_for(const State& state, const std::vector<Dependency>& dependencies) {
  std::vector<std::string> names;
  for (const Dependency& dependency : dependencies) {
    const std::string other = dependency.met ? "" : other_text(state, dependency);
    if (other.empty()) continue;
    const char* how = dependency.after == After::ok    ? " to succeed"
                      : dependency.after == After::any ? " to end"
                                                       : " to fail";
    names.push_back(other + how);
  }
  return names.empty() ? "" : "waits for " + names_of(names);
}

std::string held_text(const Hold& hold, const std::string& noun) {
  return "held by " + hold.who + " since " + clock_time(hold.since_ms) + (hold.why.empty() ? "" : ": " + hold.why) +
         ", until `trainyard " + noun + " release`";
}

std::string why_not_in_queue(const State& state, const Job& job) {
  std::string text = job.hold ? held_text(*job.hold, "job") : "";
  append(text, "; ", waits_for(state, job.dependencies));
  return text;
}

std::string why_queued(const State& state, const Job& job) {
  if (const std::string kept = why_not_in_queue(state, job); !kept.empty()) return kept;
  auto found = state.clusters.find(job.cluster);
  if (found == state.clusters.end()) return "its cluster " + job.cluster_path + " is gone";
  const Cluster& cluster = found->second;
  const std::uint32_t need = least_nodes(*job.spec), target = capacity_of(cluster.spec);
  if (cluster.deleting) return "its cluster " + cluster.name + " is being deleted";
  if (need > target) {
    return "needs " + count_of(need, "node") + "; " + cluster.name + "'s " +
           (cluster.spec.auto_scale ? "maximum" : "target") + " is " + std::to_string(target) +
           ": it can never start until the cluster is resized";
  }
  const std::uint32_t part = job.spec->gpus_per_node;
  if (const std::uint32_t most = part == 0 ? 0 : most_gpus(state, cluster.id).value_or(part); part > most) {
    return "needs " + count_of(part, "GPU") + " of each node; the nodes of " + cluster.name + " have " +
           std::to_string(most) + ": it can never start there";
  }
  std::string text;
  if (!job.mapping.container_image.empty() && need > container_capacity(state, cluster)) {
    const std::string why = why_no_containers(state, cluster);
    text = "runs in a container, which " + count_of(container_capacity(state, cluster), "node") + " of " +
           cluster.name + " can" + (why.empty() ? "" : " (" + why + ")") + "; ";
  }
  const std::string wanted =
      part == 0 ? count_of(need, "idle node") : count_of(part, "free GPU") + " on " + count_of(need, "node");
  text += "needs " + wanted + " of " + cluster.name;
  if (!job.spec->topology.none()) text += " (" + text_of(job.spec->topology) + ")";
  text += "; " + nodes_text(state, cluster.id);
  append(text, "; ", quota_text(state, job));
  append(text, "; ", behind_text(state, job, target));
  if (node_count(state, cluster.id) < target_of(cluster)) append(text, "; ", allocation_reason(state, cluster));
  if (job.attempt > 0) append(text, "; ", "attempt " + std::to_string(job.attempt) + " ended: " + job.cause.message);
  return text;
}

ClusterView view(const State& state, const Cluster& cluster) {
  ClusterView out;
  out.row = cluster;
  const Workspace& workspace = state.workspaces.at(cluster.workspace);
  out.workspace = workspace.name;
  out.group = state.groups.at(workspace.group).name;
  out.current_node_count = static_cast<std::uint32_t>(node_count(state, cluster.id));
  out.counts = counts_of(state, cluster.id);
  out.reason = allocation_reason(state, cluster);
  if (auto nodes = state.cluster_nodes.find(cluster.id);
      nodes != state.cluster_nodes.end() && out.counts.unusable > 0) {
    for (NodeId id : nodes->second) {
      const Node& node = state.nodes.at(id);
      if (node.state == NodeState::unusable) out.errors.push_back(node.setup_error);
    }
  }
  return out;
}

JobView view(const State& state, const Job& job) {
  JobView out;
  out.row = job;
  name_home(state, job.experiment, out);
  out.phase = name_of(job.state);
  if (job.state == JobState::stopping) {
    out.execution_state = job.verdict == Verdict::cancel ? "terminating" : "running";
  } else if (active(job.state)) {
    out.execution_state = "running";
  } else {
    out.execution_state = name_of(job.state);
  }
  out.reason = reason_of(state, job);
  out.nodes = job.last_nodes;
  if (const auto told = state.progress.find({job.id, job.attempt}); told != state.progress.end()) {
    out.progress = told->second;
  }
  out.priority_class = class_of(state, priority_of(job));
  if (const auto array = state.arrays.find(job.array); array != state.arrays.end()) out.array = array->second.name;
  if (const auto by = state.schedules.find(job.schedule); by != state.schedules.end()) out.schedule = by->second.name;
  return out;
}

NodeView view(const State& state, const Node& node, TimeMs now_ms) {
  NodeView out;
  out.row = node;
  out.state = node.live.reachable ? name_of(node.state) : "unreachable";
  if (node.cluster) out.cluster_path = path_of(state, state.clusters.at(*node.cluster));
  for (const auto& [key, holding] : holdings_on(state, node.id)) {
    std::string text = holding.job_name + " (attempt " + std::to_string(holding.id.attempt) + ")";
    if (!current(state, holding)) text += " orphan: kept until the node says clean or is fenced";
    for (const std::string& uuid : holding.gpu_uuids) out.holders[uuid] = text;
    out.running.push_back(std::move(text));
  }
  if (!node.live.reachable) {
    out.note = "no report since " + clock_time(node.live.last_report_ms) + " (" +
               std::to_string((now_ms - node.live.last_report_ms) / 1000) + " s)";
  } else if (!node.live.seen) {
    out.note = "has not reported since the controller started";
  }
  append(out.note, "; ", out_of_service(node));
  if (node.live.strays) append(out.note, "; ", "still runs something that was fenced or is of another database");
  if (!node.live.fence_state.empty()) append(out.note, "; ", "fence command " + node.live.fence_state);
  for (auto it = state.stuck.lower_bound({node.id, AttemptId{}}); it != state.stuck.end() && it->first.first == node.id;
       ++it) {
    append(out.note, "; ", "ALARM: job " + state.holdings.at(it->first).job_name + ": " + it->second);
  }
  append(out.note, "; ", node.reason);
  if (node.state == NodeState::running && setup_failed(node)) {
    append(out.note, "; ", node.live.setup->error.code + ": " + node.live.setup->error.message);
  }
  if (const std::string& software = node.inventory.file_server_software; !software.empty()) {
    append(out.note, "; ",
           node.inventory.serves_files() ? "storage node: " + software
                                         : "cannot make file servers: " + software.substr(software.find(' ') + 1));
  }
  if (node.setup_retry_ms != 0) {
    append(out.note, "; ", "tried again at " + clock_time(node.setup_retry_ms) + ", or after `trainyard node repair`");
  }
  if (node.state == NodeState::preparing && node.setup_run != 0 && !is_set_up(node)) {
    append(out.note, "; ", "its cluster's set-up runs");
  }
  return out;
}

}  // namespace trainyard::core
