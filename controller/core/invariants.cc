// What must hold between any two events. A broken one is a bug: the process stops with its name.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "controller/core/accounting.h"
#include "controller/core/engine.h"
#include "controller/core/volumes.h"

namespace trainyard::core {

namespace {

void must(bool holds, const char* name, const std::string& about) {
  if (holds) [[likely]]
    return;
  std::fprintf(stderr, "invariant broken: %s (%s)\n", name, about.c_str());
  std::abort();
}

std::string text_of(const Holding& holding) {
  return "job " + std::to_string(holding.id.job.value) + " attempt " + std::to_string(holding.id.attempt) +
         " on node " + std::to_string(holding.node.value);
}

// By its time limit: what its job may take at most.
void check_reservations(const State& state, const Holding& holding) {
  const auto job = state.jobs.find(holding.id.job);
  if (job == state.jobs.end()) return;
  for (const auto& [id, reservation] : state.reservations) {
    const bool concerns = std::binary_search(reservation.nodes.begin(), reservation.nodes.end(), holding.node) &&
                          reservation.workspace != holding.payer.workspace &&
                          holding.since_ms > reservation.created_ms && holding.since_ms < reservation.until_ms;
    must(!concerns || holding.since_ms + limit_of(job->second) <= reservation.from_ms,
         "nothing is placed across a reservation", text_of(holding));
  }
}

void check_holding(const State& state, const HoldingKey& key, const Holding& holding) {
  const std::string about = text_of(holding);
  must(key == key_of(holding), "a holding is stored under its own key", about);
  auto node = state.nodes.find(key.first);
  must(node != state.nodes.end(), "a holding's node exists", about);
  must(holding.node_epoch == node->second.epoch, "a holding belongs to the node's present epoch", about);
  const std::optional<Drain>& drain = node->second.drain;
  must(!drain || holding.since_ms <= drain->since_ms, "nothing is placed on a drained node", about);
  check_reservations(state, holding);
  must(holding.stop_ordered == (holding.stopped_ms != 0), "a stopped holding is accounted as such", about);
  check_usage(usage_of(state, holding, state.meta.last_now_ms));
  auto index = state.job_holdings.find(holding.id.job);
  must(index != state.job_holdings.end() && index->second.contains(key), "job_holdings lists every holding", about);
  auto job = state.jobs.find(holding.id.job);
  if (job == state.jobs.end()) {
    must(holding.stop_ordered, "a holding without a job is stopped", about);
    return;
  }
  must(holding.id.attempt <= job->second.attempt, "no holding is newer than its job's attempt", about);
  if (!current(state, holding) || job->second.state == JobState::stopping) {
    must(holding.stop_ordered, "a holding of an ended attempt is stopped", about);
  }
  if (holding.id.attempt < job->second.attempt) {
    must(job->second.spec->recovery.rerun_after == RerunAfter::gang_broken,
         "at most one attempt holds nodes, unless the job accepts gangBroken", about);
  }
}

void check_node(const State& state, const Node& node) {
  const std::string& about = node.name;
  std::uint32_t live = 0, held = 0, whole = 0;
  std::set<std::string> gpus;
  for (const auto& [key, holding] : holdings_on(state, node.id)) {
    check_holding(state, key, holding);
    ++held;
    if (current(state, holding)) ++live;
    if (!holding.shared) ++whole;
    for (const std::string& gpu : holding.gpu_uuids) must(gpus.insert(gpu).second, "no GPU has two owners", gpu);
    must(!holding.shared || !holding.gpu_uuids.empty(), "a part of a node has GPUs", about);
  }
  must(whole == 0 || held == 1, "beside a whole node's holding there is no other", about);
  must(live == 0 || node.state == NodeState::running || node.state == NodeState::leaving || !node.cluster,
       "a node that runs something is running, leaving or detached", about);
  must(node.cluster.has_value() == (node.state != NodeState::unassigned), "unassigned means: in no cluster", about);
  must(node.state != NodeState::running || held != 0, "a running node holds something", about);
  must(node.live.echoed_revision <= node.revision, "a node echoes no orders that were never given", about);
  must((node.setup_run != 0) == (node.cluster && state.setups.contains(*node.cluster)),
       "a node has a run of a set-up if and only if its cluster has one", about);
  must(node.state != NodeState::unusable || (held == 0 && !node.reason.empty()),
       "an unusable node holds nothing and says why", about);
  must((node.setup_retry_ms != 0) == (node.state == NodeState::unusable), "unusable nodes are tried again", about);
  auto by_name = state.node_by_name.find(node.name);
  must(by_name != state.node_by_name.end() && by_name->second == node.id, "node_by_name", about);
  const bool free = placeable(state, node);
  must(!node.drain || !node.drain->why.empty(), "a drained node says why", about);
  must(state.free_inventory.contains(node.id) == (free && !node.cluster), "free_inventory", about);
  if (!node.cluster) return;
  must(state.clusters.contains(*node.cluster), "a node's cluster exists", about);
  auto nodes = state.cluster_nodes.find(*node.cluster);
  must(nodes != state.cluster_nodes.end() && nodes->second.contains(node.id), "cluster_nodes", about);
  auto free_nodes = state.free_nodes.find(*node.cluster);
  must((free_nodes != state.free_nodes.end() && free_nodes->second.contains(node.id)) == free, "free_nodes", about);
  auto shared = state.shared_nodes.find(*node.cluster);
  const bool listed = shared != state.shared_nodes.end() && shared->second.contains(node.id);
  must((listed ? shared->second.at(node.id) : 0) == shared_units(state, node), "shared_nodes", about);
}

bool goes_on(const State& state, const Awaited& awaited) {
  if (awaited.array) {
    const auto array = state.arrays.find(awaited.array);
    return array != state.arrays.end() && array->second.state == ArrayState::running;
  }
  const auto job = state.jobs.find(awaited.job);
  return job != state.jobs.end() && !terminal(job->second.state);
}

void check_job(const State& state, const Job& job) {
  const std::string about = "job " + std::to_string(job.id.value) + " " + job.name;
  std::uint32_t held = 0;
  if (auto found = state.job_holdings.find(job.id); found != state.job_holdings.end()) {
    for (const HoldingKey& key : found->second) held += key.second.attempt == job.attempt ? 1 : 0;
  }
  const bool running =
      job.state == JobState::preparing || job.state == JobState::starting || job.state == JobState::running;
  must(!running || (held == job.last_nodes.size() && held >= least_nodes(*job.spec) && held <= job.spec->node_count),
       "an attempt holds all its nodes until it is stopping", about);
  must(!running || job.verdict == Verdict::none, "a running attempt has no verdict yet", about);
  must(job.state != JobState::stopping || job.verdict != Verdict::none, "a stopping attempt has a verdict", about);
  const bool left_orphans = job.spec->recovery.rerun_after == RerunAfter::gang_broken;
  must(job.state != JobState::queued || held == 0 || left_orphans, "a queued job holds nothing", about);
  // After a waived requeue the job may be cancelled while queued: its old attempt's orphans are still shown.
  must(!terminal(job.state) || held == 0 || left_orphans, "a finished job holds nothing", about);
  must(!job.deleting || !terminal(job.state), "a deleted job that has ended is gone", about);
  auto queue = state.queues.find(job.cluster);
  const auto group =
      queue == state.queues.end() ? Queue::const_iterator{} : queue->second.find(queue_group(state, job));
  const bool queued = queue != state.queues.end() && group != queue->second.end() && group->second.contains(job.id);
  must(queued == (job.state == JobState::queued && may_start(job)), "queues", about);
  auto back = state.held_back.find(job.cluster);
  must((back != state.held_back.end() && back->second.contains(job.id)) ==
           (job.state == JobState::queued && !may_start(job)),
       "held_back", about);
  for (const Dependency& dependency : job.dependencies) {
    const bool waits = job.state == JobState::queued && !dependency.met;
    must(!waits || goes_on(state, dependency.awaited()), "a job waits for nothing that has ended", about);
    const auto dependents = state.dependents.find(dependency.awaited());
    must(!waits || (dependents != state.dependents.end() && dependents->second.contains(job.id)), "dependents", about);
  }
  auto jobs = state.active_jobs.find(job.cluster);
  const bool listed = jobs != state.active_jobs.end() && jobs->second.contains(job.id);
  must(listed == active(job.state), "active_jobs", about);
  must(state.launches.contains(job.id) == active(job.state), "launches", about);
  must(state.experiments.contains(job.experiment), "a job's experiment exists", about);
  if (state.schedules.contains(job.schedule)) {
    const auto made = state.schedule_jobs.find(job.schedule);
    must(
        made != state.schedule_jobs.end() && made->second.contains(job.due_ms) && made->second.at(job.due_ms) == job.id,
        "no time of a schedule is two jobs", about);
  }
  if (!job.array) return;
  const auto array = state.arrays.find(job.array);
  must(array != state.arrays.end(), "a task's array exists", about);
  must(job.task < array->second.next, "a task was made by its array", about);
  const auto tasks = state.array_tasks.find(job.array);
  must(tasks != state.array_tasks.end() && tasks->second.contains(job.task) && tasks->second.at(job.task) == job.id,
       "no task of an array is two jobs", about);
}

void check_array(const State& state, const JobArray& array) {
  const std::string about = "job array " + std::to_string(array.id.value) + " " + array.name;
  must(state.experiments.contains(array.experiment), "an array's experiment exists", about);
  must(array.next <= array.body->tasks, "an array makes no more tasks than it has", about);
  std::uint32_t rows = 0, succeeded = 0, failed = 0;
  TimeMs newest_ms = 0;
  TaskCounts counts;
  if (const auto tasks = state.array_tasks.find(array.id); tasks != state.array_tasks.end()) {
    for (const auto& [task, id] : tasks->second) {
      const Job& job = state.jobs.at(id);
      must(job.array == array.id && job.task == task, "array_tasks", about);
      ++rows;
      succeeded += job.state == JobState::succeeded ? 1 : 0;
      failed += job.state == JobState::failed ? 1 : 0;
      counts.queued += job.state == JobState::queued ? 1 : 0;
      if (terminal(job.state)) continue;
      ++counts.live;
      newest_ms = std::max(newest_ms, job.created_ms);
    }
  }
  must(counts == state.task_counts.at(array.id), "task_counts", about);
  must(rows + array.removed == array.next, "every task that was made is a job, or was deleted", about);
  must(counts.live + array.succeeded + array.failed == array.next, "every task that was made goes on or has ended",
       about);
  must(succeeded <= array.succeeded && failed <= array.failed, "an array counts all ends of its tasks", about);
  must(array.parallel == 0 || counts.live <= array.parallel || newest_ms <= array.parallel_changed_ms,
       "an array has no more tasks at once than its limit", about);
  must(array.state == ArrayState::running || counts.live == 0, "no task of an array that has ended goes on", about);
  must(!wants_task(state, array), "a task that may come has come", about);
  const bool more = goes_on(array);
  must(!more || array.deleting || !cluster_is_going(state, array.cluster), "an array ends with its cluster", about);
  must(!more || array.deleting || counts.live > 0 || array.next < array.body->tasks, "an array ends with its tasks",
       about);
  for (const Dependency& dependency : array.dependencies) {
    const auto waiting = state.waiting_arrays.find(dependency.awaited());
    const bool listed = waiting != state.waiting_arrays.end() && waiting->second.contains(array.id);
    must(listed == (more && !dependency.met), "waiting_arrays", about);
    must(!listed || goes_on(state, dependency.awaited()), "an array waits for nothing that has ended", about);
  }
}

void check_schedule(const State& state, const JobSchedule& schedule) {
  const std::string about = "job schedule " + std::to_string(schedule.id.value) + " " + schedule.name;
  must(state.experiments.contains(schedule.experiment), "a schedule's experiment exists", about);
  must((schedule.next_ms == 0) == schedule.suspended.has_value(), "a schedule is due unless it is suspended", about);
  must(schedule.next_ms == 0 || next_after(schedule.cron, schedule.next_ms - 1) == schedule.next_ms,
       "a schedule is due when its expression says", about);
  std::uint32_t rows = 0, ended = 0, live = 0;
  if (const auto jobs = state.schedule_jobs.find(schedule.id); jobs != state.schedule_jobs.end()) {
    for (const auto& [due_ms, id] : jobs->second) {
      const Job& job = state.jobs.at(id);
      must(job.schedule == schedule.id && job.due_ms == due_ms, "schedule_jobs", about);
      must(due_ms <= job.created_ms, "no job of a schedule is made before its time", about);
      must(schedule.next_ms == 0 || due_ms < schedule.next_ms, "a time for which there is a job is over", about);
      ++rows;
      if (terminal(job.state)) {
        ++ended;
      } else if (job.created_ms > schedule.changed_ms) {
        ++live;
      }
    }
  }
  must(rows <= schedule.made, "a schedule counts its jobs", about);
  must(schedule.keep == 0 || ended <= schedule.keep, "a schedule keeps no more than it should", about);
  must(schedule.overlap == Overlap::allow || live <= 1, "jobs of a schedule that skips do not overlap", about);
}

void check_file_server(const State& state, const FileServer& row) {
  const std::string about = "file server " + std::to_string(row.id.value) + " " + row.name;
  must(state.workspaces.contains(row.workspace), "a file server's workspace exists", about);
  must(!row.node.empty() || row.state == Provisioning::succeeded, "a registered file server is there", about);
  must(row.state != Provisioning::succeeded || !row.address.empty(), "a file server that serves has an address", about);
  must(row.state != Provisioning::failed || !row.error.empty(), "a file server that failed says why", about);
  if (row.node.empty()) return;
  auto served = state.node_file_servers.find(row.node);
  must(served != state.node_file_servers.end() && served->second.contains(row.id), "node_file_servers", about);
}

void check_unused(const State& state, const Volume& place) {
  const auto on_it = [&](const Volume& volume) { return same_place(volume, place); };
  for (const auto& [id, job] : state.jobs) {
    must(terminal(job.state) || std::none_of(job.volumes.begin(), job.volumes.end(), on_it),
         "no job mounts a share that is being deleted", job.name);
  }
  for (const auto& [id, cluster] : state.clusters) {
    must(std::none_of(cluster.volumes.begin(), cluster.volumes.end(), on_it),
         "no cluster mounts a share that is being deleted", cluster.name);
  }
}

template <class Index>
std::size_t total(const Index& index) {
  std::size_t sum = 0;
  for (const auto& [key, set] : index) {
    must(!set.empty(), "no index keeps an empty set", "");
    sum += set.size();
  }
  return sum;
}

// Arrays and schedules, and the jobs that they made.
void check_made_jobs(const State& state) {
  for (const auto& [id, array] : state.arrays) check_array(state, array);
  must(std::count_if(state.jobs.begin(), state.jobs.end(), [](const auto& row) { return bool(row.second.array); }) ==
           static_cast<std::ptrdiff_t>(total(state.array_tasks)),
       "array_tasks has tasks of arrays only", "");
  must(state.array_by_path.size() == state.arrays.size() && state.task_counts.size() == state.arrays.size(),
       "every array has one name and one count", "");
  for (const auto& [id, schedule] : state.schedules) check_schedule(state, schedule);
  must(std::count_if(state.jobs.begin(), state.jobs.end(),
                     [&](const auto& row) { return state.schedules.contains(row.second.schedule); }) ==
           static_cast<std::ptrdiff_t>(total(state.schedule_jobs)),
       "schedule_jobs has jobs of schedules only", "");
  must(state.schedule_by_path.size() == state.schedules.size(), "every schedule has one name", "");
}

}  // namespace

void check_invariants(const State& state) {
  std::size_t queued = 0, running = 0;
  for (const auto& [id, node] : state.nodes) check_node(state, node);
  for (const auto& [id, job] : state.jobs) {
    check_job(state, job);
    if (job.state == JobState::queued) ++queued;
    if (active(job.state)) ++running;
  }
  for (const auto& [id, cluster] : state.clusters) {
    const auto setup = setup_of(state, cluster);
    auto found = state.setups.find(id);
    must((setup != nullptr) == (found != state.setups.end()), "setups", cluster.name);
    must(setup == nullptr || *setup == *found->second, "a set-up is told as it is stored", cluster.name);
    const auto& scale = cluster.spec.auto_scale;
    must(!scale || scale->minimum <= scale->maximum, "minimum <= maximum", cluster.name);
  }
  check_made_jobs(state);
  std::size_t served = 0;
  for (const auto& [id, row] : state.file_servers) {
    check_file_server(state, row);
    served += row.node.empty() ? 0 : 1;
  }
  must(total(state.node_file_servers) == served, "node_file_servers has those that nodes serve only", "");
  for (const auto& [id, share] : state.shares) {
    if (share.deleting) check_unused(state, volume_of(state, share));
  }
  std::size_t in_queues = 0;
  for (const auto& [id, queue] : state.queues) in_queues += total(queue);
  must(in_queues + total(state.held_back) == queued, "queues and held_back have queued jobs only", "");
  for (const auto& [id, jobs] : state.dependents) must(!jobs.empty(), "no job is waited for by nobody", "");
  must(total(state.active_jobs) == running && state.launches.size() == running, "active_jobs has active jobs only", "");
  must(total(state.job_holdings) == state.holdings.size(), "job_holdings has holdings only", "");
  std::map<Payer, Held> held;
  for (const auto& [key, holding] : state.holdings) {
    held[holding.payer].add(holding);
  }
  for (const auto& [attempt, progress] : state.progress) {
    must(state.job_holdings.contains(attempt.job), "only what holds something tells its progress", "");
  }
  must(held == state.held, "held is what the holdings of each payer take", "");
  must(state.job_by_path.size() == state.jobs.size() && state.cluster_by_path.size() == state.clusters.size() &&
           state.node_by_name.size() == state.nodes.size(),
       "names and rows are one to one", "");
  std::map<ClusterId, NodeCounts> counts;
  std::map<ClusterId, Offers> offers;
  std::size_t in_clusters = 0, free = 0;
  for (const auto& [id, node] : state.nodes) {
    if (node.cluster) {
      tally(counts[*node.cluster], node.state, !node.live.reachable, +1);
      tally(offers[*node.cluster], offer_of(node), +1);
      ++in_clusters;
      free += placeable(state, node) ? 1 : 0;
    }
  }
  must(counts == state.counts, "counts", "");
  must(offers == state.offers, "offers", "");
  must(total(state.cluster_nodes) == in_clusters, "cluster_nodes has nodes of clusters only", "");
  must(total(state.free_nodes) == free, "free_nodes has placeable nodes only", "");
  must(total(state.free_flavours) == state.free_inventory.size(), "free_flavours is free_inventory by flavour", "");
}

void Core::check_touched() const {
  const Engine& e = *x_engine;
  for (NodeId id : e.checked_nodes) check_node(e.state, e.state.nodes.at(id));
  for (JobId id : e.checked_jobs) {
    auto job = e.state.jobs.find(id);
    if (job != e.state.jobs.end()) check_job(e.state, job->second);
  }
}

}  // namespace trainyard::core
