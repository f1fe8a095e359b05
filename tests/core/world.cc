#include "tests/core/world.h"

#include <algorithm>

#include "common/check.h"

namespace trainyard::test {

void PretendAgent::take(const Orders& newer) {
  if (newer.node_epoch != epoch || newer.revision < orders.revision) return;
  orders = newer;
  std::set<AttemptId> listed;
  for (const HoldingOrder& order : orders.holdings) {
    listed.insert(order.id);
    if (!holdings.contains(order.id)) holdings[order.id] = HoldingReport{order.id};
  }
  std::erase_if(holdings, [&](const auto& entry) {
    return !listed.contains(entry.first) && entry.second.state == HoldingState::clean;
  });
  std::erase_if(file_servers, [&](const auto& entry) {
    return std::none_of(orders.file_servers.begin(), orders.file_servers.end(),
                        [&](const FileServerOrder& order) { return order.id == entry.first; });
  });
}

bool PretendAgent::progress_file_servers() {
  bool changed = false;
  for (const FileServerOrder& order : orders.file_servers) {
    if (order.remove && !files.contains(order.id) && !file_servers.contains(order.id)) continue;
    FileServerReport next{.id = order.id};
    if (order.remove) {
      next.state = FileServerState::stopping;
    } else if (!serving_error.empty()) {
      next.state = FileServerState::failed;
      next.error_message = serving_error;
    } else if (serves) {
      files.insert(order.id);
      next = {order.id, FileServerState::serving, inventory.address, "/srv/" + std::to_string(order.id), {}, 2049};
    }
    changed = changed || !file_servers.contains(order.id) || file_servers[order.id] != next;
    file_servers[order.id] = next;
    if (!order.remove || !removes) continue;
    files.erase(order.id);
    file_servers.erase(order.id);
  }
  return changed;
}

bool PretendAgent::progress() {
  bool changed = progress_file_servers();
  const bool wanted = setup && orders.setup && orders.setup->run == setup->run;
  if (setup && !wanted && takes_down) {
    setup.reset();
    changed = true;
  } else if (!setup && orders.setup) {
    setup = SetupReport{orders.setup->run};
    setup_runs.push_back(setup->run);
    changed = true;
  } else if (wanted && setup->state == SetupState::running && sets_up) {
    setup->state = setup_error ? SetupState::failed : SetupState::done;
    if (setup_error) setup->error = *setup_error;
    changed = true;
  }
  const auto become = [&changed](HoldingReport& holding, HoldingState state) {
    if (holding.state == state) return;
    holding.state = state;
    changed = true;
  };
  for (auto& [id, holding] : holdings) {
    const HoldingOrder* order = nullptr;
    for (const HoldingOrder& one : orders.holdings) {
      if (one.id == id) order = &one;
    }
    if (order == nullptr || order->phase == HoldingPhase::stop) {
      if (cleans) holding.receipt.processes_killed = 1;
      become(holding, cleans ? HoldingState::clean : HoldingState::stopping);
      continue;
    }
    if (holding.state == HoldingState::preparing && prepares) become(holding, HoldingState::ready);
    if (holding.state == HoldingState::ready && order->phase == HoldingPhase::run && launches)
      become(holding, HoldingState::running);
  }
  return changed;
}

Report PretendAgent::report() {
  Report report{name, orders.store_generation, epoch, orders.revision, ++sequence, inventory, {}};
  for (const auto& [id, holding] : holdings) report.holdings.push_back(holding);
  report.setup = setup;
  for (const auto& [id, server] : file_servers) report.file_servers.push_back(server);
  return report;
}

Settings World::default_settings() {
  Settings settings;
  settings.pools_with_fence_command = {"fenced"};
  return settings;
}

World::World(Settings settings_) : settings(std::move(settings_)) {
  x_disk.meta.store_generation = kGeneration;
  core = std::make_unique<Core>(settings, tables(), now);
  finish_batch();
  TY_CHECK(command(CreateGroup{"g", "here", {}}).ok());
  TY_CHECK(command(CreateWorkspace{{"g", "w"}, "", {}}).ok());
  TY_CHECK(command(CreateExperiment{{"g", "w", "e"}}).ok());
  TY_CHECK(command(CreateAccount{"g", "a", "here", "", "/srv/a"}).ok());
  TY_CHECK(command(CreateShare{"a", "s"}).ok());
}

PretendAgent& World::add_agent(const std::string& name, const std::string& flavour, const std::string& pool) {
  PretendAgent& agent = agents[name];
  agent.name = name;
  agent.inventory.flavour = flavour;
  agent.inventory.pool = pool;
  agent.inventory.address = "10.0.0." + std::to_string(agents.size());
  agent.inventory.gpus.push_back({"gpu-" + name, "pretend", 0, true});
  return agent;
}

PretendAgent& World::storage_node(const std::string& name) {
  PretendAgent& agent = add_agent(name);
  agent.inventory.file_server_software = "nfs-ganesha 4.3";
  settle();
  return agent;
}

void World::nodes(int count, const std::string& flavour, const std::string& pool) {
  for (int i = 0; i < count; ++i) add_agent("n" + std::to_string(agents.size() + 1), flavour, pool);
  settle();
}

void World::cluster(const std::string& name, std::uint32_t target, const std::string& vm_size) {
  ClusterSpec spec;
  spec.vm_size = vm_size;
  spec.target_node_count = target;
  TY_CHECK(command(CreateCluster{cluster_ref(name), spec}).ok());
}

void World::cluster(const std::string& name, ClusterSpec spec) {
  if (spec.vm_size.empty()) spec.vm_size = "Standard_NC6";
  TY_CHECK(command(CreateCluster{cluster_ref(name), spec, "unique-" + name}).ok());
}

JobSpec World::spec(std::uint32_t node_count) {
  JobSpec spec;
  spec.node_count = node_count;
  spec.command_line = "true";
  return spec;
}

JobId World::submit(const std::string& name, std::uint32_t node_count, const std::string& cluster, Recovery recovery) {
  JobSpec job = spec(node_count);
  job.recovery = recovery;
  auto result = command(SubmitJob{job_ref(name), cluster_ref(cluster), job, {}, "unique-" + name});
  TY_CHECK(result.ok());
  return {result->id};
}

void World::ready_cluster(int count, const std::string& pool) {
  nodes(count, "Standard_NC6", pool);
  cluster("nc6", static_cast<std::uint32_t>(count));
  settle();
}

JobId World::running_job(int count, Recovery recovery, const std::string& pool) {
  ready_cluster(count, pool);
  const JobId id = submit("j", static_cast<std::uint32_t>(count), "nc6", recovery);
  settle();
  TY_CHECK(job("j").state == JobState::running);
  return id;
}

Result<Subject> World::command(CommandBody body, const std::string& request_id, const std::string& fingerprint) {
  const Ticket ticket = ++x_ticket;
  step(Command{ticket, request_id, fingerprint, "user:ann", std::move(body)});
  for (auto it = actions.rbegin(); it != actions.rend(); ++it) {
    const Reply* reply = std::get_if<Reply>(&*it);
    if (reply != nullptr && reply->ticket == ticket) return reply->result;
  }
  TY_CHECK(false);
  return Subject{};
}

Result<Subject> World::resize(const std::string& cluster, std::uint32_t target, DeallocationOption option) {
  return command(ResizeCluster{cluster_ref(cluster), target, option});
}

void World::step(decltype(Event::body) body) {
  core->step({now, std::move(body)});
  core->check_touched();
  check_invariants(core->state());
  finish_batch();
}

void World::finish_batch() {
  while (core->wants_plan()) {
    core->apply_plan(plan::make_plan(core->state(), now, plan_settings), now);
    check_invariants(core->state());
  }
  Outcome outcome = core->take_outcome();
  commit(outcome.changes);
  for (const Action& action : outcome.actions) {
    if (const SendOrders* send = std::get_if<SendOrders>(&action)) {
      const Node& node = core->state().nodes.at(send->node);
      auto agent = agents.find(node.name);
      if (agent != agents.end() && agent->second.connected) agent->second.take(orders_for(core->state(), send->node));
    }
    actions.push_back(action);
  }
  last_changes = std::move(outcome.changes);
}

void World::report(const std::string& name) {
  step(NodeReported{agents.at(name).report()});
}

void World::settle() {
  for (int round = 0; round < 50; ++round) {
    bool changed = false;
    for (auto& [name, agent] : agents) {
      if (!agent.connected) continue;
      changed = agent.progress() || changed;
      const std::size_t before = actions.size();
      report(name);
      for (std::size_t i = before; i < actions.size(); ++i)
        changed = changed || std::holds_alternative<SendOrders>(actions[i]);
    }
    if (!changed) return;
  }
  TY_CHECK(false);  // it never comes to rest
}

void World::wait(DurationMs duration) {
  const TimeMs until = now + duration;
  while (now < until) {
    now = std::min<TimeMs>(now + 1000, until);
    step(Tick{});
    if ((now / 1000) % 5 == 0) settle();
  }
  settle();
}

void World::head_exits(const std::string& name, int exit_code) {
  const Job& row = job(name);
  HoldingReport& holding = agents.at(row.last_nodes.front()).holdings.at({row.id, row.attempt});
  holding.state = HoldingState::exited;
  holding.exit_code = exit_code;
}

void World::heal(const std::string& node) {
  PretendAgent& agent = agents.at(node);
  agent.connected = true;
  report(node);
}

void World::reboot(const std::string& node, const std::string& epoch) {
  PretendAgent& agent = agents.at(node);
  agent.epoch = epoch;
  agent.connected = true;
  agent.orders = {};
  agent.holdings.clear();
  agent.setup.reset();
  agent.file_servers.clear();
  report(node);
}

void World::restart_controller() {
  core = std::make_unique<Core>(settings, tables(), now);
  check_invariants(core->state());
  finish_batch();
}

void World::restart_controller(const std::string& generation) {
  x_disk.meta.store_generation = generation;
  restart_controller();
}

const Job* World::find_job(const std::string& name) const {
  auto found = state().job_by_path.find(path_key({"g", "w", "e", name}));
  return found == state().job_by_path.end() ? nullptr : &state().jobs.at(found->second);
}
const Job& World::job(const std::string& name) const {
  const Job* found = find_job(name);
  TY_CHECK(found != nullptr);
  return *found;
}
const Node& World::node(const std::string& name) const {
  return state().nodes.at(state().node_by_name.at(name));
}
const Cluster& World::cluster_row(const std::string& name) const {
  return state().clusters.at(state().cluster_by_path.at(path_key({"g", "w", name})));
}

std::size_t World::held(const std::string& node_name) const {
  std::size_t count = 0;
  for (const auto& [key, holding] : state().holdings) count += key.first == node(node_name).id ? 1 : 0;
  return count;
}

namespace {
template <class Key, class Row, class KeyOf>
void store(std::map<Key, Row>& table, const std::vector<Row>& rows, const std::vector<Key>& erased, KeyOf key_of_row) {
  for (const Key& key : erased) table.erase(key);
  for (const Row& row : rows) table.insert_or_assign(key_of_row(row), row);
}
template <class Key, class Row>
std::vector<Row> rows_of(const std::map<Key, Row>& table) {
  std::vector<Row> rows;
  for (const auto& [key, row] : table) rows.push_back(row);
  return rows;
}
}  // namespace

void World::commit(const Changes& changes) {
  const auto id = [](const auto& row) { return row.id; };
  x_disk.meta = changes.meta;
  store(x_disk.groups, changes.groups, changes.erased_groups, id);
  store(x_disk.workspaces, changes.workspaces, changes.erased_workspaces, id);
  store(x_disk.experiments, changes.experiments, changes.erased_experiments, id);
  store(x_disk.clusters, changes.clusters, changes.erased_clusters, id);
  store(x_disk.nodes, changes.nodes, changes.erased_nodes, id);
  store(x_disk.jobs, changes.jobs, changes.erased_jobs, id);
  store(x_disk.accounts, changes.accounts, changes.erased_accounts, id);
  store(x_disk.shares, changes.shares, changes.erased_shares, id);
  store(x_disk.file_servers, changes.file_servers, changes.erased_file_servers, id);
  store(x_disk.reservations, changes.reservations, changes.erased_reservations, id);
  store(x_disk.arrays, changes.arrays, changes.erased_arrays, id);
  store(x_disk.schedules, changes.schedules, changes.erased_schedules, id);
  store(x_disk.holdings, changes.holdings, changes.erased_holdings, [](const Holding& row) { return key_of(row); });
  store(x_disk.requests, changes.requests, changes.erased_requests,
        [](const RequestRecord& row) { return row.request_id; });
  store(x_disk.spent, changes.spent, changes.erased_spent, [](const Spent& row) { return row.payer; });
  timeline.insert(timeline.end(), changes.timeline.begin(), changes.timeline.end());
  usage.insert(usage.end(), changes.usage.begin(), changes.usage.end());
}

Tables World::tables() const {
  return {x_disk.meta,
          rows_of(x_disk.groups),
          rows_of(x_disk.workspaces),
          rows_of(x_disk.experiments),
          rows_of(x_disk.clusters),
          rows_of(x_disk.nodes),
          rows_of(x_disk.jobs),
          rows_of(x_disk.holdings),
          rows_of(x_disk.accounts),
          rows_of(x_disk.shares),
          rows_of(x_disk.file_servers),
          rows_of(x_disk.requests),
          rows_of(x_disk.spent),
          rows_of(x_disk.reservations),
          rows_of(x_disk.arrays),
          rows_of(x_disk.schedules)};
}

}  // namespace trainyard::test
