#include "tests/support/simulator/machine.h"

#include <fmt/format.h>

#include <utility>

namespace trainyard::simulator {

Machine::Machine(World& world, Oracle& oracle, Site& site, NodeIndex index, Inventory inventory,
                 DurationMs report_every_ms)
    : x_world(world),
      x_oracle(oracle),
      x_site(site),
      x_random(world.random.fork()),
      x_index(index),
      x_name(fmt::format("n{:04}", index)),
      x_inventory(std::move(inventory)),
      x_settings{.report_every_ms = report_every_ms},
      x_drift_per_million(x_random.between(-4000, 4000)) {}

// ---- Power and time ----

TimeMs Machine::boottime() const {
  const DurationMs up_ms = x_world.now_ms() - x_booted_at_ms;
  return x_boottime_base_ms + up_ms + up_ms * x_drift_per_million / 1'000'000;
}

std::string Machine::epoch() const {
  return fmt::format("{}-b{}-s{}", x_name, x_boot, x_spool_generation);
}

void Machine::power_on(bool spool_lost) {
  if (x_powered) return;
  x_powered = true;
  x_oracle.powered(x_index, true);
  ++x_boot;
  x_booted_at_ms = x_world.now_ms();
  x_boottime_base_ms = x_random.between(1'000, 90'000);
  // What was held before the boot is gone with its processes; only the record of orders means anything still.
  x_spooled.clear();
  x_spool.acked_send_ms = 0;
  x_spool.setup.reset();
  x_world.note("machine on", x_index, x_boot, spool_lost);
  start_agent(spool_lost);
}

void Machine::power_off() {
  if (!x_powered) return;
  x_world.note("machine off", x_index, x_boot);
  crash_agent();
  x_deferred.clear();
  if (std::exchange(x_frozen, false)) x_oracle.frozen(x_index, false);
  kill_everything();
  x_work.clear();
  setup_vanishes();
  servers_die();
  x_powered = false;
  x_oracle.powered(x_index, false);
}

void Machine::freeze(bool frozen) {
  if (!x_powered || x_frozen == frozen) return;
  x_world.note(frozen ? "machine frozen" : "machine thawed", x_index);
  x_frozen = frozen;
  if (!frozen) {
    // The instant before its agent kills what outlived its lease: at most a slow kill.
    x_oracle.excuse_until(x_index, x_world.now_ms() + 30'000);
  }
  x_oracle.frozen(x_index, frozen);
  if (frozen) return;
  auto deferred = std::exchange(x_deferred, {});
  for (auto& what : deferred) later(0, std::move(what));
}

void Machine::later(DurationMs delay_ms, std::function<void()> what) {
  x_world.after(delay_ms, [this, boot = x_boot, what = std::move(what)] {
    if (!x_powered || x_boot != boot) return;
    if (x_frozen) {
      x_deferred.push_back(what);
    } else {
      what();
    }
  });
}

// ---- The agent's process ----

void Machine::agent_later(DurationMs delay_ms, std::function<void()> what) {
  later(delay_ms, [this, life = x_agent_life, what = std::move(what)] {
    if (!x_agent || x_agent_life != life) return;
    if (x_paused) {
      x_backlog.push_back(what);
    } else {
      what();
    }
  });
}

void Machine::start_agent(bool spool_lost) {
  if (!x_powered || x_agent) return;
  if (spool_lost) {
    // Without its spool the agent cannot know what it held: it kills all it finds before it gives itself a new epoch.
    kill_everything();
    x_work.clear();
    setup_vanishes();
    ++x_spool_generation;
    x_spool = {};
    x_spooled.clear();
  }
  agent::Spool spool = x_spool;
  for (const auto& [id, held] : x_spooled) spool.holdings.push_back(held);
  ++x_agent_life;
  x_paused = false;
  x_agent_since_ms = x_world.now_ms();
  x_tick_at_ms = 0;
  x_agent = std::make_unique<agent::AgentCore>(x_settings, x_name, epoch(), x_inventory, std::move(spool), boottime());
  x_world.note("agent starts", x_index, x_agent_life, spool_lost);
  observe();
  schedule_tick();
  x_site.agent_started(x_index);
}

void Machine::crash_agent() {
  if (!x_agent) return;
  x_world.note("agent gone", x_index, x_agent_life);
  x_agent.reset();
  ++x_agent_life;
  x_backlog.clear();
  x_paused = false;
  for (auto& [id, work] : x_work) work.stopping = false;  // nobody goes on killing until the next agent does
  x_site.agent_gone(x_index);
}

void Machine::pause_agent(bool paused) {
  if (!x_agent || x_paused == paused) return;
  x_world.note(paused ? "agent paused" : "agent resumed", x_index);
  x_paused = paused;
  if (paused) return;
  auto backlog = std::exchange(x_backlog, {});
  for (auto& what : backlog) agent_later(0, std::move(what));
}

void Machine::input(decltype(agent::Input::body) body) {
  agent_later(0, [this, body = std::move(body)] { step(body); });
}

void Machine::step(decltype(agent::Input::body) body) {
  const auto actions = x_agent->step({boottime(), std::move(body)});
  std::size_t executed = actions.size();
  // A crash within a step that does several things is the interesting one.
  const std::uint32_t rate = x_site.rates().agent_crash_in_step * (actions.size() > 1 ? 20 : 1);
  const bool crashes = !actions.empty() && x_random.chance(rate);
  if (crashes) executed = x_random.below(actions.size());
  for (std::size_t at = 0; at < executed; ++at) execute(actions[at]);
  if (!crashes) return schedule_tick();
  x_world.hit("fault agent crash between actions");
  crash_agent();
  const DurationMs down_ms = x_random.between(x_restart_low_ms, x_restart_high_ms);
  later(down_ms, [this] { start_agent(false); });
}

void Machine::schedule_tick() {
  const DurationMs wait_ms = std::max<DurationMs>(1, x_agent->next_deadline() - boottime());
  const TimeMs at_ms = x_world.now_ms() + wait_ms;
  if (x_tick_at_ms > x_world.now_ms() && x_tick_at_ms <= at_ms) return;  // an earlier one will look again
  x_tick_at_ms = at_ms;
  agent_later(wait_ms, [this, tick = ++x_tick] {
    if (tick != x_tick) return;
    x_tick_at_ms = 0;
    step(agent::Tick{});
  });
}

void Machine::observe() {
  for (const auto& [id, held] : x_spooled) {
    if (held.state != HoldingState::ready && held.state != HoldingState::running) continue;
    const auto work = x_work.find(id);
    const auto soon_ms = x_random.between(0, 300);  // losses are seen at once, before the first report
    if (work != x_work.end() && work->second.peer_lost) {
      agent_later(0, [this, id = id] { step(agent::PeerLost{id, {"ShimLost", "shim lost", {}, true}}); });
    }
    if (work != x_work.end() && work->second.out_of_memory) say_out_of_memory(id, 0);
    if (!held.head_start_requested) continue;
    if (work == x_work.end() || !work->second.head_started || work->second.head_lost) {
      agent_later(0, [this, id = id] { step(agent::HeadEnded{id, {}, {"ShimLost", "shim lost", {}, true}}); });
      continue;
    }
    agent_later(soon_ms, [this, id = id] { step(agent::HeadStarted{id, {}}); });
    if (const auto code = work->second.head_exit) {
      agent_later(soon_ms + 1, [this, id = id, code] { step(agent::HeadEnded{id, code, {}}); });
    }
  }
}

void Machine::execute(const agent::Action& action) {
  if (const auto* orders = std::get_if<agent::PersistOrders>(&action)) {
    x_spool = {orders->revision,   orders->store_generation, {},
               orders->tombstones, orders->acked_send_ms,    x_spool.setup};
  } else if (std::holds_alternative<agent::PersistSetup>(action)) {
    x_spool.setup = x_agent->setup();
  } else if (const auto* setup = std::get_if<agent::SetUp>(&action)) {
    set_up(setup->run);
  } else if (const auto* down = std::get_if<agent::TakeDownSetup>(&action)) {
    take_down_setup(down->run);
  } else if (const auto* serve = std::get_if<agent::ServeFiles>(&action)) {
    serve_files(serve->order);
  } else if (const auto* remove = std::get_if<agent::RemoveFileServer>(&action)) {
    remove_files(remove->order);
  } else if (const auto* others = std::get_if<agent::EndOtherFileServers>(&action)) {
    end_other_file_servers(others->ordered);
  } else if (const auto* persist = std::get_if<agent::PersistHolding>(&action)) {
    x_spooled[persist->id] = x_agent->holdings().at(persist->id);
  } else if (const auto* forget = std::get_if<agent::ForgetHolding>(&action)) {
    x_spooled.erase(forget->id);
  } else if (const auto* wanted = std::get_if<agent::Prepare>(&action)) {
    prepare(wanted->id);
  } else if (const auto* head = std::get_if<agent::StartHead>(&action)) {
    start_head(head->id);
  } else if (const auto* end = std::get_if<agent::Stop>(&action)) {
    stop(end->id, end->grace_ms);
  } else {
    x_site.send_up(x_index, action);
  }
}

// ---- Pretend execution ----

void Machine::became(AttemptId id, bool was_alive) {
  const Work& work = x_work.at(id);
  if (work.alive() && !was_alive) x_oracle.processes_live(x_index, x_name, id, work.gpus);
  if (!work.alive() && was_alive) x_oracle.processes_gone(x_index, id);
}

void Machine::prepare(AttemptId id) {
  auto [at, fresh] = x_work.try_emplace(id);
  Work& work = at->second;
  if (fresh) {
    const agent::HeldAttempt& held = x_agent->holdings().at(id);
    work.gpus = held.gpu_uuids;
    work.launch = held.launch;
    work.member = held.member;
  }
  if (work.preparation == Preparation::running) return;
  if (work.preparation != Preparation::none)
    return agent_later(x_random.between(1, 20), [this, id] {
      const auto found = x_work.find(id);
      if (found == x_work.end()) return;
      std::optional<NodeError> error;
      if (found->second.preparation == Preparation::failed) error = found->second.preparation_error;
      step(agent::Prepared{id, error});
    });
  x_world.note("preparation starts", x_index, id.job.value, id.attempt);
  work.preparation = Preparation::running;
  became(id, false);
  if (x_random.chance(x_site.rates().preparation_hangs)) return x_world.hit("fault preparation hangs");
  const bool slow = x_random.chance(100);
  const DurationMs takes_ms = slow ? x_random.between(2'000, 20'000) : x_random.between(20, 1'500);
  later(takes_ms, [this, id] { finish_preparation(id); });
}

void Machine::finish_preparation(AttemptId id) {
  const auto found = x_work.find(id);
  if (found == x_work.end() || found->second.preparation != Preparation::running) return;
  Work& work = found->second;
  work.preparation = Preparation::done;
  std::optional<NodeError> error;
  if (x_random.chance(x_site.rates().preparation_fails)) {
    const bool machines = x_random.chance(500);
    x_world.hit(machines ? "fault mount server unreachable" : "fault user's preparation fails");
    work.preparation = Preparation::failed;
    error = work.preparation_error = {
        machines ? "MountServerUnreachable" : "JobPreparationFailed", "as drawn", {}, machines};
  }
  became(id, true);
  agent_later(x_random.between(0, 5), [this, id, error] { step(agent::Prepared{id, error}); });
}

void Machine::start_head(AttemptId id) {
  Work& work = x_work.at(id);
  if (work.head_started)
    x_world.fail(fmt::format("job {} attempt {}: the head was started twice", id.job.value, id.attempt));
  const bool was_alive = work.alive();
  x_world.note("head starts", x_index, id.job.value, id.attempt);
  work.head_started = work.head_alive = true;
  became(id, was_alive);
  x_oracle.head_started(id);
  agent_later(x_random.between(1, 200), [this, id] { step(agent::HeadStarted{id, {}}); });
  x_site.head_started(x_index, id, work.launch);
}

void Machine::end_head(AttemptId id, std::int32_t code, ExitReason reason) {
  const auto found = x_work.find(id);
  if (found == x_work.end() || !found->second.head_alive) return;
  Work& work = found->second;
  x_world.note("head exits", id.job.value, id.attempt, static_cast<std::uint64_t>(code));
  work.head_alive = false;
  if (!work.head_lost) {
    work.head_exit = code;
    x_oracle.head_exited(id, code, reason);
  }
  // Now and then a job leaves a daemon behind: only an emptied cgroup counts.
  if (reason == ExitReason::own && x_random.chance(80)) {
    x_world.hit("fault daemon left behind");
    work.daemon_alive = true;
  }
  became(id, true);
  if (work.head_lost) return;
  agent_later(x_random.between(0, 50), [this, id, code] { step(agent::HeadEnded{id, code, {}}); });
}

bool Machine::launch_rank(AttemptId id) {
  if (!agent_listens() || !x_agent->accepts_launch(id)) return false;
  const auto found = x_work.find(id);
  if (found == x_work.end() || found->second.stopping || found->second.rank_alive) return false;
  const bool was_alive = found->second.alive();
  x_world.note("rank starts", x_index, id.job.value, id.attempt);
  found->second.rank_alive = true;
  became(id, was_alive);
  return true;
}

void Machine::end_rank(AttemptId id) {
  const auto found = x_work.find(id);
  if (found == x_work.end() || !found->second.rank_alive) return;
  found->second.rank_alive = false;
  became(id, true);
}

void Machine::stop(AttemptId id, DurationMs grace_ms) {
  const auto found = x_work.find(id);
  if (found == x_work.end()) {  // never prepared here, or cleaned by a life of the agent that could not say so
    return agent_later(x_random.between(1, 20), [this, id] { step(agent::Cleaned{id, {.node_name = x_name}}); });
  }
  Work& work = found->second;
  work.stopping = true;
  const std::uint64_t serial = ++work.stop_serial;  // a repeat takes over: it may shorten the grace
  const bool obeys = x_random.chance(600);
  DurationMs kill_ms = obeys ? x_random.between(0, grace_ms) : grace_ms;
  kill_ms += x_random.between(0, 300);
  if (x_random.chance(x_site.rates().slow_kill)) {
    x_world.hit("fault slow kill");
    kill_ms += x_random.between(2'000, 15'000);
  }
  const DurationMs clean_ms = x_random.between(5, 800);
  agent_later(kill_ms, [this, id, serial, clean_ms] {
    const auto still = x_work.find(id);
    if (still == x_work.end() || still->second.stop_serial != serial) return;
    kill(id, false);
    agent_later(clean_ms, [this, id, serial] {
      const auto again = x_work.find(id);
      if (again == x_work.end() || again->second.stop_serial != serial) return;
      x_work.erase(again);
      x_world.note("cleaned", x_index, id.job.value, id.attempt);
      step(agent::Cleaned{id, {.node_name = x_name, .processes_killed = 1, .took_ms = 10}});
    });
  });
}

void Machine::kill(AttemptId id, bool machine_lost) {
  Work& work = x_work.at(id);
  if (!work.alive()) return;
  const bool head = work.head_alive && !work.head_lost;
  if (work.preparation == Preparation::running) work.preparation = Preparation::none;
  work.head_alive = work.rank_alive = work.daemon_alive = false;
  became(id, true);
  if (head && !machine_lost) {
    work.head_exit = 137;
    x_oracle.head_exited(id, 137, ExitReason::killed);
    agent_later(0, [this, id] { step(agent::HeadEnded{id, 137, {}}); });
  }
  x_site.member_gone(x_index, id, machine_lost);
}

void Machine::kill_everything() {
  for (auto& [id, work] : x_work) kill(id, true);
}

// ---- The cluster's set-up ----

void Machine::set_up(std::uint64_t run) {
  if (x_setup_work && x_setup_work->run != run) {
    x_world.fail(fmt::format("I14: set-up {} begins on {} while {} is there", run, x_name, x_setup_work->run));
  }
  if (x_setup_work) {  // a restarted agent asks again
    if (x_setup_work->ended) agent_later(x_random.between(1, 20), [this, run] { finish_setup(run); });
    return;
  }
  x_world.note("set-up starts", x_index, run);
  x_oracle.setup_started(x_index, run);
  x_setup_work = SetupWork{run, false, {}};
  const bool slow = x_random.chance(100);
  later(slow ? x_random.between(2'000, 20'000) : x_random.between(20, 1'500), [this, run] {
    if (!x_setup_work || x_setup_work->run != run) return;
    x_setup_work->ended = true;
    if (x_random.chance(x_site.rates().setup_fails)) {
      x_world.hit("fault set-up fails");
      x_setup_work->error = NodeError{"SetupTaskFailed", "as drawn", {}, false};
    } else {
      x_oracle.setup_done(x_index, run);
      if (x_random.chance(x_site.rates().setup_breaks)) break_setup(run);
    }
    agent_later(x_random.between(0, 20), [this, run] { finish_setup(run); });
  });
}

// One of its volumes stops to work, some time.
void Machine::break_setup(std::uint64_t run) {
  later(x_random.between(500, 120'000), [this, run] {
    if (!x_setup_work || x_setup_work->run != run) return;
    agent_later(x_random.between(0, 20), [this, run] {
      if (!x_agent->setup() || x_agent->setup()->run != run || x_agent->setup()->state != SetupState::done) return;
      x_world.hit("fault set-up breaks");
      step(agent::SetupBroke{run, {"AZFMountError", "as drawn", {}, false}});
    });
  });
}

void Machine::finish_setup(std::uint64_t run) {
  if (x_setup_work && x_setup_work->run == run) step(agent::SetUpEnded{run, x_setup_work->error});
}

void Machine::take_down_setup(std::uint64_t run) {
  const bool slow = x_random.chance(x_site.rates().slow_kill);
  agent_later(slow ? x_random.between(2'000, 15'000) : x_random.between(5, 800), [this, run] {
    setup_vanishes();
    step(agent::SetupTakenDown{run});
  });
}

void Machine::setup_vanishes() {
  if (!std::exchange(x_setup_work, std::nullopt)) return;
  x_oracle.setup_gone(x_index);
}

// ---- Faults of single processes ----

std::vector<AttemptId> Machine::heads() const {
  std::vector<AttemptId> ids;
  for (const auto& [id, work] : x_work) {
    if (work.head_alive && !work.head_lost && !work.stopping) ids.push_back(id);
  }
  return ids;
}

std::vector<AttemptId> Machine::ranks() const {
  std::vector<AttemptId> ids;
  for (const auto& [id, work] : x_work) {
    if (work.rank_alive && !work.peer_lost && !work.stopping) ids.push_back(id);
  }
  return ids;
}

void Machine::lose_head_shim(AttemptId id) {
  Work& work = x_work.at(id);
  work.head_lost = true;
  if (x_random.chance(500)) {  // the payload dies with its pipes, or goes on without anybody above it
    work.head_alive = false;
    work.daemon_alive = work.daemon_alive || x_random.chance(300);
    became(id, true);
  }
  agent_later(x_random.between(0, 100), [this, id] {
    step(agent::HeadEnded{id, {}, {"ShimLost", "shim lost", {}, true}});
  });
}

void Machine::lose_peer_shim(AttemptId id) {
  Work& work = x_work.at(id);
  work.peer_lost = true;
  agent_later(x_random.between(0, 100), [this, id] { step(agent::PeerLost{id, {"ShimLost", "shim lost", {}, true}}); });
  if (!x_random.chance(700)) return;
  work.rank_alive = false;
  became(id, true);
  x_site.member_gone(x_index, id, true);
}

void Machine::exceed_memory(AttemptId id) {
  x_work.at(id).out_of_memory = true;
  say_out_of_memory(id, x_random.between(0, 300));
  vanish_rank(id);
}

void Machine::say_out_of_memory(AttemptId id, DurationMs after_ms) {
  agent_later(after_ms, [this, id] { step(agent::LimitExceeded{id, {"OutOfMemory", "too much", {}, false}}); });
}

void Machine::vanish_rank(AttemptId id) {
  end_rank(id);
  x_site.member_gone(x_index, id, false);
}

bool Machine::idle() const {
  for (const auto& [id, work] : x_work) {
    if (work.alive()) return false;
  }
  return x_agent != nullptr && x_agent->holdings().empty() && x_work.empty();
}

}  // namespace trainyard::simulator
