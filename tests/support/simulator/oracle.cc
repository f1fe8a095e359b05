#include "tests/support/simulator/oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/model_json.h"

namespace trainyard::simulator {
namespace {

const char* name_of(core::JobState state) {
  constexpr const char* names[] = {"queued", "preparing", "starting", "running", "stopping", "succeeded", "failed"};
  return names[static_cast<int>(state)];
}
const char* name_of(core::NodeState state) {
  constexpr const char* names[] = {"unassigned", "preparing", "idle", "running", "leaving", "unusable"};
  return names[static_cast<int>(state)];
}
std::string text(AttemptId id) {
  return fmt::format("job {} attempt {}", id.job.value, id.attempt);
}
std::string text(const core::Job& job) {
  return text(AttemptId{job.id, job.attempt});
}

// How far a holding has come; it never goes back.
int step_of(HoldingState state) {
  switch (state) {
    case HoldingState::preparing:
      return 0;
    case HoldingState::ready:
      return 1;
    case HoldingState::running:
      return 2;
    case HoldingState::exited:
    case HoldingState::failed:
    case HoldingState::lost:
      return 3;
    case HoldingState::stopping:
      return 4;
    case HoldingState::clean:
      return 5;
  }
  return 0;
}

bool intersect(const std::vector<std::string>& some, const std::vector<std::string>& others) {
  return std::any_of(some.begin(), some.end(), [&](const std::string& gpu) {
    return std::find(others.begin(), others.end(), gpu) != others.end();
  });
}

}  // namespace

// ---- The machines ----

bool Oracle::excused(NodeIndex node) const {
  if (x_frozen.contains(node)) return true;
  const auto until = x_excused_until.find(node);
  return until != x_excused_until.end() && until->second > x_world.now_ms();
}

void Oracle::frozen(NodeIndex node, bool is_frozen) {
  if (is_frozen) x_frozen.insert(node);
  if (!is_frozen) x_frozen.erase(node);
}

void Oracle::excuse_until(NodeIndex node, TimeMs until_ms) {
  x_excused_until[node] = until_ms;
  // By then its agent must have killed what it no longer owns.
  x_world.after(until_ms - x_world.now_ms(), [this, node] {
    if (excused(node)) return;
    for (const AttemptId id : x_live_on[node]) {
      const Seen& seen = x_jobs[id.job];
      if (seen.fenced_rerun && id.attempt < seen.newest_started) {
        x_world.fail(fmt::format("I2: {} still lives on a machine that thawed long ago", text(id)));
      }
    }
  });
}

std::optional<NodeIndex> Oracle::node_where_live(AttemptId id) const {
  const auto found = x_live.find(id);
  if (found == x_live.end()) return {};
  for (const auto& [node, gpus] : found->second) {
    if (!excused(node)) return node;
  }
  return {};
}

void Oracle::processes_live(NodeIndex node, const std::string& node_name, AttemptId id,
                            const std::vector<std::string>& gpus) {
  x_node_by_name[node_name] = node;
  Seen& seen = x_jobs[id.job];
  if (seen.fenced_rerun) {
    if (id.attempt < seen.newest_started) x_world.fail(fmt::format("I3: {} starts after a newer attempt", text(id)));
    for (auto at = x_live.lower_bound(AttemptId{id.job, 0}); at != x_live.end() && at->first.job == id.job; ++at) {
      if (at->first == id || !node_where_live(at->first)) continue;
      x_world.fail(fmt::format("I2: {} starts on {} while attempt {} lives", text(id), node_name, at->first.attempt));
    }
  }
  check_recorded(node_name, id);
  check_set_up(node, node_name, id);
  seen.newest_started = std::max(seen.newest_started, id.attempt);
  for (const AttemptId other : x_live_on[node]) {
    if (other != id && !excused(node) && intersect(x_live[other][node], gpus)) {
      x_world.fail(fmt::format("I4: {} starts on {} on a GPU where {} lives", text(id), node_name, text(other)));
    }
  }
  x_live[id][node] = gpus;
  x_live_on[node].insert(id);
}

void Oracle::check_recorded(const std::string& node_name, AttemptId id) const {
  const auto node = x_recorded_nodes.find(node_name);
  if (node != x_recorded_nodes.end() && x_disk->holdings.contains({node->second, id})) return;
  x_world.fail(
      fmt::format("I10: {} starts on {} though the controller has no record of it there", text(id), node_name));
}

void Oracle::check_set_up(NodeIndex node, const std::string& node_name, AttemptId id) const {
  const auto known = x_recorded_nodes.find(node_name);
  if (known == x_recorded_nodes.end()) return;
  const core::Node& row = x_disk->nodes.at(known->second);
  const auto there = x_setups.find(node);
  if (!row.cluster || row.setup_run == 0) return;
  if (there != x_setups.end() && there->second.done && there->second.run == row.setup_run) return;
  x_world.fail(fmt::format("I13: {} starts on {}, which is not set up for its cluster", text(id), node_name));
}

void Oracle::setup_started(NodeIndex node, std::uint64_t run) {
  if (!x_setup_runs.insert(run).second) x_world.fail(fmt::format("I14: the task of set-up {} starts twice", run));
  x_setups[node] = {run, false};
}

void Oracle::check_node(const core::Node& node, const core::Node* before) const {
  const bool given = node.cluster && before != nullptr && !before->cluster;
  const auto index = x_node_by_name.find(node.name);
  if (!given || index == x_node_by_name.end() || excused(index->second) || !x_setups.contains(index->second)) return;
  x_world.fail(fmt::format("I14: node {} is given to a cluster while a set-up of another is there", node.name));
}

void Oracle::files_made(NodeIndex node, const std::string& node_name, std::uint64_t id) {
  x_node_by_name[node_name] = node;
  x_files[node].insert(id);
}

void Oracle::files_removed(NodeIndex node, std::uint64_t id) {
  x_files[node].erase(id);
  const auto row = x_disk->file_servers.find(FileServerId{id});
  if (row == x_disk->file_servers.end() || row->second.state == core::Provisioning::deleting) return;
  x_world.fail(fmt::format("F1: the files of file server {} are removed, and nobody deleted it", id));
}

void Oracle::powered(NodeIndex node, bool is_powered) {
  if (is_powered) x_off.erase(node);
  if (!is_powered) x_off.insert(node);
}

void Oracle::check_file_server_gone(const core::FileServer& row) const {
  const auto node = x_node_by_name.find(row.node);
  if (node == x_node_by_name.end() || x_off.contains(node->second)) return;
  const auto files = x_files.find(node->second);
  if (files == x_files.end() || !files->second.contains(row.id.value)) return;
  x_world.fail(fmt::format("F2: file server {} is gone, its files on {} are not", row.id.value, row.node));
}

void Oracle::processes_gone(NodeIndex node, AttemptId id) {
  x_live_on[node].erase(id);
  const auto found = x_live.find(id);
  if (found == x_live.end()) return;
  found->second.erase(node);
  if (found->second.empty()) x_live.erase(found);
}

void Oracle::head_started(AttemptId id) {
  if (!x_started.insert(id).second) x_world.fail(fmt::format("{}: two heads were started", text(id)));
}

void Oracle::head_exited(AttemptId id, std::int32_t code, ExitReason reason) {
  x_exits[id] = {code, reason};
}

// ---- What is committed ----

void Oracle::committing(const core::Changes& changes, const Disk& disk) {
  cover(changes, disk);
  for (const core::TimelineLine& line : changes.timeline) {
    if (x_world.options.trace) {
      fmt::print("{:>10}    {}: {}: {}: {}\n", x_world.now_ms(), line.who, line.subject, line.what, line.why);
    }
  }
  for (const core::Job& job : changes.jobs) {
    const auto before = disk.jobs.find(job.id);
    check_job(job, before == disk.jobs.end() ? nullptr : &before->second, changes, disk);
  }
  for (const core::Holding& holding : changes.holdings) {
    if (!disk.holdings.contains(core::key_of(holding))) check_new_holding(holding, changes, disk);
  }
  for (const core::Node& node : changes.nodes) {
    const auto before = disk.nodes.find(node.id);
    check_node(node, before == disk.nodes.end() ? nullptr : &before->second);
  }
  for (const auto& [node, id] : changes.erased_holdings) {
    const auto row = disk.nodes.find(node);
    if (row == disk.nodes.end()) continue;
    const auto index = x_node_by_name.find(row->second.name);
    if (index == x_node_by_name.end() || excused(index->second)) continue;
    if (x_live_on[index->second].contains(id)) {
      x_world.fail(fmt::format("P5: {} was released on {} while its processes live", text(id), row->second.name));
    }
  }
  check_quotas(changes, disk);
  check_usage(changes, disk);
  check_allocated(changes);
  for (const FileServerId id : changes.erased_file_servers) {
    const auto before = disk.file_servers.find(id);
    if (before != disk.file_servers.end()) check_file_server_gone(before->second);
  }
  for (const JobId id : changes.erased_jobs) {
    const std::string& path = x_jobs[id].path;
    if (x_acknowledged.contains(id) && !erasable(path)) {
      x_world.fail(fmt::format("I1: acknowledged job {} ({}) was erased without being asked", id.value, path));
    }
  }
}

void Oracle::check_job(const core::Job& job, const core::Job* before, const core::Changes& changes, const Disk& disk) {
  Seen& seen = x_jobs[job.id];
  if (before == nullptr) {
    seen.fenced_rerun = job.spec->recovery.rerun_after == RerunAfter::fenced;
    const auto stored = disk.experiments.find(job.experiment);
    std::string experiment = stored == disk.experiments.end() ? "" : stored->second.name;
    for (const core::Experiment& written : changes.experiments) {
      if (written.id == job.experiment) experiment = written.name;
    }
    seen.path = experiment + "/" + job.name;
    if (job.schedule && !x_due.emplace(job.schedule, job.due_ms).second) {
      x_world.fail(fmt::format("I15: {} is the second job of its schedule for one time", text(job)));
    }
  } else {
    if (job.attempt < before->attempt) x_world.fail(fmt::format("I3: {}: attempt numbers fell", text(job)));
    if (core::terminal(before->state) && (job.state != before->state || job.verdict != before->verdict ||
                                          job.exit_code != before->exit_code || job.attempt != before->attempt)) {
      x_world.fail(fmt::format("I5: {} changed after it had ended as {}", text(job), name_of(before->state)));
    }
  }
  if (job.exit_code) {
    const auto exit = x_exits.find(AttemptId{job.id, job.attempt});
    if (exit == x_exits.end() || exit->second.code != *job.exit_code) {
      x_world.fail(fmt::format("I6: {}: exit code {} is reported, {} was produced", text(job), *job.exit_code,
                               exit == x_exits.end() ? "none" : std::to_string(exit->second.code)));
    }
  }
  if (core::terminal(job.state) && (before == nullptr || !core::terminal(before->state))) check_end(job);
}

void Oracle::check_end(const core::Job& job) {
  for (std::uint32_t attempt = 1; attempt <= job.attempt; ++attempt) {
    const auto node = node_where_live(AttemptId{job.id, attempt});
    // A deleted job does not wait for unreachable nodes; its holdings there stay as orphans.
    // Nor does one that accepts gangBroken wait for them before it is queued again, where it may be cancelled.
    if (node && !job.deleting && x_jobs[job.id].fenced_rerun) {
      x_world.fail(
          fmt::format("P5: {} is {} while attempt {} lives on node {}", text(job), name_of(job.state), attempt, *node));
    }
  }
  const auto exit = x_exits.find(AttemptId{job.id, job.attempt});
  if (job.state == core::JobState::succeeded && (exit == x_exits.end() || exit->second.code != 0)) {
    x_world.fail(fmt::format("I6: {} succeeded, but its head did not exit with 0", text(job)));
  }
  const bool users_fault =
      job.state == core::JobState::failed && job.verdict == core::Verdict::failure && !job.cause.infrastructure;
  const bool by_exit_code = job.exit_code && job.cause.code != "OutOfMemory" && job.cause.code != "AZFMountError";
  if (users_fault && by_exit_code && exit != x_exits.end() && exit->second.reason == ExitReason::machine_lost) {
    x_world.fail(
        fmt::format("{}: the death of a machine became the user's failure ({})", text(job), job.cause.message));
  }
}

void Oracle::check_new_holding(const core::Holding& holding, const core::Changes& changes, const Disk& disk) {
  const AttemptId id = holding.id;
  const auto same = [&](const core::Holding& other) { return other.id == id; };
  const auto job =
      std::find_if(changes.jobs.begin(), changes.jobs.end(), [&](const core::Job& row) { return row.id == id.job; });
  if (job == changes.jobs.end()) x_world.fail(fmt::format("{} was placed without its job being written", text(id)));
  const auto placed = static_cast<std::uint32_t>(std::count_if(changes.holdings.begin(), changes.holdings.end(), same));
  if (placed < core::least_nodes(*job->spec) || placed > job->spec->node_count) {
    x_world.fail(fmt::format("{} was placed on {} nodes, it needs {} to {}", text(id), placed,
                             core::least_nodes(*job->spec), job->spec->node_count));
  }
  if (placed < job->spec->node_count) x_world.hit("job placed on fewer nodes than it wants");
  if (job->limit_ms != 0) x_world.hit("job placed with a shorter limit");
  if (x_jobs[id.job].fenced_rerun) {
    for (std::uint32_t older = 1; older < id.attempt; ++older) {
      if (node_where_live(AttemptId{id.job, older})) {
        x_world.fail(fmt::format("I8: {} was placed while attempt {} lives", text(id), older));
      }
    }
  }
  const auto node = disk.nodes.find(holding.node);
  if (node == disk.nodes.end()) return;
  for (auto at = disk.holdings.lower_bound({holding.node, {}});
       at != disk.holdings.end() && at->first.first == holding.node; ++at) {
    const auto& erased = changes.erased_holdings;
    const bool released = std::find(erased.begin(), erased.end(), at->first) != erased.end();
    if (!released && holding.shared) x_world.hit("node shared by two jobs");
    if (!released && intersect(at->second.gpu_uuids, holding.gpu_uuids)) {
      x_world.fail(fmt::format("I4: {} was given a GPU that {} holds", text(id), text(at->second.id)));
    }
  }
  const auto index = x_node_by_name.find(node->second.name);
  if (index == x_node_by_name.end() || excused(index->second)) return;
  for (const AttemptId other : x_live_on[index->second]) {
    if (other != id && intersect(x_live[other][index->second], holding.gpu_uuids)) {
      x_world.fail(fmt::format("I4: {} was given a GPU where {} lives", text(id), text(other)));
    }
  }
}

void Oracle::cover(const core::Changes& changes, const Disk& disk) {
  for (const core::Job& job : changes.jobs) {
    const auto before = disk.jobs.find(job.id);
    if (before != disk.jobs.end() && before->second.state == job.state) continue;
    x_world.note(name_of(job.state), job.id.value, job.attempt);
    if (job.cause.code == "Preempted" && job.state == core::JobState::queued) x_world.hit("job preempted");
    if (before == disk.jobs.end()) x_world.hit("job (new) -> queued");
  }
  // Several transitions of one batch are one change of the row; the timeline has each of them.
  for (const core::TimelineLine& line : changes.timeline) {
    const bool moved = line.what.find(" -> ") != std::string::npos;
    if (moved && line.subject.starts_with("job:")) x_world.hit("job " + line.what);
    if (line.subject.starts_with("array:") && line.what == "succeeded") x_world.hit("job array ended");
    if (line.subject.starts_with("array:") && line.what == "failed") x_world.hit("job array failed");
    for (const char* what : {" made", " skipped", " refused", " missed"}) {
      if (line.subject.starts_with("schedule:") && line.what.ends_with(what)) {
        x_world.hit("time of a schedule" + std::string(what));
      }
    }
    if (!line.subject.starts_with("file-server:")) continue;
    if (moved || line.what == "deleted") x_world.hit("file server " + line.what);
    if (line.what == "deleted" && line.why.find("confirmed") != std::string::npos) x_world.hit("file server forgotten");
  }
  for (const core::Node& node : changes.nodes) {
    const auto before = disk.nodes.find(node.id);
    x_recorded_nodes[node.name] = node.id;
    const char* from = before == disk.nodes.end() ? "(new)" : name_of(before->second.state);
    if (before != disk.nodes.end() && before->second.state == node.state) continue;
    x_world.hit(fmt::format("node {} -> {}", from, name_of(node.state)));
  }
  for (const core::Holding& holding : changes.holdings) {
    const auto before = disk.holdings.find(core::key_of(holding));
    const char* from = before == disk.holdings.end() ? "(new)" : trainyard::name_of(before->second.reported);
    if (before != disk.holdings.end() && before->second.reported == holding.reported) continue;
    x_world.hit(fmt::format("holding {} -> {}", from, trainyard::name_of(holding.reported)));
    if (before != disk.holdings.end() && step_of(holding.reported) < step_of(before->second.reported)) {
      x_world.fail(
          fmt::format("P6: {} went back from {} to {}", text(holding.id), from, trainyard::name_of(holding.reported)));
    }
  }
  for (const core::HoldingKey& key : changes.erased_holdings) {
    const auto before = disk.holdings.find(key);
    if (before == disk.holdings.end()) continue;
    x_world.hit(fmt::format("holding {} -> (released)", trainyard::name_of(before->second.reported)));
  }
}

// ---- What is said ----

void Oracle::erasure_wanted(const std::string& path) {
  x_erasable.insert(path);
}

void Oracle::replied(const std::string& request_id, const core::CommandBody& body, const Result<core::Subject>& result,
                     const Disk& disk, bool state_changed) {
  const Answer answer = result.ok() ? Answer{Code::ok, *result} : Answer{result.error().code, {}};
  const auto [first, is_first] = x_answers.try_emplace(request_id, answer);
  if (first->second.code != answer.code || first->second.subject != answer.subject) {
    x_world.fail(fmt::format("P2: request {} was answered {} and then {}{}", request_id,
                             static_cast<int>(first->second.code), static_cast<int>(answer.code),
                             result.ok() ? "" : ": " + result.error().message));
  }
  if (state_changed && !result.ok()) {
    x_world.fail(fmt::format("I12: refused request {} changed something: {}", request_id, result.error().message));
  }
  if (state_changed && !is_first)
    x_world.fail(fmt::format("P2: the repeat of request {} changed something", request_id));
  const auto* submit = std::get_if<core::SubmitJob>(&body);
  const auto* rerun = std::get_if<core::RerunJob>(&body);
  if (!result.ok() || !is_first || (submit == nullptr && rerun == nullptr)) return;
  const JobId id{result->id};
  const core::JobRef& ref = submit != nullptr ? submit->ref : rerun->ref;
  if (erasable(ref.experiment + "/" + (rerun != nullptr ? rerun->new_name : ref.job)))
    return;  // its deletion may have come before this answer
  if (!disk.jobs.contains(id)) x_world.fail(fmt::format("I1: job {} was acknowledged, but is not on disk", id.value));
  x_acknowledged.insert(id);
}

void Oracle::check_running_jobs(const Disk& disk, DurationMs bound_ms) {
  for (const auto& [id, job] : disk.jobs) {
    const bool runs = job.state == core::JobState::running && job.spec->recovery.lease_ms != kForever;
    if (!runs || x_live.contains(AttemptId{id, job.attempt})) {
      x_running_without_process_since.erase(id);
      continue;
    }
    const auto since = x_running_without_process_since.try_emplace(id, x_world.now_ms()).first->second;
    if (x_world.now_ms() - since > bound_ms) {
      x_world.fail(
          fmt::format("I10: {} has been running for {} ms without a process", text(job), x_world.now_ms() - since));
    }
  }
}

bool Oracle::erasable(const std::string& path) const {
  return x_erasable.contains(path) || x_erasable.contains(path.substr(0, path.find('/') + 1));
}

std::uint64_t digest(const core::State& state) {
  std::uint64_t sum = 17;
  const auto add = [&sum](std::uint64_t value) { sum = (sum ^ value) * 0x100000001b3ULL + (sum >> 31); };
  add(state.groups.size()), add(state.workspaces.size()), add(state.experiments.size());
  add(state.accounts.size()), add(state.shares.size());
  for (const auto& [id, group] : state.groups) add(id.value * 2 + group.deleting);
  for (const auto& [id, workspace] : state.workspaces) add(id.value * 2 + workspace.deleting);
  for (const auto& [id, experiment] : state.experiments) add(id.value * 2 + experiment.deleting);
  for (const auto& [id, cluster] : state.clusters) {
    add(id.value * 4 + cluster.deleting * 2 + cluster.resizing);
    add(cluster.spec.target_node_count), add(core::target_of(cluster)), add(core::capacity_of(cluster.spec));
    add(static_cast<std::uint64_t>(cluster.spec.node_deallocation_option));
  }
  for (const auto& [id, node] : state.nodes) {
    add(id.value), add(node.revision), add(static_cast<std::uint64_t>(node.state));
    add(node.cluster ? node.cluster->value : 0), add(node.setup_run);
  }
  for (const auto& [id, job] : state.jobs) {
    add(id.value * 2 + job.deleting), add(static_cast<std::uint64_t>(job.state));
    add(static_cast<std::uint64_t>(job.verdict)), add(job.attempt);
  }
  for (const auto& [id, array] : state.arrays) {
    add(id.value * 2 + array.deleting), add(static_cast<std::uint64_t>(array.state)), add(array.parallel);
    add(array.next), add(array.succeeded), add(array.failed), add(array.cause.code.size());
  }
  for (const auto& [id, schedule] : state.schedules) {
    add(id.value * 2 + schedule.suspended.has_value()), add(static_cast<std::uint64_t>(schedule.next_ms));
    add(static_cast<std::uint64_t>(schedule.overlap)), add(schedule.keep);
    add(schedule.made), add(schedule.skipped), add(schedule.refused), add(schedule.missed);
  }
  for (const auto& [id, row] : state.file_servers) add(id.value * 4 + static_cast<std::uint64_t>(row.state));
  for (const auto& [key, holding] : state.holdings) {
    add(key.first.value), add(key.second.job.value), add(holding.stop_ordered), add(holding.confirm_revision);
  }
  return sum;
}

}  // namespace trainyard::simulator
