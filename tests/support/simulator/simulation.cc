#include "tests/support/simulator/simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

namespace trainyard::simulator {
namespace {

constexpr DurationMs kKillTimeMs = 60'000;
constexpr DurationMs kLivenessBoundMs = 4 * 3600 * 1000;
constexpr const char* kSmall = "STANDARD_NC6";
constexpr const char* kLarge = "STANDARD_NC24";
constexpr std::uint32_t kLargeGpus = 4;

NodeIndex index_of(const std::string& node_name) {
  return static_cast<NodeIndex>(std::stoul(node_name.substr(1)));
}

bool is_large(NodeIndex node) {
  return node % 4 == 3;
}

DurationMs report_every_ms(const Options& options) {
  return options.nodes > 1'000 ? 20'000 : 4'000;
}

core::Settings settings_of(const Options& options) {
  return {.unreachable_after_ms = options.nodes > 1'000 ? 60'000 : 15'000,
          .gang_abort_after_ms = 30'000,
          .kill_time_ms = kKillTimeMs,
          .prepare_limit_ms = 60'000,
          .request_keep_ms = 30LL * 24 * 3600 * 1000,
          .setup_retry_ms = 5'000,
          .setup_retry_longest_ms = 60'000,
          .pools_with_fence_command = {"fenced"}};
}

Inventory inventory_of(NodeIndex node) {
  Inventory inventory{.flavour = is_large(node) ? kLarge : kSmall,
                      .pool = node % 3 == 0 ? "fenced" : "plain",
                      .address = fmt::format("10.{}.{}.{}", node / 62'500, node / 250 % 250, node % 250 + 1),
                      .network_cidr = "10.0.0.0/8",
                      .cores = 8,
                      .memory_bytes = 1ULL << 34,
                      .agent_version = "simulated"};
  inventory.topology = fmt::format("rack=r{}/leaf=l{}", node % 2, node / 2 % 4);
  if (node % 5 == 1) inventory.file_server_software = "simulated";
  for (std::uint32_t gpu = 0; gpu < (is_large(node) ? kLargeGpus : 1); ++gpu) {
    inventory.gpus.push_back({fmt::format("GPU-{}-{}", node, gpu), "pretend", 1ULL << 33, true});
  }
  return inventory;
}

// Two clusters share the small machines with some to spare (one of them gives its nodes to passing clusters), one has
// nearly all large ones.
std::vector<ClusterPlan> clusters_of(const Options& options) {
  std::uint32_t large = 0;
  for (NodeIndex node = 0; node < options.nodes; ++node) large += is_large(node);
  const std::uint32_t small = options.nodes - large;
  return {{"c0", kSmall, std::max(1U, small / 2)},
          {"c1", kSmall, std::max(1U, small / 3), true, true},
          {"c2", kLarge, std::max(1U, large), false, false, kLargeGpus}};
}

}  // namespace

Simulation::Simulation(const Options& options)
    : x_world(options),
      x_oracle(x_world),
      x_controller(x_world, x_oracle, x_rates, *this, settings_of(options)),
      x_network(x_world, x_rates, x_machines, x_controller),
      x_gangs(x_world, x_rates, x_machines, x_network),
      x_users(x_world, x_oracle, x_rates, x_controller, clusters_of(options)),
      x_chaos(x_world, x_rates, x_machines, x_network, x_controller, x_users) {
  for (NodeIndex node = 0; node < options.nodes; ++node) {
    x_network.add_node();
    x_machines.push_back(
        std::make_unique<Machine>(x_world, x_oracle, *this, node, inventory_of(node), report_every_ms(options)));
  }
}

RunResult Simulation::run() {
  const TimeMs began_ms = x_world.now_ms();
  x_oracle.watch_disk(x_controller.disk());
  x_controller.start();
  for (auto& machine : x_machines) {
    x_world.after(x_world.random.between(0, 5'000), [&machine] { machine->power_on(false); });
  }
  x_users.start();
  x_world.after(10'000, [this] { x_chaos.start(); });
  watch_controller();
  run_with_faults();
  if (x_world.options.mode == Mode::liveness) run_healed();
  return {.events = x_world.events_run,
          .core_events = x_world.core_events,
          .trace_hash = x_world.trace.hash(),
          .jobs = static_cast<std::uint32_t>(x_oracle.acknowledged_jobs()),
          .virtual_ms = x_world.now_ms() - began_ms,
          .coverage = x_world.coverage};
}

void Simulation::run_with_faults() {
  while (x_world.events_run < x_world.options.events || !x_users.all_submitted()) x_world.run_one();
}

void Simulation::run_healed() {
  x_chaos.heal();
  x_users.come_to_an_end();
  const TimeMs healed_ms = x_world.now_ms();
  bool looks = true;
  std::string why_not;
  auto look = [&](auto&& again) -> void {
    looks = at_rest(why_not);
    if (!looks) x_world.after(1'000, [&again] { again(again); });
  };
  looks = false;
  look(look);
  while (!looks) {
    x_world.run_one();
    if (x_world.now_ms() - healed_ms > kLivenessBoundMs) {
      x_world.fail(fmt::format("I9: {} s after all faults were healed {}", kLivenessBoundMs / 1000, why_not));
    }
  }
  x_world.note("at rest");
}

bool Simulation::at_rest(std::string& why_not) const {
  const auto wait_for = [&why_not](std::string what) {
    why_not = std::move(what);
    return false;
  };
  if (!x_users.settled()) return wait_for("a request has no answer");
  if (!x_controller.up()) return wait_for("there is no controller");
  for (const auto& [id, job] : x_controller.disk().jobs) {
    if (!core::terminal(job.state)) {
      return wait_for(fmt::format("job {} (attempt {}, {} nodes) is in state {}", id.value, job.attempt,
                                  job.spec->node_count, static_cast<int>(job.state)));
    }
    if (job.deleting) return wait_for(fmt::format("job {} is still being deleted", id.value));
  }
  for (const auto& [id, array] : x_controller.disk().arrays) {
    if (array.state == core::ArrayState::running || array.deleting) {
      return wait_for(
          fmt::format("job array {} goes on: {} of {} tasks were made", id.value, array.next, array.body->tasks));
    }
  }
  if (!x_controller.disk().schedules.empty()) return wait_for("a job schedule is still there");
  for (const auto& [key, holding] : x_controller.disk().holdings) {
    return wait_for(fmt::format("job {} attempt {} still holds node {}", holding.id.job.value, holding.id.attempt,
                                key.first.value));
  }
  for (const auto& [id, node] : x_controller.disk().nodes) {
    const auto wanted = node.cluster ? core::NodeState::idle : core::NodeState::unassigned;
    if (node.state == wanted) continue;
    const auto live = x_controller.state().nodes.find(id);
    return wait_for(fmt::format("node {} is in state {}: its orders have revision {}, {} is awaited and {} was echoed",
                                node.name, static_cast<int>(node.state), node.revision, node.awaited_revision,
                                live == x_controller.state().nodes.end() ? 0 : live->second.live.echoed_revision));
  }
  for (const auto& [id, cluster] : x_controller.disk().clusters) {
    if (cluster.resizing || cluster.deleting) return wait_for(fmt::format("cluster {} is not steady", cluster.name));
  }
  for (const auto& [id, node] : x_controller.state().nodes) {
    if (!node.live.seen || !node.live.reachable) return wait_for(fmt::format("node {} is not heard of", node.name));
  }
  for (const auto& [id, node] : x_controller.disk().nodes) {
    if (node.setup_run == 0 && x_machines[index_of(node.name)]->has_setup()) {
      return wait_for(fmt::format("machine {} still has a set-up of a cluster that it left", node.name));
    }
  }
  std::set<std::uint64_t> wanted;
  for (const auto& [id, row] : x_controller.disk().file_servers) {
    wanted.insert(id.value);
    const auto serving = x_machines[index_of(row.node)]->serving();
    if (row.state != core::Provisioning::succeeded || !std::count(serving.begin(), serving.end(), id.value)) {
      return wait_for(
          fmt::format("file server {} of {} is in state {}", id.value, row.node, static_cast<int>(row.state)));
    }
  }
  for (const auto& machine : x_machines) {
    for (const std::uint64_t id : machine->serving()) {
      if (!wanted.contains(id)) {
        return wait_for(fmt::format("machine {} still serves {}, which is gone", machine->name(), id));
      }
    }
    if (!machine->idle()) return wait_for(fmt::format("machine {} still has something", machine->name()));
  }
  return true;
}

void Simulation::watch_controller() {
  if (std::exchange(x_controller_life, x_controller.life()) != x_controller.life()) x_network.controller_gone();
  // Generous: the longest lease, its drift, the kill time, losing contact, and what the users' machines need to be
  // seen.
  if (x_controller.up()) x_oracle.check_running_jobs(x_controller.disk(), 600'000);
  x_world.after(500, [this] { watch_controller(); });
}

// ---- Site ----

void Simulation::send_up(NodeIndex node, agent::Action action) {
  if (auto* report = std::get_if<agent::SendReport>(&action)) {
    x_network.up(node, core::NodeReported{std::move(report->report)}, true);
  } else if (const auto* same = std::get_if<agent::SendSame>(&action)) {
    x_network.up(
        node,
        core::NodeSame{x_machines[node]->name(), x_machines[node]->epoch(), same->orders_revision, same->sequence},
        false);
  }
}

void Simulation::head_started(NodeIndex node, AttemptId id, std::shared_ptr<const Launch> launch) {
  x_gangs.head_started(node, id, *launch);
}

void Simulation::member_gone(NodeIndex node, AttemptId id, bool machine_lost) {
  x_gangs.member_gone(node, id, machine_lost);
}

// ---- Listeners ----

void Simulation::reply(core::Ticket ticket, const Result<core::Subject>& result, bool state_changed) {
  x_users.heard(ticket, result, state_changed);
}

void Simulation::send_orders(const std::string& node_name, Orders orders) {
  x_network.down(index_of(node_name), std::move(orders));
}

void Simulation::acknowledge(const core::Acknowledge& acknowledge) {
  x_network.down(index_of(acknowledge.node_name), acknowledge);
}

void Simulation::refuse(const core::Refuse& refuse) {
  // Only the stream of that life is closed.
  const NodeIndex node = index_of(refuse.node_name);
  if (x_machines[node]->epoch() == refuse.epoch) x_network.refused(node);
}

void Simulation::run_fence(const core::RunFence& fence) {
  x_chaos.run_fence(index_of(fence.node_name));
}

namespace {

// What a suite must have seen at least once: every fault kind and every transition.
const char* const kRequiredCoverage[] = {"fault agent crash",
                                         "fault agent crash between actions",
                                         "fault agent paused",
                                         "fault agent restarts without its spool",
                                         "fault controller crash",
                                         "fault controller crash after commit, before speaking",
                                         "fault controller crash before commit",
                                         "fault controller crash while speaking",
                                         "fault controller's clock steps",
                                         "fault daemon left behind",
                                         "fault delay",
                                         "fault drop",
                                         "fault duplicate",
                                         "fault early exit of the head",
                                         "fault head hangs without its peer",
                                         "fault head killed",
                                         "fault head's shim lost",
                                         "fault late orders",
                                         "fault late report",
                                         "fault launch gave up",
                                         "fault machine dies and an operator confirms it",
                                         "fault machine dies for long",
                                         "fault machine frozen",
                                         "fault machine reboots",
                                         "fault mount server unreachable",
                                         "fault one-way partition from the node",
                                         "fault one-way partition to the node",
                                         "fault outcome of a fence command lost",
                                         "fault partition",
                                         "fault partition of many",
                                         "fault peer's shim lost",
                                         "fault preparation hangs",
                                         "fault rank vanishes silently",
                                         "fault reorder",
                                         "fault reply lost",
                                         "fault set-up breaks",
                                         "fault set-up fails",
                                         "fault request doubled",
                                         "fault request lost",
                                         "fault file server dies",
                                         "fault file server does not start",
                                         "fault file server is not removed",
                                         "file server creating -> succeeded",
                                         "file server creating -> failed",
                                         "file server failed -> succeeded",
                                         "file server succeeded -> failed",
                                         "file server succeeded -> deleting",
                                         "file server deleted",
                                         "file server forgotten",
                                         "job array ended",
                                         "job array failed",
                                         "time of a schedule made",
                                         "time of a schedule skipped",
                                         "node shared by two jobs",
                                         "GPUs given within a limit",
                                         "limit reached",
                                         "lease renewed beside the core",
                                         "fault slow disk",
                                         "fault slow kill",
                                         "fault swizzle-clog",
                                         "fault user's preparation fails",
                                         "fence command fails",
                                         "fence command succeeds",
                                         "request repeated",
                                         "request repeated long after",
                                         "request refused",
                                         "job (new) -> queued",
                                         "job queued -> preparing",
                                         "job queued -> failed",
                                         "job preparing -> starting",
                                         "job preparing -> stopping",
                                         "job starting -> running",
                                         "job starting -> stopping",
                                         "job running -> stopping",
                                         "job stopping -> queued",
                                         "job stopping -> succeeded",
                                         "job stopping -> failed",
                                         "node (new) -> unassigned",
                                         "node unassigned -> preparing",
                                         "node preparing -> idle",
                                         "node preparing -> unusable",
                                         "node unusable -> preparing",
                                         "job preempted",
                                         "usage kept",
                                         "usage lost",
                                         "usage requeued",
                                         "job placed on fewer nodes than it wants",
                                         "job placed with a shorter limit",
                                         "node idle -> running",
                                         "node running -> idle",
                                         "node running -> leaving",
                                         "node idle -> leaving",
                                         "node leaving -> unassigned",
                                         "holding (new) -> preparing",
                                         "holding preparing -> ready",
                                         "holding preparing -> failed",
                                         "holding ready -> running",
                                         "holding running -> exited",
                                         "holding running -> lost",
                                         "holding running -> stopping",
                                         "holding exited -> stopping",
                                         "holding stopping -> (released)"};

}  // namespace

const std::vector<std::string>& required_coverage() {
  static const std::vector<std::string> names(std::begin(kRequiredCoverage), std::end(kRequiredCoverage));
  return names;
}

}  // namespace trainyard::simulator
