// Reports of nodes. A report counts only for the current attempt, and absence only when it echoes the newest orders.
#include <algorithm>

#include "common/check.h"
#include "controller/core/engine.h"

namespace trainyard::core {

namespace {
constexpr std::size_t kFormerEpochsKept = 8;

bool is_former(const Node& node, const std::string& epoch) {
  return std::find(node.former_epochs.begin(), node.former_epochs.end(), epoch) != node.former_epochs.end();
}

EndCause lost(const std::string& message) {
  return {"NodeLost", message, true};
}

void refuse(Engine& e, const std::string& name, const std::string& epoch) {
  e.say(
      Refuse{name,
             epoch,
             {Code::failed_precondition, "node " + name +
                                             " has since reported with a newer boot identity: another "
                                             "agent of this name is live, or this message is from before a restart"}});
}
}  // namespace

std::string subject_of(const Node& node) {
  return "node:" + std::to_string(node.id.value) + " " + node.name;
}

void set_node_state(Engine& e, NodeId id, NodeState state, const std::string& why) {
  const Node& before = e.state.nodes.at(id);
  if (before.state == state) return;
  e.note(subject_of(before), std::string(name_of(before.state)) + " -> " + name_of(state), why);
  Node& node = e.edit(id);
  node.state = state;
  node.state_changed_ms = e.now;
}

void release(Engine& e, HoldingKey key, const CleanupReceipt* receipt) {
  const JobId job_id = key.second.job;
  auto job = e.state.jobs.find(job_id);
  if (receipt != nullptr && job != e.state.jobs.end() && job->second.attempt == key.second.attempt) {
    CleanupReceipt kept = *receipt;
    kept.node_name = e.state.nodes.at(key.first).name;
    e.edit(job_id).receipts.push_back(std::move(kept));
  }
  e.state.stuck.erase(key);
  if (e.state.holdings.at(key).member == 0) e.state.progress.erase(key.second);
  e.erase_holding(key);
  e.bump(key.first);
  check_gone(e, job_id);
}

void fence_one(Engine& e, HoldingKey key, const std::string& why) {
  const Holding& holding = e.state.holdings.at(key);
  const Node& node = e.state.nodes.at(key.first);
  const JobId job = key.second.job;
  if (current(e.state, holding)) end_infrastructure(e, job, lost("node " + node.name + ": " + why));
  e.note(subject_of(node), "fenced: " + holding.job_name + " (attempt " + std::to_string(key.second.attempt) + ")",
         why);
  release(e, key, nullptr);
  e.edit(key.first).awaited_revision = e.state.nodes.at(key.first).revision;
}

void fence(Engine& e, NodeId id, const std::string& why) {
  std::vector<HoldingKey> keys;
  for (const auto& [key, holding] : holdings_on(e.state, id)) {
    keys.push_back(key);
  }
  for (const HoldingKey& key : keys) fence_one(e, key, why);
}

namespace {

NodeId add_node(Engine& e, const Report& report) {
  Node node;
  node.id = {e.next_id()};
  node.name = report.node_name;
  node.inventory = report.inventory;
  node.epoch = report.epoch;
  node.revision = report.orders_revision;  // an agent refuses lower ones than it has seen, from whomever
  node.state_changed_ms = e.now;
  const NodeId id = node.id;
  e.state.node_by_name.emplace(node.name, id);
  e.note(subject_of(node), "joined",
         node.inventory.flavour + ", " + std::to_string(node.inventory.gpus.size()) + " GPUs");
  e.state.nodes.emplace(id, std::move(node));
  e.bump(id);
  return id;
}

// Nothing of the old life is alive: what it held is fenced at once.
void new_epoch(Engine& e, NodeId id, const std::string& epoch) {
  Node& node = e.edit(id);
  e.note(subject_of(node), "new boot identity", "rebooted or its agent's spool was lost");
  node.former_epochs.push_back(node.epoch);
  if (node.former_epochs.size() > kFormerEpochsKept) node.former_epochs.erase(node.former_epochs.begin());
  node.epoch = epoch;
  node.live.echoed_revision = 0;
  node.live.setup.reset();
  node.live.sequence = 0;
  forget_missing_gpus(e, id);
  fence(e, id, "rebooted");
  const std::uint64_t revision = e.bump(id);
  if (node.cluster) {
    node.awaited_revision = revision;
    if (node.state != NodeState::leaving) {
      begin_setup(e, id);
      set_node_state(e, id, NodeState::preparing, "rebooted");
    }
  }
}

void heard_from(Engine& e, NodeId id, TimeMs at_ms) {
  Node::Live& live = e.live(id);
  live.last_report_ms = std::max(live.last_report_ms, at_ms);
  live.seen = true;
  if (live.fence_state.starts_with("failed")) live.fence_state.clear();
  if (!live.reachable) {
    live.reachable = true;
    e.note(subject_of(e.state.nodes.at(id)), "reachable again", "");
  }
}

// What one holding says about a job whose attempt is going on. `stopping` and `clean` were not ordered here.
void take_running(Engine& e, const HoldingKey& key, const HoldingReport& report) {
  const JobId job_id = key.second.job;
  const Job& job = e.state.jobs.at(job_id);
  const Holding& holding = e.state.holdings.at(key);
  const std::string& node = e.state.nodes.at(key.first).name;
  switch (report.state) {
    case HoldingState::preparing:
      return;
    case HoldingState::ready:
      return all_ready(e, job_id);
    case HoldingState::running:
      if (holding.member == 0 && job.state == JobState::starting) {
        move(e, e.state.jobs.at(job_id), JobEvent::launched, "the head's process runs on " + node);
      }
      return;
    case HoldingState::exited:
      if (holding.member == 0 && job.state != JobState::preparing)
        head_exited(e, job_id, report.exit_code, report.error);
      return;
    case HoldingState::failed:
    case HoldingState::lost: {
      NodeError error = report.error;
      if (error.code.empty()) error.code = report.state == HoldingState::lost ? "NodeLost" : "JobPreparationFailed";
      error.details.push_back({"node", node});
      error.message = "node " + node + ": " + error.message;
      EndCause cause{error.code, error.message, error.infrastructure};
      e.edit(job_id).errors.push_back(std::move(error));
      if (cause.infrastructure || report.state == HoldingState::lost)
        return end_infrastructure(e, job_id, std::move(cause));
      return end(e, job_id, Verdict::failure, std::move(cause));
    }
    case HoldingState::stopping:
    case HoldingState::clean:
      return end_infrastructure(e, job_id, lost("node " + node + " ended its part by itself, as after a lost lease"));
  }
}

// An alarm, once: the holding's GPUs stay taken until it is over, the node goes on with all else.
void take_stuck(Engine& e, const HoldingKey& key, const std::string& what) {
  const auto known = e.state.stuck.find(key);
  if (what == (known == e.state.stuck.end() ? std::string() : known->second)) return;
  const Node& node = e.state.nodes.at(key.first);
  const std::string& job_name = e.state.holdings.at(key).job_name;
  const std::string line = what.empty() ? "the clean-up goes on" : "ALARM: cannot be cleaned up";
  e.note(subject_of(node), job_name + ": " + line, what);
  const auto job = e.state.jobs.find(key.second.job);
  if (job != e.state.jobs.end()) e.note(subject_of(e.state, job->second), line + " on " + node.name, what);
  if (what.empty()) {
    e.state.stuck.erase(key);
  } else {
    e.state.stuck[key] = what;
  }
  e.touched_nodes.insert(key.first);
  e.touched_jobs.insert(key.second.job);
}

// The head says what the image's tag means: from now on all nodes and attempts run that.
void take_image(Engine& e, const HoldingKey& key, const std::string& digest) {
  const auto job = e.state.jobs.find(key.second.job);
  if (digest.empty() || job == e.state.jobs.end() || !job->second.image_digest.empty()) return;
  if (job->second.attempt != key.second.attempt || e.state.holdings.at(key).member != 0) return;
  e.edit(job->first).image_digest = digest;
  for (const HoldingKey& held : e.state.job_holdings.at(job->first)) e.bump(held.first);
}

void take_holding(Engine& e, const HoldingKey& key, const HoldingReport& report) {
  const Holding& before = e.state.holdings.at(key);
  if (rank_of(report.state) < rank_of(before.reported)) return;  // older than what we know
  if (before.reported != report.state) {
    e.edit(key).reported = report.state;
    auto job = e.state.jobs.find(key.second.job);
    const bool going_on = job != e.state.jobs.end() && job->second.attempt == key.second.attempt &&
                          active(job->second.state) && job->second.state != JobState::stopping;
    if (going_on) take_running(e, key, report);
  }
  if (report.state == HoldingState::clean) release(e, key, &report.receipt);
}

void take_holdings(Engine& e, NodeId id, const Report& report) {
  const Node& node = e.state.nodes.at(id);
  std::set<AttemptId> reported;
  bool unknown = false, strays = false;
  const bool newest = report.orders_revision == node.revision;
  for (const HoldingReport& holding : report.holdings) {
    reported.insert(holding.id);
    if (e.state.holdings.contains({id, holding.id})) {
      take_image(e, {id, holding.id}, holding.image_digest);
      if (holding.progress && e.state.holdings.at({id, holding.id}).member == 0) {
        e.state.progress[holding.id] = *holding.progress;
      }
      if (holding.state == HoldingState::stopping) take_stuck(e, {id, holding.id}, holding.stuck);
      take_holding(e, {id, holding.id}, holding);
    } else {
      strays = strays || (newest && holding.state != HoldingState::clean);
      // What is stopping goes on by itself; a clean one is forgotten when the node hears again that it is not listed.
      unknown = unknown || holding.state != HoldingState::stopping;
    }
  }
  Node::Live& live = e.live(id);
  live.strays = strays && report.sequence >= live.sequence;  // not from a report that was overtaken
  live.sequence = std::max(live.sequence, report.sequence);
  if (unknown) e.send_orders(id);
  if (!newest) return;
  std::vector<HoldingKey> absent;
  for (const auto& [key, holding] : holdings_on(e.state, id)) {
    // What was added in this batch is in orders that nobody has seen yet: `newest` was true before.
    if (!reported.contains(key.second)) absent.push_back(key);
  }
  for (const HoldingKey& key : absent) {
    if (current(e.state, e.state.holdings.at(key))) {
      end_infrastructure(e, key.second.job, lost("node " + node.name + " no longer has its part of the job"));
    }
    release(e, key, nullptr);
  }
}

// The node has shown that it knows its orders up to `revision`.
void echoed(Engine& e, NodeId id, std::uint64_t revision) {
  Node::Live& live = e.live(id);
  live.echoed_revision = std::max(live.echoed_revision, revision);
  std::vector<JobId> confirmed;
  for (const auto& [key, holding] : holdings_on(e.state, id)) {
    if (holding.confirm_revision == 0 || live.echoed_revision < holding.confirm_revision) continue;
    e.edit(key).confirm_revision = 0;
    if (current(e.state, holding)) confirmed.push_back(holding.id.job);
  }
  for (JobId job : confirmed) check_confirmed(e, job);
}

// Nothing is to be concluded from the node's saying the same once more, and none of its leases is over soon.
bool settled(const Engine& e, const Node& node) {
  if (node.live.echoed_revision != node.revision || e.orders_asked.contains(node.id)) return false;
  const auto held = holdings_on(e.state, node.id);
  return std::all_of(held.begin(), held.end(), [&](const auto& entry) {
    const DurationMs lease_ms = entry.second.lease_ms;
    return lease_ms == kForever || lease_ms >= 2 * e.settings.unreachable_after_ms;
  });
}

}  // namespace

void on_report(Engine& e, const Report& report) {
  auto known = e.state.node_by_name.find(report.node_name);
  NodeId id;
  if (known == e.state.node_by_name.end()) {
    id = add_node(e, report);
  } else {
    id = known->second;
    const Node& node = e.state.nodes.at(id);
    if (node.epoch != report.epoch) {
      if (is_former(node, report.epoch)) return refuse(e, report.node_name, report.epoch);
      new_epoch(e, id, report.epoch);
    }
  }
  heard_from(e, id, e.now);
  e.say(Acknowledge{report.node_name, report.epoch, report.sequence});
  take_inventory(e, id, report.inventory);
  const Node& node = e.state.nodes.at(id);
  const bool foreign = !report.store_generation.empty() && report.store_generation != e.state.meta.store_generation;
  if (foreign || report.orders_revision > node.revision) {
    // Orders of another database (this one was restored): nothing can be concluded but that ours must be newer.
    e.live(id).strays = true;
    if (report.orders_revision >= node.revision) {
      e.edit(id).revision = report.orders_revision;
      e.bumped.erase(id);
      e.bump(id);
    }
    return e.send_orders(id);
  }
  take_setup(e, id, report);
  take_holdings(e, id, report);
  take_file_servers(e, id, report);
  echoed(e, id, report.orders_revision);
  if (report.orders_revision < node.revision) e.send_orders(id);
}

void on_same(Engine& e, const NodeSame& same) {
  auto known = e.state.node_by_name.find(same.node_name);
  if (known == e.state.node_by_name.end()) return;  // a full report comes first on every stream
  const NodeId id = known->second;
  const Node& node = e.state.nodes.at(id);
  if (node.epoch != same.epoch) {
    if (is_former(node, same.epoch)) refuse(e, same.node_name, same.epoch);
    return;
  }
  if (!node.live.seen || same.orders_revision > node.revision) return;  // as what? Only a full report can tell
  heard_from(e, id, e.now);
  echoed(e, id, same.orders_revision);
  if (same.orders_revision < node.revision) e.send_orders(id);
  e.say(Acknowledge{same.node_name, same.epoch, same.sequence, settled(e, node) ? node.revision : 0});
}

void on_heard(Engine& e, const NodeHeard& heard) {
  const auto known = e.state.node_by_name.find(heard.node_name);
  if (known == e.state.node_by_name.end() || e.state.nodes.at(known->second).epoch != heard.epoch) return;
  heard_from(e, known->second, heard.at_ms);
}

}  // namespace trainyard::core
