#include "controller/plan/why.h"

#include <algorithm>
#include <set>
#include <utility>

#include "common/model_json.h"
#include "common/time.h"
#include "common/topology.h"
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

// Calls `visit` with each node of which so much is free now, whoever it is promised to, and whether the job would run
// into a reservation there.
template <class Visit>
void for_nodes_with_room(const State& state, const Cluster& cluster, Shape shape, TimeMs now_ms, Visit visit) {
  const auto closed = closed_nodes(state);
  const auto look = [&](NodeId id, bool enough) {
    const Inventory& inventory = state.nodes.at(id).inventory;
    if (!enough || (shape.in_container && !inventory.runs_containers())) return;
    visit(id, keeps_out(closed, id, shape, now_ms));
  };
  if (const auto free = state.free_nodes.find(cluster.id); free != state.free_nodes.end()) {
    for (const NodeId node : free->second) {
      look(node, shape.units == 0 || core::count_to_give(state.nodes.at(node).inventory) >= shape.units);
    }
  }
  const auto shared = state.shared_nodes.find(cluster.id);
  if (shape.units == 0 || shared == state.shared_nodes.end()) return;
  for (const auto& [node, units] : shared->second) look(node, units >= shape.units);
}

struct RoomNow {
  std::uint32_t nodes = 0, reserved = 0;
};
RoomNow nodes_with_room(const State& state, const Cluster& cluster, Shape shape, TimeMs now_ms) {
  RoomNow room;
  for_nodes_with_room(state, cluster, shape, now_ms,
                      [&](NodeId, bool reserved) { ++(reserved ? room.reserved : room.nodes); });
  return room;
}

template <class Change>
Job changed(const Job& job, Change change) {
  JobSpec spec = *job.spec;
  change(spec);
  Job copy = job;
  copy.spec = std::make_shared<const JobSpec>(std::move(spec));
  return copy;
}

// The same job on exactly so many nodes.
Job with_nodes(const Job& job, std::uint32_t count) {
  return changed(job, [&](JobSpec& spec) {
    spec.node_count = count;
    spec.min_node_count = 0;
  });
}
bool fills_blocks(const JobSpec& spec, std::uint32_t count) {
  return spec.topology.block_size == 0 || count % spec.topology.block_size == 0;
}

const core::Workspace& workspace_of(const State& state, const Job& job) {
  return state.workspaces.at(core::payer_of(state, job).workspace);
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

// "reserved from 14:00 on: disk swap": of those that keep the job out the first.
std::string next_reservation(const State& state, const Cluster& cluster, const Job& job) {
  const core::Reservation* first = nullptr;
  for (const auto& [id, reservation] : state.reservations) {
    const bool here = std::any_of(reservation.nodes.begin(), reservation.nodes.end(),
                                  [&](NodeId node) { return state.nodes.at(node).cluster == cluster.id; });
    if (!here || reservation.workspace == core::payer_of(state, job).workspace) continue;
    if (first == nullptr || reservation.from_ms < first->from_ms) first = &reservation;
  }
  if (first == nullptr) return "reserved";
  return "reserved from " + hour_of(first->from_ms) + " until " + hour_of(first->until_ms) + " (" + first->name + ")" +
         (first->why.empty() ? "" : ": " + first->why);
}

// ---- What would help ----

// The most nodes with which it would start now, if it could do with fewer.
void try_fewer_nodes(const State& state, const Cluster& cluster, const Job& job, TimeMs now_ms,
                     const Settings& settings, Why& why) {
  const std::uint32_t most =
      std::min(core::least_nodes(*job.spec) - 1, nodes_with_room(state, cluster, shape_of(state, job), now_ms).nodes);
  for (std::uint32_t count = most; count > 0; --count) {
    if (!fills_blocks(*job.spec, count)) continue;
    const Job smaller = with_nodes(job, count);
    if (!starts(state, cluster, now_ms, settings, smaller)) continue;
    Relaxation found;
    found.kind = Relaxation::Kind::fewer_nodes;
    found.node_count = count;
    found.text = "with " + number(count) + " node" + (count == 1 ? "" : "s") + " instead of " +
                 number(core::least_nodes(*job.spec)) + " it would start now";
    why.relaxations.push_back(std::move(found));
    return;
  }
}

// The most GPUs of each node with which it would start now.
void try_fewer_gpus(const State& state, const Cluster& cluster, const Job& job, TimeMs now_ms, const Settings& settings,
                    Why& why) {
  for (std::uint32_t count = job.spec->gpus_per_node; count > 1; --count) {
    const Job smaller = changed(job, [&](JobSpec& spec) { spec.gpus_per_node = count - 1; });
    if (!starts(state, cluster, now_ms, settings, smaller)) continue;
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
  const auto [free, reserved] = nodes_with_room(state, cluster, shape_of(state, job), now_ms);
  core::Quota without_limit = workspace_of(state, job).quota;
  without_limit.limit = 0;
  const std::uint32_t least = core::least_nodes(*job.spec);
  std::uint32_t fits = std::min(free, least);
  while (fits > 0) {
    // What its workspace may have is another matter, and so is which of them lie together.
    const Job smaller = changed(with_nodes(job, fits), [](JobSpec& spec) { spec.topology = {}; });
    if (starts(state, cluster, now_ms, settings, smaller, without_limit)) break;
    --fits;
  }
  // Where it could have them all, how many more there are does not matter.
  why.fits = fits == std::min(free, least) ? free : fits;
  if (const auto idle = nodes_with_room(state, cluster, Shape{}, now_ms).nodes;
      shape_of(state, job).in_container && idle > free + reserved) {
    const std::uint32_t others = idle - free - reserved;
    why.obstacles.push_back({"noContainers", others, are(others) + "free but cannot run containers"});
  }
  if (reserved > 0) {
    why.obstacles.push_back(
        {"reserved", reserved, are(reserved) + "free but " + next_reservation(state, cluster, job)});
  }
  if (why.fits == free) return;
  why.obstacles.push_back({"promised", free - why.fits, are(free - why.fits) + "free but promised to jobs before it"});
}

// The longest time limit with which it fits in before those that were promised the nodes.
void try_shorter_limit(const State& state, const Cluster& cluster, const Job& job, TimeMs now_ms,
                       const Settings& settings, Why& why) {
  // Starts of those that are promised something before it: where one of them ends, it must have ended.
  std::set<DurationMs> limits;
  for (const TimeMs start_ms : forecast(state, job, now_ms, Belief::plan, settings).turns_before) {
    if (limits.size() >= settings.reservations) break;
    if (start_ms > now_ms) limits.insert(start_ms - now_ms);
  }
  for (const auto& [id, reservation] : state.reservations) {
    if (reservation.from_ms > now_ms) limits.insert(reservation.from_ms - now_ms);
  }
  for (auto limit = limits.rbegin(); limit != limits.rend(); ++limit) {
    const Job shorter = changed(job, [&](JobSpec& spec) { spec.max_wall_clock_ms = *limit; });
    if (*limit >= job.spec->max_wall_clock_ms || !starts(state, cluster, now_ms, settings, shorter)) continue;
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
  std::set<Priority> higher_ones{Priority::normal, Priority::high};
  for (const auto& [name, priority] : state.classes) higher_ones.insert(priority);
  for (const Priority priority : higher_ones) {
    if (priority <= core::priority_of(job)) continue;
    Job higher = job;
    higher.new_priority = priority;
    if (!starts(state, cluster, now_ms, settings, higher)) continue;
    Relaxation found;
    found.kind = Relaxation::Kind::higher_priority;
    found.priority = priority;
    found.priority_class = core::class_of(state, priority);
    found.text = "with priority " + (found.priority_class.empty() ? name_of(priority) : found.priority_class) +
                 " it would start now";
    why.relaxations.push_back(std::move(found));
    return;
  }
}

// ---- Topology ----

// Free nodes that lie where the job is not to run, and those that are not together as it insists.
void add_topology(const State& state, const Cluster& cluster, const Job& job, TimeMs now_ms, Why& why) {
  const Topology& wanted = job.spec->topology;
  if (!insists(&wanted)) return;
  Places places;
  std::vector<std::uint32_t> free;  // by place
  for_nodes_with_room(state, cluster, shape_of(state, job), now_ms, [&](NodeId id, bool reserved) {
    if (reserved) return;
    const std::uint32_t place = places.number_of(state.nodes.at(id).inventory.topology);
    free.resize(std::max<std::size_t>(free.size(), place + 1));
    ++free[place];
  });
  const std::vector<std::int32_t>& domains = places.domains(wanted);
  Together together(gang_size(wanted, job.spec->node_count, 1));
  std::uint32_t inside = 0, outside = 0;
  for (std::size_t place = 0; place < free.size(); ++place) {
    (domains[place] == Places::kOut ? outside : inside) += free[place];
    if (domains[place] != Places::kOut) together.add(domains[place], free[place]);
  }
  if (outside > 0) {
    why.obstacles.push_back({"topology", outside, are(outside) + "free but not where it may run: " + text_of(wanted)});
  }
  const std::uint32_t got = together.nodes();
  if (got >= why.needs || got == inside) return;
  why.obstacles.push_back(
      {"topology", inside - got,
       are(inside) + "free where it may run, but it gets " + number(got) + " of them: it wants " + text_of(wanted)});
}

void try_any_topology(const State& state, const Cluster& cluster, const Job& job, TimeMs now_ms,
                      const Settings& settings, Why& why) {
  if (!insists(&job.spec->topology)) return;
  const Job anywhere = changed(job, [](JobSpec& spec) { spec.topology = {}; });
  if (!starts(state, cluster, now_ms, settings, anywhere)) return;
  Relaxation found;
  found.kind = Relaxation::Kind::any_topology;
  found.text = "without its topology (" + text_of(job.spec->topology) + ") it would start now";
  why.relaxations.push_back(std::move(found));
}

// ---- Quotas and shares ----

bool quota_allows_ever(const State& state, const Job& job) {
  const std::uint32_t limit = workspace_of(state, job).quota.limit;
  return limit == 0 || core::gpus_wanted(state, job) <= limit;
}

void add_quota(const State& state, const Job& job, Why& why) {
  if (std::string text = core::over_quota(state, job); !text.empty()) {
    why.obstacles.push_back({"quota", 0, std::move(text)});
  }
}

void try_larger_quota(const State& state, const Cluster& cluster, const Job& job, TimeMs now_ms,
                      const Settings& settings, Why& why) {
  const core::Workspace& workspace = workspace_of(state, job);
  core::Quota quota = workspace.quota;
  const std::uint32_t needed = core::gpus_held(state, workspace.id) + core::gpus_wanted(state, job);
  if (quota.limit == 0 || needed <= quota.limit) return;
  // Others of the workspace that it keeps waiting may go first: then it must be enough for all.
  for (const std::uint32_t limit : {needed, 0U}) {
    quota.limit = limit;
    if (!starts(state, cluster, now_ms, settings, job, quota)) continue;
    Relaxation found;
    found.kind = Relaxation::Kind::larger_quota;
    found.gpus = limit;
    found.text = limit == 0 ? "without the limit of workspace " + workspace.name + " it would start now"
                            : "with a limit of " + number(limit) + " GPUs of workspace " + workspace.name +
                                  " it would start now";
    why.relaxations.push_back(std::move(found));
    return;
  }
}

// "has its turn after 3 jobs of others: workspace w had 12.5 GPU-hours of late, alice 3.0 of them"
void add_turn(const State& state, const Job& job, TimeMs now_ms, Why& why) {
  const auto hours = [](std::uint64_t gpu_ms) {
    const std::uint64_t tenths = gpu_ms / 360'000;
    return number(tenths / 10) + "." + number(tenths % 10);
  };
  const core::QueueGroup own = core::queue_group(state, job);
  const auto queue = state.queues.find(job.cluster);
  if (queue == state.queues.end()) return;
  const auto others = std::count_if(queue->second.begin(), queue->second.end(), [&](const auto& group) {
    return group.first.rank == own.rank && group.first != own;
  });
  if (others == 0) return;
  const Shares shares(state, now_ms);
  const core::Workspace& workspace = workspace_of(state, job);
  why.obstacles.push_back({"turn", 0,
                           "its turn goes by what was had of late: workspace " + workspace.name + " " +
                               hours(shares.weighted_use_of(workspace.id) * workspace.quota.weight) +
                               " GPU-hours (weight " + number(workspace.quota.weight) + "), " +
                               (job.owner.empty() ? "its owner" : job.owner) + " " + hours(shares.use_of(own.payer)) +
                               " of them"});
}

void try_release(const State& state, const Cluster& cluster, const Job& job, TimeMs now_ms, const Settings& settings,
                 Why& why) {
  Job free = job;
  free.hold.reset();
  if (!core::may_start(free) || !starts(state, cluster, now_ms, settings, free)) return;
  Relaxation found;
  found.kind = Relaxation::Kind::release;
  found.text = "released it would start now";
  why.relaxations.push_back(std::move(found));
}

}  // namespace

Why why(const State& state, const Job& job, TimeMs now_ms, const Settings& settings) {
  Why result;
  result.needs = core::least_nodes(*job.spec);
  const auto found = state.clusters.find(job.cluster);
  if (found == state.clusters.end() || found->second.deleting) {
    result.possible = false;
    return result;
  }
  const Cluster& cluster = found->second;
  const auto queue = state.queues.find(job.cluster);
  if (queue != state.queues.end()) result.queued = static_cast<std::uint32_t>(core::size_of(queue->second));
  const bool held_back = !core::may_start(job);
  if (held_back) {
    result.obstacles.push_back({"heldBack", 0, core::why_not_in_queue(state, job)});
  }
  add_quota(state, job, result);
  const auto nodes = obstacles_of(state, cluster, now_ms);
  result.obstacles.insert(result.obstacles.end(), nodes.begin(), nodes.end());
  const Roster roster(state, cluster.id);
  result.possible = Supply(state, cluster, roster).possible(job) && quota_allows_ever(state, job);
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
  try_any_topology(state, cluster, job, now_ms, settings, result);
  if (result.possible) {
    try_shorter_limit(state, cluster, job, now_ms, settings, result);
    try_higher_priority(state, cluster, job, now_ms, settings, result);
  }
  try_larger_quota(state, cluster, job, now_ms, settings, result);
  count_fits(state, cluster, job, now_ms, settings, result);
  add_topology(state, cluster, job, now_ms, result);
  result.position = forecast(state, job, now_ms, Belief::plan, settings).turn;
  add_turn(state, job, now_ms, result);
  result.best = forecast(state, job, now_ms, Belief::best, settings);
  result.worst = forecast(state, job, now_ms, Belief::worst, settings);
  result.forecast_basis = "from what jobs of the same program took to what all their time limits allow";
  return result;
}

}  // namespace trainyard::plan
