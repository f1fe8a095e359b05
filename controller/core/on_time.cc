// What time does: the three points of losing contact (unreachable, gang broken, fenced), limits, old request records.
#include <algorithm>

#include "controller/core/engine.h"
#include "controller/core/lookup.h"

namespace trainyard::core {

namespace {

constexpr DurationMs kLookAgainMs = 10'000;

template <class Visit>
void for_holdings(const State& state, NodeId id, Visit visit) {
  for (const auto& [key, holding] : holdings_on(state, id)) {
    visit(holding);
  }
}

const Job* job_of(const State& state, const Holding& holding) {
  auto job = state.jobs.find(holding.id.job);
  return job == state.jobs.end() ? nullptr : &job->second;
}

bool going_on(const State& state, const Holding& holding) {
  return current(state, holding) && job_of(state, holding)->state != JobState::stopping;
}

// From the last report to the point where the holding's gang counts as broken.
DurationMs gang_abort_after(const Engine& e, const Holding& holding) {
  const Job* job = job_of(e.state, holding);
  DurationMs after = e.settings.gang_abort_after_ms;
  if (job != nullptr && job->spec->recovery.gang_abort_after_ms >= 0) after = job->spec->recovery.gang_abort_after_ms;
  return std::max(after, e.settings.unreachable_after_ms);
}

// When nothing of the holding can be alive: the agent killed it at its lease's end, counted from an earlier moment than
// ours, by a clock that may drift by 1 %. 0: never.
TimeMs lease_fence_at(const Engine& e, const Node& node, const Holding& holding) {
  if (holding.lease_ms == kForever) return 0;
  return node.live.last_report_ms + holding.lease_ms + (holding.lease_ms + 99) / 100 + e.settings.kill_time_ms;
}

bool has_fence_command(const Engine& e, const Node& node) {
  const auto& pools = e.settings.pools_with_fence_command;
  return std::find(pools.begin(), pools.end(), node.inventory.pool) != pools.end();
}

// The gang of this holding on an unreachable node is broken: its machine may be switched off.
TimeMs fence_command_at(const Engine& e, const Node& node, const Holding& holding) {
  const Job* job = job_of(e.state, holding);
  if (job != nullptr && job->attempt == holding.id.attempt && job->state == JobState::stopping &&
      job->cause.infrastructure) {
    return e.now;
  }
  return node.live.last_report_ms + gang_abort_after(e, holding);
}

// When an idle node of a cluster with autoScale may be given back. 0: never.
TimeMs idle_time_over_at(const Engine& e, const Node& node) {
  if (node.state != NodeState::idle) return 0;
  const std::optional<AutoScale>& scale = e.state.clusters.at(*node.cluster).spec.auto_scale;
  return scale ? node.state_changed_ms + scale->idle_before_scale_down_ms : 0;
}

// When an unusable node is set up again; an unreachable one must wait. 0: never.
TimeMs setup_retry_at(const Node& node) {
  return node.state == NodeState::unusable && node.live.reachable ? node.setup_retry_ms : 0;
}

void earlier(TimeMs& first, TimeMs at) {
  if (at != 0 && (first == 0 || at < first)) first = at;
}

std::string since(TimeMs time) {
  return "has not reported since " + clock_time(time);
}

void become_unreachable(Engine& e, NodeId id) {
  Node& node = e.state.nodes.at(id);
  e.live(id).reachable = false;
  e.note(subject_of(node), "unreachable", since(node.live.last_report_ms));
  std::vector<JobId> cut, stopping;
  for_holdings(e.state, id, [&](const Holding& holding) {
    if (!current(e.state, holding)) return;
    const Job& job = *job_of(e.state, holding);
    if (job.state == JobState::stopping) stopping.push_back(job.id);
    if (job.state != JobState::stopping && job.head_exited_ms != 0) cut.push_back(job.id);
  });
  for (JobId job : cut) {
    end_infrastructure(e, job,
                       {"NodeLost", "the head exited " + std::to_string(*e.state.jobs.at(job).exit_code) +
                                        " and node " + node.name + " " + since(node.live.last_report_ms)});
  }
  for (JobId job : stopping) check_gone(e, job);
}

void on_node_deadline(Engine& e, NodeId id) {
  const Node& node = e.state.nodes.at(id);
  if (node.live.reachable && e.now >= node.live.last_report_ms + e.settings.unreachable_after_ms)
    become_unreachable(e, id);
  std::vector<JobId> broken;
  std::vector<HoldingKey> over;
  for_holdings(e.state, id, [&](const Holding& holding) {
    const bool cut = !node.live.reachable && e.now >= node.live.last_report_ms + gang_abort_after(e, holding);
    if (cut && going_on(e.state, holding)) broken.push_back(holding.id.job);
    const TimeMs lease_end = lease_fence_at(e, node, holding);
    if (lease_end != 0 && e.now >= lease_end) over.push_back(key_of(holding));
  });
  for (JobId job : broken) {
    end_infrastructure(e, job, {"NodeLost", "node " + node.name + " " + since(node.live.last_report_ms)});
  }
  for (const HoldingKey& key : over) fence_one(e, key, "its lease ended: " + since(node.live.last_report_ms));
  if (const TimeMs at = idle_time_over_at(e, node); at != 0 && e.now >= at) e.wake_plan = true;
  if (const TimeMs at = setup_retry_at(node); at != 0 && e.now >= at) {
    retry_setup(e, id, "the set-up is tried again after " + std::to_string(node.setup_failures) + " failure(s)");
  }
}

void on_job_deadline(Engine& e, JobId id) {
  const Job& job = e.state.jobs.at(id);
  const DurationMs limit = limit_of(job);
  if (active(job.state) && job.state != JobState::stopping && e.now >= job.started_ms + limit) {
    return end(e, id, Verdict::cancel,
               {"TimeLimit", "it ran longer than its maxWallClockTime of " + format_duration(limit) +
                                 (job.limit_ms == 0 ? "" : ", shortened so that it could start when it did")});
  }
  if (job.state == JobState::preparing && e.now >= job.started_ms + e.settings.prepare_limit_ms) {
    end(e, id, Verdict::failure,
        {"PreparationTimeLimit", "preparation took longer than " + format_duration(e.settings.prepare_limit_ms)});
  }
}

}  // namespace

TimeMs deadline_of(const Engine& e, const Node& node) {
  TimeMs first = 0;
  if (node.live.reachable) earlier(first, node.live.last_report_ms + e.settings.unreachable_after_ms);
  earlier(first, setup_retry_at(node));
  // Once it is over, the plan has looked: what may change its mind wakes it.
  if (const TimeMs at = idle_time_over_at(e, node); at > e.now) earlier(first, at);
  const bool fence_idle = has_fence_command(e, node) && node.live.fence_state != "running";
  for_holdings(e.state, node.id, [&](const Holding& holding) {
    earlier(first, lease_fence_at(e, node, holding));
    if (node.live.reachable) return;
    if (going_on(e.state, holding)) earlier(first, node.live.last_report_ms + gang_abort_after(e, holding));
    if (!fence_idle) return;
    const TimeMs retry = node.live.fence_state.empty() ? 0 : node.live.fence_changed_ms + e.settings.fence_retry_ms;
    earlier(first, std::max(fence_command_at(e, node, holding), retry));
  });
  return first;
}

TimeMs deadline_of(const Engine& e, const Job& job) {
  TimeMs first = 0;
  if (!active(job.state) || job.state == JobState::stopping) return 0;
  earlier(first, job.started_ms + limit_of(job));
  if (job.state == JobState::preparing) earlier(first, job.started_ms + e.settings.prepare_limit_ms);
  return first;
}

// Runs the pool's fence command once a gang is broken; again after a while when it failed and is still needed.
void consider_fence_command(Engine& e, NodeId id) {
  const Node& node = e.state.nodes.at(id);
  if (node.live.reachable || node.live.fence_state == "running" || !has_fence_command(e, node)) return;
  if (!node.live.fence_state.empty() && e.now < node.live.fence_changed_ms + e.settings.fence_retry_ms) return;
  bool needed = false;
  for_holdings(e.state, id,
               [&](const Holding& holding) { needed = needed || e.now >= fence_command_at(e, node, holding); });
  if (!needed) return;
  Node::Live& live = e.live(id);
  live.fence_state = "running";
  live.fence_changed_ms = e.now;
  e.note(subject_of(node), "fence command started", "a gang is broken and the node " + since(live.last_report_ms));
  e.say(RunFence{id, node.name, node.inventory.pool});
}

void on_fence_finished(Engine& e, const FenceFinished& event) {
  auto found = e.state.node_by_name.find(event.node);
  if (found == e.state.node_by_name.end()) return;
  const NodeId id = found->second;
  const Node& node = e.state.nodes.at(id);
  if (node.live.fence_state != "running") return;  // of a controller before this one: it runs again when needed
  Node::Live& live = e.live(id);
  live.fence_changed_ms = e.now;
  live.fence_state = event.ok ? "" : "failed: " + event.message;
  e.note(subject_of(node), event.ok ? "fence command succeeded" : "fence command failed", event.message);
  if (!event.ok) return;
  // The machine was switched off: what is heard next from it is a new life, or it is told to stop what it still has.
  live.reachable = false;
  fence(e, id, "switched off by its pool's fence command");
}

void on_tick(Engine& e) {
  forget_past_reservations(e);
  // Time alone changes whose turn it is, and who may be made to give way.
  if (!e.state.queues.empty() && e.now - e.planned_ms >= kLookAgainMs) e.wake_plan = true;
  while (e.node_deadlines.first() != 0 && e.node_deadlines.first() <= e.now) {
    const NodeId id = e.node_deadlines.first_key();
    e.node_deadlines.set(id, 0);
    on_node_deadline(e, id);
    e.touched_nodes.insert(id);
    e.settle();
  }
  while (e.job_deadlines.first() != 0 && e.job_deadlines.first() <= e.now) {
    const JobId id = e.job_deadlines.first_key();
    e.job_deadlines.set(id, 0);
    on_job_deadline(e, id);
  }
  while (e.schedule_deadlines.first() != 0 && e.schedule_deadlines.first() <= e.now) {
    on_due(e, e.schedule_deadlines.first_key());
  }
  for (int pruned = 0; pruned < 1000 && e.request_deadlines.first() != 0 && e.request_deadlines.first() <= e.now;
       ++pruned) {
    const std::string id = e.request_deadlines.first_key();
    e.request_deadlines.set(id, 0);
    e.state.requests.erase(id);
    e.requests.erase(id);
  }
}

Result<Subject> apply(Engine& e, const FenceNode& c) {
  const auto id = find_node(e.state, c.node);
  if (!id.ok()) return id.error();
  const Node& node = e.state.nodes.at(*id);
  if (!c.confirmed_off) {
    return Error{Code::failed_precondition, "fencing " + node.name +
                                                " gives its GPUs out again: make sure that the machine "
                                                "is off or rebooted, then repeat with --confirmed-off"};
  }
  if (node.live.reachable) {
    const TimeMs last = node.live.last_report_ms;
    if (node.live.seen) {
      return Error{Code::failed_precondition,
                   "node " + node.name + " is reachable (it reported at " + clock_time(last) +
                       "): it cannot be off; terminate its job or wait until it is unreachable"};
    }
    return Error{Code::failed_precondition, "node " + node.name + " may still report: this controller started at " +
                                                clock_time(last) + "; repeat this when the node is unreachable, at " +
                                                clock_time(last + e.settings.unreachable_after_ms)};
  }
  e.note(subject_of(node), "fenced by an operator", "confirmed off by " + e.who);
  fence(e, *id, "an operator confirmed that it is off");
  forget_file_servers(e, *id, "an operator confirmed that node " + node.name + " is off");
  return Subject{Subject::Kind::node, id->value};
}

}  // namespace trainyard::core
