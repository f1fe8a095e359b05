#include "controller/core/state.h"

#include <algorithm>

#include "controller/core/engine.h"
#include "controller/core/setup.h"
#include "controller/core/volumes.h"

namespace trainyard::core {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string path_key(std::initializer_list<std::string_view> names) {
  std::string key;
  for (std::string_view name : names) {
    if (!key.empty()) key += '/';
    key += lower(name);
  }
  return key;
}

bool Changes::empty() const {
  return groups.empty() && workspaces.empty() && experiments.empty() && clusters.empty() && nodes.empty() &&
         jobs.empty() && holdings.empty() && accounts.empty() && shares.empty() && file_servers.empty() &&
         requests.empty() && spent.empty() && erased_spent.empty() && reservations.empty() && arrays.empty() &&
         erased_arrays.empty() && schedules.empty() && erased_schedules.empty() && erased_reservations.empty() &&
         timeline.empty() && usage.empty() && erased_groups.empty() && erased_workspaces.empty() &&
         erased_experiments.empty() && erased_clusters.empty() && erased_nodes.empty() && erased_jobs.empty() &&
         erased_holdings.empty() && erased_accounts.empty() && erased_shares.empty() && erased_file_servers.empty() &&
         erased_requests.empty();
}

bool active(JobState state) {
  return state == JobState::preparing || state == JobState::starting || state == JobState::running ||
         state == JobState::stopping;
}

const char* name_of(JobState state) {
  switch (state) {
    case JobState::queued:
      return "queued";
    case JobState::preparing:
      return "preparing";
    case JobState::starting:
      return "starting";
    case JobState::running:
      return "running";
    case JobState::stopping:
      return "stopping";
    case JobState::succeeded:
      return "succeeded";
    case JobState::failed:
      return "failed";
  }
  return "?";
}

const char* name_of(NodeState state) {
  switch (state) {
    case NodeState::unassigned:
      return "unassigned";
    case NodeState::preparing:
      return "preparing";
    case NodeState::idle:
      return "idle";
    case NodeState::running:
      return "running";
    case NodeState::leaving:
      return "leaving";
    case NodeState::unusable:
      return "unusable";
  }
  return "?";
}

int rank_of(HoldingState state) {
  switch (state) {
    case HoldingState::preparing:
      return 0;
    case HoldingState::ready:
      return 1;
    case HoldingState::running:
      return 2;
    case HoldingState::exited:
      return 3;
    case HoldingState::failed:
      return 3;
    case HoldingState::lost:
      return 3;
    case HoldingState::stopping:
      return 4;
    case HoldingState::clean:
      return 5;
  }
  return 0;
}

bool holds_nothing(const State& state, NodeId node) {
  auto it = state.holdings.lower_bound({node, AttemptId{}});
  return it == state.holdings.end() || it->first.first != node;
}

bool answers(const Node& node) {
  return node.live.reachable && node.live.seen && !node.live.strays &&
         node.live.echoed_revision >= node.awaited_revision && node.live.fence_state != "running";
}

bool setup_failed(const Node& node) {
  const std::optional<SetupReport>& there = node.live.setup;
  return node.setup_run != 0 && there && there->run == node.setup_run && there->state == SetupState::failed;
}

bool placeable(const State& state, const Node& node) {
  const bool wanted = node.cluster ? node.state == NodeState::idle : node.state == NodeState::unassigned;
  if (!node.cluster && node.live.setup) return false;  // of the cluster it left: still being taken away
  return wanted && answers(node) && in_service(node) && !setup_failed(node) && holds_nothing(state, node.id);
}

std::shared_ptr<const ClusterSetup> setup_of(const State& state, const Cluster& cluster) {
  if (cluster.spec.node_setup.task.command_line.empty() && cluster.volumes.empty()) return nullptr;
  auto setup =
      std::make_shared<ClusterSetup>(ClusterSetup{path_of(state, cluster), cluster.setup_path_suffix,
                                                  cluster.spec.node_setup, with_addresses(state, cluster.volumes)});
  setup->setup.task.secrets.clear();
  setup->setup.credentials.clear();
  return setup;
}

std::uint32_t target_of(const Cluster& cluster) {
  return cluster.spec.auto_scale ? cluster.auto_target : cluster.spec.target_node_count;
}

std::uint32_t capacity_of(const ClusterSpec& spec) {
  return spec.auto_scale ? spec.auto_scale->maximum : spec.target_node_count;
}

std::uint32_t container_capacity(const State& state, const Cluster& cluster) {
  std::uint32_t without = 0;
  if (const auto nodes = state.cluster_nodes.find(cluster.id); nodes != state.cluster_nodes.end()) {
    for (NodeId id : nodes->second) without += state.nodes.at(id).inventory.runs_containers() ? 0 : 1;
  }
  const std::uint32_t capacity = capacity_of(cluster.spec);
  return capacity - std::min(capacity, without);
}

std::string why_no_containers(const State& state, const Cluster& cluster) {
  std::string why;
  const auto nodes = state.cluster_nodes.find(cluster.id);
  if (nodes == state.cluster_nodes.end()) return why;
  for (NodeId id : nodes->second) {
    const Node& node = state.nodes.at(id);
    if (node.inventory.runs_containers()) return {};
    if (!why.empty()) continue;  // the first one stands for all
    const std::string& runtime = node.inventory.container_runtime;
    why = node.name + ": " + (runtime.starts_with("none: ") ? runtime.substr(6) : "its agent says of none");
  }
  return why;
}

Demand demand_of(const State& state, const Cluster& cluster, std::uint32_t most, const CountNodes& count) {
  Demand demand;
  auto queue = state.queues.find(cluster.id);
  if (queue == state.queues.end()) return demand;
  const std::uint32_t capacity = capacity_of(cluster.spec), per_node = gpus_per_whole_node(state, cluster.id);
  std::map<WorkspaceId, std::uint32_t> gpus;  // with what is counted here
  for (const auto& [group, jobs] : queue->second) {
    const WorkspaceId workspace = group.payer.workspace;
    const std::uint32_t limit = state.workspaces.at(workspace).quota.limit;
    std::uint32_t& has = gpus.try_emplace(workspace, limit == 0 ? 0 : gpus_held(state, workspace)).first->second;
    for (const JobId id : jobs) {
      if (demand.nodes >= most) return demand;
      const Job& job = state.jobs.at(id);
      const JobSpec& spec = *job.spec;
      const std::uint32_t wanted = gpus_wanted(job, per_node);
      if (least_nodes(spec) > capacity || (limit != 0 && has + wanted > limit)) continue;
      const std::uint32_t left = most - demand.nodes,
                          nodes = count ? count(job, left) : std::min(spec.node_count, left);
      if (nodes == 0) continue;
      has += wanted;
      demand.nodes += nodes;
      ++demand.jobs;
    }
  }
  return demand;
}

bool current(const State& state, const Holding& holding) {
  auto job = state.jobs.find(holding.id.job);
  return job != state.jobs.end() && job->second.attempt == holding.id.attempt && active(job->second.state);
}

std::string path_of(const State&, const Group& group) {
  return group.name;
}
std::string path_of(const State& state, const Workspace& workspace) {
  return state.groups.at(workspace.group).name + "/" + workspace.name;
}
std::string path_of(const State& state, const Experiment& experiment) {
  return path_of(state, state.workspaces.at(experiment.workspace)) + "/" + experiment.name;
}
std::string path_of(const State& state, const Cluster& cluster) {
  return path_of(state, state.workspaces.at(cluster.workspace)) + "/" + cluster.name;
}
std::string path_of(const State& state, const FileServer& file_server) {
  return path_of(state, state.workspaces.at(file_server.workspace)) + "/" + file_server.name;
}
std::string path_of(const State& state, const JobArray& array) {
  return path_of(state, state.experiments.at(array.experiment)) + "/" + array.name;
}
std::string path_of(const State& state, const JobSchedule& schedule) {
  return path_of(state, state.experiments.at(schedule.experiment)) + "/" + schedule.name;
}
std::string path_of(const State& state, const Job& job) {
  return path_of(state, state.experiments.at(job.experiment)) + "/" + job.name;
}

void tally(NodeCounts& counts, NodeState state, bool unreachable, int delta) {
  const auto add = [delta](std::uint32_t& count) {
    count = static_cast<std::uint32_t>(static_cast<int>(count) + delta);
  };
  if (unreachable) add(counts.unreachable);
  if (state == NodeState::leaving) return add(counts.leaving);
  if (state == NodeState::unusable || unreachable) return add(counts.unusable);
  if (state == NodeState::idle) add(counts.idle);
  if (state == NodeState::running) add(counts.running);
  if (state == NodeState::preparing) add(counts.preparing);
}

NodeOffer offer_of(const Node& node) {
  return {node.drain.has_value(), !node.drain && !in_service(node), node.inventory.runs_containers(),
          count_to_give(node.inventory)};
}

void tally(Offers& offers, const NodeOffer& node, int delta) {
  const auto add = [delta](std::uint32_t& count, bool counts) {
    if (counts) count = static_cast<std::uint32_t>(static_cast<int>(count) + delta);
  };
  add(offers.drained, node.drained);
  add(offers.faulty, node.faulty);
  add(offers.no_containers, !node.containers);
  const auto same = offers.by_gpus.try_emplace(node.gpus, 0).first;
  add(same->second, true);
  if (same->second == 0) offers.by_gpus.erase(same);
}

namespace {

void index_names(State& s) {
  for (const auto& [id, row] : s.groups) s.group_by_path[lower(path_of(s, row))] = id;
  for (const auto& [id, row] : s.workspaces) s.workspace_by_path[lower(path_of(s, row))] = id;
  for (const auto& [id, row] : s.experiments) s.experiment_by_path[lower(path_of(s, row))] = id;
  for (const auto& [id, row] : s.clusters) s.cluster_by_path[lower(path_of(s, row))] = id;
  for (const auto& [id, row] : s.jobs) s.job_by_path[lower(path_of(s, row))] = id;
  for (const auto& [id, row] : s.nodes) s.node_by_name[row.name] = id;
  for (const auto& [id, row] : s.reservations) s.reservation_by_name[lower(row.name)] = id;
  for (const auto& [id, row] : s.arrays) s.array_by_path[lower(path_of(s, row))] = id;
  for (const auto& [id, row] : s.schedules) s.schedule_by_path[lower(path_of(s, row))] = id;
  for (const auto& [id, row] : s.accounts) s.account_by_name[lower(row.name)] = id;
  for (const auto& [id, row] : s.file_servers) s.file_server_by_path[lower(path_of(s, row))] = id;
  for (const auto& [id, row] : s.shares) s.share_by_path[path_key({s.accounts.at(row.account).name, row.name})] = id;
}

void index_origins(State& s) {
  for (const auto& [id, array] : s.arrays) {
    s.task_counts[id] = {};
    for (const Dependency& dependency : array.dependencies) {
      if (goes_on(array) && !dependency.met) s.waiting_arrays[dependency.awaited()].insert(id);
    }
  }
  for (const auto& [id, job] : s.jobs) {
    if (s.schedules.contains(job.schedule)) s.schedule_jobs[job.schedule][job.due_ms] = id;
    if (!job.array) continue;
    s.array_tasks[job.array][job.task] = id;
    TaskCounts& counts = s.task_counts[job.array];
    if (!terminal(job.state)) ++counts.live;
    if (job.state == JobState::queued) ++counts.queued;
  }
}

}  // namespace

void rebuild_indexes(State& s) {
  s.group_by_path = {}, s.workspace_by_path = {}, s.experiment_by_path = {}, s.cluster_by_path = {};
  s.job_by_path = {}, s.node_by_name = {}, s.account_by_name = {}, s.share_by_path = {}, s.file_server_by_path = {};
  s.reservation_by_name = {};
  s.array_by_path = {}, s.array_tasks = {}, s.task_counts = {}, s.waiting_arrays = {};
  s.schedule_by_path = {}, s.schedule_jobs = {};
  s.cluster_nodes = {}, s.free_nodes = {}, s.free_inventory = {}, s.queues = {}, s.job_holdings = {};
  s.free_flavours = {}, s.counts = {}, s.offers = {}, s.active_jobs = {}, s.launches = {}, s.setups = {},
  s.node_file_servers = {};
  s.run_times = {}, s.shared_nodes = {}, s.dependents = {}, s.held_back = {}, s.held = {};
  index_names(s);
  index_origins(s);
  for (const auto& [id, cluster] : s.clusters) {
    if (auto setup = setup_of(s, cluster)) s.setups.emplace(id, std::move(setup));
  }
  for (const auto& [id, row] : s.file_servers) {
    if (!row.node.empty()) s.node_file_servers[row.node].insert(id);
  }
  for (const auto& [key, holding] : s.holdings) {
    s.job_holdings[holding.id.job].insert(key);
    s.held[holding.payer].add(holding);
  }
  for (const auto& [id, node] : s.nodes) {
    if (node.cluster) {
      s.cluster_nodes[*node.cluster].insert(id);
      tally(s.counts[*node.cluster], node.state, !node.live.reachable, +1);
      tally(s.offers[*node.cluster], offer_of(node), +1);
      if (placeable(s, node)) s.free_nodes[*node.cluster].insert(id);
      if (const std::uint32_t units = shared_units(s, node); units > 0) s.shared_nodes[*node.cluster][id] = units;
    } else if (placeable(s, node)) {
      s.free_inventory.insert(id);
      s.free_flavours[lower(node.inventory.flavour)].insert(id);
    }
  }
  for (const auto& [id, job] : s.jobs) {
    if (job.state == JobState::queued) index_queued(s, job);
    if (active(job.state)) {
      s.active_jobs[job.cluster].insert(id);
      s.launches[id] = launch_of(s, job);
    }
  }
  std::vector<const Job*> ended;
  for (const auto& [id, job] : s.jobs) {
    if (job.state == JobState::succeeded) ended.push_back(&job);
  }
  std::stable_sort(ended.begin(), ended.end(), [](const Job* a, const Job* b) { return a->ended_ms < b->ended_ms; });
  for (const Job* job : ended) learn_run_time(s, *job);
}

Priority priority_of(const Job& job) {
  return job.new_priority.value_or(job.spec->priority);
}

std::string class_of(const State& state, Priority priority) {
  for (const auto& [name, value] : state.classes) {
    if (value == priority) return name;
  }
  return "";
}

bool all_met(const std::vector<Dependency>& dependencies) {
  return std::all_of(dependencies.begin(), dependencies.end(),
                     [](const Dependency& dependency) { return dependency.met; });
}

bool may_start(const Job& job) {
  return !job.hold && all_met(job.dependencies);
}

void index_queued(State& state, const Job& job) {
  for (const Dependency& dependency : job.dependencies) {
    if (!dependency.met) state.dependents[dependency.awaited()].insert(job.id);
  }
  if (may_start(job)) {
    state.queues[job.cluster][queue_group(state, job)].insert(job.id);
  } else {
    state.held_back[job.cluster].insert(job.id);
  }
}

Payer payer_of(const State& state, const Job& job) {
  return {state.experiments.at(job.experiment).workspace, job.owner};
}

QueueGroup queue_group(const State& state, const Job& job) {
  return {-static_cast<int>(priority_of(job)), payer_of(state, job)};
}

std::size_t size_of(const Queue& queue) {
  std::size_t size = 0;
  for (const auto& [group, jobs] : queue) size += jobs.size();
  return size;
}

std::uint64_t decayed(std::uint64_t gpu_ms, DurationMs elapsed_ms, DurationMs half_life_ms) {
  if (elapsed_ms <= 0 || half_life_ms <= 0) return gpu_ms;
  const DurationMs halvings = elapsed_ms / half_life_ms;
  if (halvings >= 64) return 0;
  gpu_ms >>= halvings;
  constexpr std::uint64_t kSteps = 2'048;  // of a half, so that nothing overflows
  const auto steps =
      static_cast<std::uint64_t>((elapsed_ms % half_life_ms) * static_cast<DurationMs>(kSteps / 2) / half_life_ms);
  return gpu_ms - gpu_ms / kSteps * steps;
}

DurationMs limit_of(const Job& job) {
  return job.limit_ms != 0 ? job.limit_ms : job.spec->max_wall_clock_ms;
}

std::uint32_t gpus_held(const State& state, WorkspaceId workspace) {
  std::uint32_t gpus = 0;
  for (auto held = state.held.lower_bound({workspace, ""});
       held != state.held.end() && held->first.workspace == workspace; ++held) {
    gpus += held->second.gpus;
  }
  return gpus;
}

std::uint32_t gpus_per_whole_node(const State& state, ClusterId cluster) {
  return std::max(1U, most_gpus(state, cluster).value_or(1));
}

std::uint32_t least_nodes(const JobSpec& spec) {
  return spec.min_node_count != 0 ? spec.min_node_count : spec.node_count;
}

std::uint32_t nodes_got(const Job& job) {
  return job.last_nodes.empty() ? job.spec->node_count : static_cast<std::uint32_t>(job.last_nodes.size());
}

std::uint32_t gpus_wanted(const Job& job, std::uint32_t per_whole_node) {
  return least_nodes(*job.spec) * (job.spec->gpus_per_node > 0 ? job.spec->gpus_per_node : per_whole_node);
}

std::uint32_t gpus_wanted(const State& state, const Job& job) {
  return gpus_wanted(job, gpus_per_whole_node(state, job.cluster));
}

}  // namespace trainyard::core
