#include "controller/core/engine.h"

#include <algorithm>

#include "common/check.h"
#include "controller/core/accounting.h"

namespace trainyard::core {

namespace {

template <class Row>
auto by_id(std::vector<Row> rows) {
  std::map<decltype(Row::id), Row> table;
  for (Row& row : rows) {
    const auto id = row.id;
    table.emplace(id, std::move(row));
  }
  return table;
}

State from_tables(Tables tables) {
  State state;
  state.meta = std::move(tables.meta);
  state.groups = by_id(std::move(tables.groups));
  state.workspaces = by_id(std::move(tables.workspaces));
  state.experiments = by_id(std::move(tables.experiments));
  state.clusters = by_id(std::move(tables.clusters));
  state.nodes = by_id(std::move(tables.nodes));
  state.jobs = by_id(std::move(tables.jobs));
  state.accounts = by_id(std::move(tables.accounts));
  state.shares = by_id(std::move(tables.shares));
  state.file_servers = by_id(std::move(tables.file_servers));
  state.reservations = by_id(std::move(tables.reservations));
  state.arrays = by_id(std::move(tables.arrays));
  state.schedules = by_id(std::move(tables.schedules));
  for (Holding& row : tables.holdings) {
    const HoldingKey key = key_of(row);
    state.holdings.emplace(key, std::move(row));
  }
  for (Spent& row : tables.spent) {
    const Payer payer = row.payer;
    state.spent.emplace(payer, std::move(row));
  }
  for (RequestRecord& row : tables.requests) {
    std::string id = row.request_id;
    state.requests.emplace(std::move(id), std::move(row));
  }
  return state;
}

}  // namespace

Engine::Engine(Settings settings_, Tables tables, TimeMs now_ms)
    : settings(std::move(settings_)), state(from_tables(std::move(tables))) {
  now = std::max(now_ms, state.meta.last_now_ms);
  state.meta.last_now_ms = now;
  if (state.meta.next_timeline == 0) state.meta.next_timeline = 1;
  // Every lease counts as just renewed: what agents heard from the controller before this life is not known.
  for (auto& [id, node] : state.nodes) {
    node.live = {};
    node.live.last_report_ms = now;
    touched_nodes.insert(id);
  }
  state.usage_half_life_ms = settings.usage_half_life_ms;
  state.classes = settings.classes;
  rebuild_indexes(state);
  // settle() maintains the node indexes by comparing facts: it starts from nothing.
  state.cluster_nodes = {}, state.free_nodes = {}, state.free_inventory = {};
  state.free_flavours = {}, state.counts = {}, state.offers = {}, state.shared_nodes = {};
  for (const auto& [id, job] : state.jobs) {
    if (active(job.state)) touched_jobs.insert(id);
  }
  for (const auto& [id, cluster] : state.clusters) touched_clusters.insert(id);
  for (const auto& [id, request] : state.requests) request_deadlines.set(id, request.at_ms + settings.request_keep_ms);
  for (const auto& [id, schedule] : state.schedules) schedule_deadlines.set(id, schedule.next_ms);
  // A verdict that waits for the nodes' reports: ask again, the old orders may never have left.
  for (const auto& [key, holding] : state.holdings) {
    if (holding.confirm_revision != 0 && current(state, holding)) edit(key).confirm_revision = bump(key.first);
  }
  // A row whose part of a set-up could not be read is set up anew.
  for (const auto& [id, node] : state.nodes) {
    const bool wanted = node.cluster && state.setups.contains(*node.cluster);
    if (!node.cluster || (node.setup_run != 0) == wanted) continue;
    begin_setup(*this, id);
    edit(id).awaited_revision = bump(id);
    if (node.state == NodeState::idle || node.state == NodeState::unusable) {
      set_node_state(*this, id, NodeState::preparing, "its row was damaged");
    }
  }
  mend_arrays(*this);
  settle();
}

void Engine::add_holding(Holding holding) {
  const HoldingKey key = key_of(holding);
  state.job_holdings[holding.id.job].insert(key);
  state.held[holding.payer].add(holding);
  TY_CHECK(state.holdings.emplace(key, std::move(holding)).second);
  edit(key);
}

void Engine::erase_holding(const HoldingKey& key) {
  usage.push_back(usage_of(state, state.holdings.at(key), now));
  check_usage(usage.back());
  erase_from(state.job_holdings, key.second.job, key);
  spend(state.holdings.at(key));
  state.holdings.erase(key);
  holdings.erase(key);
  touched_nodes.insert(key.first);
  wake_plan = true;
}

void Engine::spend(const Holding& holding) {
  const auto held = state.held.find(holding.payer);
  held->second.remove(holding);
  if (held->second.gpus == 0) state.held.erase(held);
  if (!state.workspaces.contains(holding.payer.workspace)) return;
  Spent& sum = state.spent.try_emplace(holding.payer, Spent{holding.payer, 0, now}).first->second;
  sum.gpu_ms = decayed(sum.gpu_ms, now - sum.at_ms, state.usage_half_life_ms) +
               static_cast<std::uint64_t>(allocated_ms(holding, now));
  sum.at_ms = now;
  spent.change(holding.payer);
}

void Engine::note(std::string subject, std::string what, std::string why) {
  TimelineLine line{state.meta.next_timeline++, now, who, std::move(subject), std::move(what), std::move(why)};
  timeline.push_back(line);
  say(Publish{std::move(line)});
}

void Engine::send_orders(NodeId node) {
  if (orders_asked.insert(node).second) say(SendOrders{node});
}

std::uint64_t Engine::bump(NodeId id) {
  Node& node = edit(id);
  if (bumped.insert(id).second) ++node.revision;
  send_orders(id);
  return node.revision;
}

Engine::Facts Engine::facts_of(const Node& node) const {
  Facts facts;
  if (node.cluster) {
    facts.cluster = *node.cluster;
    facts.offer = offer_of(node);
  }
  facts.state = node.state;
  facts.unreachable = !node.live.reachable;
  facts.free = placeable(state, node);
  facts.shared_units = shared_units(state, node);
  if (facts.free && !node.cluster) facts.flavour = lower(node.inventory.flavour);
  return facts;
}

void Engine::index(NodeId id) {
  const Node& node = state.nodes.at(id);
  Facts want = facts_of(node);
  auto [it, added] = x_facts.try_emplace(id);
  Facts& have = it->second;
  if (!added && have == want) return;
  if (!added) {
    if (have.cluster) {
      tally(state.counts[have.cluster], have.state, have.unreachable, -1);
      tally(state.offers[have.cluster], have.offer, -1);
      if (have.cluster != want.cluster) {
        erase_from(state.cluster_nodes, have.cluster, id);
        if (!state.cluster_nodes.contains(have.cluster)) {
          state.counts.erase(have.cluster);
          state.offers.erase(have.cluster);
        }
        touched_clusters.insert(have.cluster);
      }
      if (have.free) erase_from(state.free_nodes, have.cluster, id);
      if (have.shared_units > 0) erase_from(state.shared_nodes, have.cluster, id);
    } else if (have.free) {
      state.free_inventory.erase(id);
      erase_from(state.free_flavours, have.flavour, id);
    }
  }
  if (want.cluster) {
    state.cluster_nodes[want.cluster].insert(id);
    tally(state.counts[want.cluster], want.state, want.unreachable, +1);
    tally(state.offers[want.cluster], want.offer, +1);
    if (want.free) state.free_nodes[want.cluster].insert(id);
    if (want.shared_units > 0) state.shared_nodes[want.cluster][id] = want.shared_units;
    touched_clusters.insert(want.cluster);
  } else if (want.free) {
    state.free_inventory.insert(id);
    state.free_flavours[want.flavour].insert(id);
  }
  have = std::move(want);
  wake_plan = true;
}

void Engine::settle_node(NodeId id) {
  advance(*this, id);
  consider_fence_command(*this, id);
  touched_nodes.erase(id);
  checked_nodes.insert(id);
  index(id);
  node_deadlines.set(id, deadline_of(*this, state.nodes.at(id)));
}

void Engine::settle_cluster(ClusterId id) {
  touched_clusters.erase(id);
  if (state.clusters.contains(id)) update_allocation(*this, id);
  touched_clusters.erase(id);
}

// What follows from ends of jobs and arrays: a chain of them may end one after the other, tasks of arrays come in their
// place, old ones of schedules go.
void Engine::settle_jobs() {
  while (!ended.empty() || !stirred.empty() || !crowded.empty()) {
    if (!ended.empty()) {
      const auto [one, succeeded] = ended.back();
      ended.pop_back();
      consider_dependents(*this, one, succeeded);
      consider_waiting_arrays(*this, one, succeeded);
    } else if (!stirred.empty()) {
      const JobArrayId id = *stirred.begin();
      stirred.erase(id);
      consider(*this, id);
    } else {
      const JobScheduleId id = *crowded.begin();
      crowded.erase(id);
      thin_out(*this, id);
    }
  }
}

void Engine::settle() {
  settle_jobs();
  while (!touched_nodes.empty() || !touched_clusters.empty()) {
    while (!touched_nodes.empty()) settle_node(*touched_nodes.begin());
    if (!touched_clusters.empty()) settle_cluster(*touched_clusters.begin());
    settle_jobs();
  }
  for (JobId id : touched_jobs) {
    auto job = state.jobs.find(id);
    job_deadlines.set(id, job == state.jobs.end() ? 0 : deadline_of(*this, job->second));
    checked_jobs.insert(id);
  }
  touched_jobs.clear();
}

}  // namespace trainyard::core
