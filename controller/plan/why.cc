#include "controller/plan/why.h"

#include <algorithm>
#include <set>

#include "common/time.h"
#include "controller/core/view.h"

namespace trainyard::plan {

namespace {

using core::Cluster;
using core::Job;
using core::Node;
using core::NodeState;
using core::State;

std::string number(std::uint64_t value) {
  return std::to_string(value);
}

std::string are(std::uint32_t count) {
  return number(count) + (count == 1 ? " is " : " are ");
}

// "14:20" of today's controller time
std::string hour_of(TimeMs time) {
  return iso8601(time).substr(11, 5);
}

// Nodes of which so much is free now, whoever it is promised to.
std::uint32_t nodes_with_room(const State& state, const Cluster& cluster, Shape shape) {
  std::uint32_t count = 0;
  if (const auto free = state.free_nodes.find(cluster.id); free != state.free_nodes.end()) {
    for (const NodeId node : free->second) {
      const Inventory& inventory = state.nodes.at(node).inventory;
      const bool enough = shape.units == 0 || core::count_to_give(inventory) >= shape.units;
      count += enough && (!shape.in_container || inventory.runs_containers()) ? 1 : 0;
    }
  }
  const auto shared = state.shared_nodes.find(cluster.id);
  if (shape.units == 0 || shared == state.shared_nodes.end()) return count;
  for (const auto& [node, units] : shared->second) {
    const bool able = !shape.in_container || state.nodes.at(node).inventory.runs_containers();
    count += units >= shape.units && able ? 1 : 0;
  }
  return count;
}

// Where the plan would let the changed job start now.
bool starts(const State& state, const Cluster& cluster, const Job& changed, TimeMs now_ms, const Settings& settings) {
  for (const core::Placement& placement : fill(state, cluster, now_ms, settings, {}, &changed)) {
    if (placement.job == changed.id) return true;
  }
  return false;
}

template <class Change>
Job changed(const Job& job, Change change) {
  JobSpec spec = *job.spec;
  change(spec);
  Job copy = job;
  copy.spec = std::make_shared<const JobSpec>(std::move(spec));
  return copy;
}

// ---- What keeps it ----

const char* kind_of(const State& state, const Node& node) {
  if (!node.live.reachable || !node.live.seen) return "unreachable";
  if (node.drain) return "drained";
  switch (node.state) {
    case NodeState::running:
      return "busy";
    case NodeState::preparing:
      return "preparing";
    case NodeState::leaving:
      return "leaving";
    case NodeState::unusable:
      return "unusable";
    case NodeState::idle:
    case NodeState::unassigned:
      if (core::placeable(state, node)) return "";
      return core::in_service(node) ? "cleaning" : "faulty";
  }
  return "";
}

// When the first of the busy nodes should come free.
std::string until_text(const State& state, const Cluster& cluster, TimeMs now_ms) {
  const auto active = state.active_jobs.find(cluster.id);
  if (active == state.active_jobs.end()) return "";
  TimeMs first_ms = Future::kNever;
  for (const JobId id : active->second) {
    const Job& other = state.jobs.at(id);
    const Expected expected = expected_duration(state, other);
    if (expected.firm) first_ms = std::min(first_ms, std::max(now_ms, other.started_ms + expected.duration_ms));
  }
  return first_ms == Future::kNever ? ", no one knows until when" : ", the first until about " + hour_of(first_ms);
}

std::vector<Obstacle> obstacles_of(const State& state, const Cluster& cluster, TimeMs now_ms) {
  constexpr const char* kKinds[] = {"busy",     "cleaning", "preparing", "leaving",
                                    "unusable", "drained",  "faulty",    "unreachable"};
  std::map<std::string, std::uint32_t> counts;
  std::uint32_t all = 0;
  if (const auto nodes = state.cluster_nodes.find(cluster.id); nodes != state.cluster_nodes.end()) {
    for (const NodeId id : nodes->second) ++counts[kind_of(state, state.nodes.at(id))];
    all = static_cast<std::uint32_t>(nodes->second.size());
  }
  std::vector<Obstacle> obstacles;
  for (const char* kind : kKinds) {
    const auto count = counts.find(kind);
    if (count == counts.end()) continue;
    std::string text = are(count->second) + (std::string(kind) == "cleaning" ? "being cleaned up"
                                             : std::string(kind) == "faulty" ? "without one of their GPUs"
                                                                             : kind);
    if (std::string(kind) == "busy") text += until_text(state, cluster, now_ms);
    obstacles.push_back({kind, count->second, std::move(text)});
  }
  if (const std::uint32_t wanted = core::target_of(cluster); all < wanted) {
    obstacles.push_back({"missing", wanted - all, are(wanted - all) + "not there: the inventory has none to give"});
  }
  return obstacles;
}

// ---- What would help ----

// The most nodes with which it would start now, if it could do with fewer.
void try_fewer_nodes(const State& state, const Cluster& cluster, const Job& job, TimeMs now_ms,
                     const Settings& settings, Why& why) {
  const std::uint32_t most = std::min(job.spec->node_count - 1, nodes_with_room(state, cluster, shape_of(job)));
  for (std::uint32_t count = most; count > 0; --count) {
    const Job smaller = changed(job, [&](JobSpec& spec) { spec.node_count = count; });
    if (!starts(state, cluster, smaller, now_ms, settings)) continue;
    Relaxation found;
    found.kind = Relaxation::Kind::fewer_nodes;
    found.node_count = count;
    found.text = "with " + number(count) + " node" + (count == 1 ? "" : "s") + " instead of " +
                 number(job.spec->node_count) + " it would start now";
    why.relaxations.push_back(std::move(found));
    return;
  }
}

// The most GPUs of each node with which it would start now.
void try_fewer_gpus(const State& state, const Cluster& cluster, const Job& job, TimeMs now_ms, const Settings& settings,
                    Why& why) {
  for (std::uint32_t count = job.spec->gpus_per_node; count > 1; --count) {
    const Job smaller = changed(job, [&](JobSpec& spec) { spec.gpus_per_node = count - 1; });
    if (!starts(state, cluster, smaller, now_ms, settings)) continue;
    Relaxation found;
    found.kind = Relaxation::Kind::fewer_gpus;
    found.gpus_per_node = count - 1;
    found.text = "with " + number(count - 1) + " instead of " + number(job.spec->gpus_per_node) +
                 " GPUs of each node it would start now";
    why.relaxations.push_back(std::move(found));
    return;
  }
}

// Free nodes, and which of them are promised: on the rest the job would start if it needed no more.
void count_fits(const State& state, const Cluster& cluster, const Job& job, TimeMs now_ms, const Settings& settings,
                Why& why) {
  const std::uint32_t free = nodes_with_room(state, cluster, shape_of(job));
  std::uint32_t fits = std::min(free, job.spec->node_count);
  while (fits > 0) {
    const Job smaller = changed(job, [&](JobSpec& spec) { spec.node_count = fits; });
    if (starts(state, cluster, smaller, now_ms, settings)) break;
    --fits;
  }
  // Where it could have them all, how many more there are does not matter.
  why.fits = fits == std::min(free, job.spec->node_count) ? free : fits;
  if (const auto idle = nodes_with_room(state, cluster, {1, 0, false}); shape_of(job).in_container && idle > free) {
    why.obstacles.push_back({"noContainers", idle - free, are(idle - free) + "free but cannot run containers"});
  }
  if (why.fits == free) return;
  why.obstacles.push_back({"promised", free - why.fits, are(free - why.fits) + "free but promised to jobs before it"});
}

// The longest time limit with which it fits in before those that were promised the nodes.
void try_shorter_limit(const State& state, const Cluster& cluster, const Job& job, TimeMs now_ms,
                       const Settings& settings, Why& why) {
  std::set<DurationMs> limits;
  const auto queue = state.queues.find(cluster.id);
  if (queue == state.queues.end()) return;
  for (const core::QueueKey& key : queue->second) {
    if (limits.size() >= settings.reservations || key.job == job.id) break;
    const Forecast other = forecast(state, state.jobs.at(key.job), now_ms);
    if (other.start_ms != Future::kNever && other.start_ms > now_ms) limits.insert(other.start_ms - now_ms);
  }
  for (auto limit = limits.rbegin(); limit != limits.rend(); ++limit) {
    const Job shorter = changed(job, [&](JobSpec& spec) { spec.max_wall_clock_ms = *limit; });
    if (*limit >= job.spec->max_wall_clock_ms || !starts(state, cluster, shorter, now_ms, settings)) continue;
    Relaxation found;
    found.kind = Relaxation::Kind::shorter_limit;
    found.limit_ms = *limit;
    found.text =
        "with a time limit of " + number(static_cast<std::uint64_t>(*limit / 60'000)) + " minutes it would start now";
    why.relaxations.push_back(std::move(found));
    return;
  }
}

void try_higher_priority(const State& state, const Cluster& cluster, const Job& job, TimeMs now_ms,
                         const Settings& settings, Why& why) {
  for (const Priority priority : {Priority::normal, Priority::high}) {
    if (priority <= core::priority_of(job)) continue;
    Job higher = job;
    higher.new_priority = priority;
    if (!starts(state, cluster, higher, now_ms, settings)) continue;
    Relaxation found;
    found.kind = Relaxation::Kind::higher_priority;
    found.priority = priority;
    found.text =
        std::string("with priority ") + (priority == Priority::high ? "high" : "normal") + " it would start now";
    why.relaxations.push_back(std::move(found));
    return;
  }
}

void try_release(const State& state, const Cluster& cluster, const Job& job, TimeMs now_ms, const Settings& settings,
                 Why& why) {
  Job free = job;
  free.hold.reset();
  if (!core::may_start(free) || !starts(state, cluster, free, now_ms, settings)) return;
  Relaxation found;
  found.kind = Relaxation::Kind::release;
  found.text = "released it would start now";
  why.relaxations.push_back(std::move(found));
}

}  // namespace

Why why(const State& state, const Job& job, TimeMs now_ms, const Settings& settings) {
  Why result;
  result.needs = job.spec->node_count;
  const auto found = state.clusters.find(job.cluster);
  if (found == state.clusters.end() || found->second.deleting) {
    result.possible = false;
    return result;
  }
  const Cluster& cluster = found->second;
  if (const auto queue = state.queues.find(job.cluster); queue != state.queues.end()) {
    for (const core::QueueKey& key : queue->second) {
      ++result.queued;
      if (key <= core::queue_key(job)) ++result.position;
    }
  }
  const bool held_back = !core::may_start(job);
  if (held_back) {
    result.position = 0;
    result.obstacles.push_back({"heldBack", 0, core::why_not_in_queue(state, job)});
  }
  const auto nodes = obstacles_of(state, cluster, now_ms);
  result.obstacles.insert(result.obstacles.end(), nodes.begin(), nodes.end());
  result.possible = possible(supply_of(state, cluster), job);
  if (const std::uint32_t capacity = core::capacity_of(cluster.spec); result.needs > capacity) {
    Relaxation larger;
    larger.kind = Relaxation::Kind::larger_cluster;
    larger.node_count = result.needs;
    larger.text = "with a cluster of at least " + number(result.needs) + " nodes (it has " + number(capacity) +
                  ") it could start";
    result.relaxations.push_back(std::move(larger));
  }
  if (held_back) {  // nothing else would help
    try_release(state, cluster, job, now_ms, settings, result);
    return result;
  }
  try_fewer_gpus(state, cluster, job, now_ms, settings, result);
  try_fewer_nodes(state, cluster, job, now_ms, settings, result);
  if (result.possible) {
    try_shorter_limit(state, cluster, job, now_ms, settings, result);
    try_higher_priority(state, cluster, job, now_ms, settings, result);
  }
  count_fits(state, cluster, job, now_ms, settings, result);
  result.best = forecast(state, job, now_ms, Belief::best);
  result.worst = forecast(state, job, now_ms, Belief::worst);
  result.forecast_basis = "from what jobs of the same program took to what all their time limits allow";
  return result;
}

}  // namespace trainyard::plan
