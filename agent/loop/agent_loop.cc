#include "agent/loop/agent_loop.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <cstdlib>
#include <utility>

#include "agent/exec/cgroup.h"
#include "agent/exec/files.h"
#include "agent/exec/tasks.h"
#include "agent/loop/container_call.h"
#include "agent/volumes/helper.h"
#include "common/wall_clock.h"

namespace trainyard::agent {
namespace {

constexpr DurationMs kFirstBackoffMs = 100;
constexpr int kExitSpool = 74;    // EX_IOERR
constexpr int kExitRefused = 77;  // EX_NOPERM

// Its process is only started where there is a GPU to ask about.
std::shared_ptr<GpuWatch> gpu_watch(const ExecutorContext& context, const LoopSettings& settings,
                                    const Inventory& inventory) {
  const auto real = [](const Gpu& gpu) { return !gpu.pretend; };
  if (std::none_of(inventory.gpus.begin(), inventory.gpus.end(), real)) return nullptr;
  GpuWatch::Patience patience;
  patience.answer_ms = std::min(patience.answer_ms, settings.counters_every_ms / 2);
  return std::make_shared<GpuWatch>(context.io, context.gpus_program, patience);
}

}  // namespace

AgentLoop::AgentLoop(ExecutorContext& context, LoopSettings settings, LinkSettings link, SpoolDirectory spool,
                     Inventory inventory)
    : x_context(context),
      x_settings(settings),
      x_spool(std::move(spool)),
      x_mounter(make_mounter(context.io, context.helper_argv, shared_mounts(context))),
      x_core(settings.core, context.node_name, x_spool.epoch(), inventory, x_spool.for_core(), boottime_ms()),
      x_link(
          std::move(link), [&io = context.io](std::function<void()> what) { boost::asio::post(io, std::move(what)); },
          link_handlers()),
      x_relay(context, relay_hooks()),
      x_files(context, [this](const std::string& call_id,
                              FileHandlers handlers) { return x_link.open_file(call_id, std::move(handlers)); }),
      x_execs(
          context,
          [this](const std::string& call_id, ExecHandlers handlers) {
            return x_link.open_exec(call_id, std::move(handlers));
          },
          [this](AttemptId id, const std::string& script) { return process_in(id, script); }),
      x_gpu_watch(gpu_watch(context, settings, inventory)),
      x_counters(
          context.io, settings.counters_every_ms, x_gpu_watch, [this] { return read_holdings(); },
          [this](const CounterSample& sample) { x_link.send(sample); }),
      x_machine(
          context.io, x_gpu_watch, inventory, settings.watch,
          [this](const Inventory& changed) {
            x_context.gpus = changed.gpus;
            feed(InventoryChanged{changed});
          },
          [this] { return x_core.holdings().empty(); }),
      x_nfs(context, {.up = [this](FileServerUp outcome) { feed(std::move(outcome)); },
                      .down = [this](FileServerDown outcome) { feed(std::move(outcome)); },
                      .removed = [this](FileServerRemoved outcome) { feed(std::move(outcome)); }}),
      x_tick(context.io),
      x_redial(context.io),
      x_silence(context.io),
      x_random(static_cast<std::uint32_t>(boottime_ms())) {
  x_context.mounter = x_mounter.get();
  x_context.facts.cluster = x_spool.record().cluster;
}

AgentLoop::~AgentLoop() = default;

void AgentLoop::start() {
  x_counters.start();
  x_machine.start();
  x_execs.sweep();
  clean_leftovers();
}

void AgentLoop::reload(const LoopSettings& settings) {
  x_settings.reconnect_max_ms = settings.reconnect_max_ms;
  x_settings.core = settings.core;
  x_core.set_report_interval(settings.core.report_every_ms);
  x_counters.set_interval(settings.counters_every_ms);
  x_machine.forget_faults();
  schedule_tick();
}

void AgentLoop::shut_down() {
  if (std::exchange(x_shutting_down, true)) return;
  spdlog::info("leaving; jobs go on under their shims");
  x_tick.cancel();
  x_redial.cancel();
  x_silence.cancel();
  x_counters.stop();
  x_machine.stop();
  if (!x_link.connected()) return x_context.io.stop();
  x_link.disconnect();
  x_redial.expires_after(std::chrono::seconds(1));
  x_redial.async_wait([this](const boost::system::error_code&) { x_context.io.stop(); });
}

// ---- Taking up ----

// A spool that was lost, or a boot of the machine, means a new epoch: the controller may give everything out again, so
// whatever no holding of ours accounts for is ended before the first report.
void AgentLoop::clean_leftovers() {
  std::vector<std::string> names = names_found(x_context), kept;
  for (const auto& [id, held] : x_core.holdings()) {
    kept.push_back(name_of_attempt(x_spool.record().store_generation, id));
    std::erase(names, kept.back());
  }
  sweep_containers(x_context, kept);
  if (const auto& setup = x_core.setup()) {
    std::erase(names, name_of_setup(x_spool.record().store_generation, setup->run));
    // Of an earlier run only spool files can be left, and where it was mounted the present one is.
    for (const std::string& name : names) {
      if (is_setup_name(name)) remove_spool(name);
    }
    std::erase_if(names, is_setup_name);
  }
  x_leftovers = names.size();
  if (names.empty()) return take_up();
  for (const std::string& name : names) {
    spdlog::warn("cleaning {}: left behind by an earlier life of this agent", name);
    const Place place = place_of(x_context, name);
    std::make_shared<Cleaner>(
        x_context, place, std::vector<Volume>{}, nullptr, Cleaner::SharedTemp{},
        [name](const std::string& line) { spdlog::warn("{}: {}", name, line); },
        [this, place](CleanupReceipt receipt) {
          spdlog::info("{}: clean ({} processes, {} mounts, {} directories)", place.name, receipt.processes_killed,
                       receipt.mounts_removed, receipt.directories_removed);
          run_helper(x_context.io, helper_command(x_context, {"remove", place.spool}), {}, 600'000,
                     [this](HelperResult) { leftover_cleaned(); });
        })
        ->start(0);
  }
}

void AgentLoop::leftover_cleaned() {
  if (--x_leftovers == 0) take_up();
}

std::map<AttemptId, HoldingReading> AgentLoop::read_holdings() {
  std::map<AttemptId, HoldingReading> readings;
  for (const auto& [id, held] : x_core.holdings()) {
    if (held.state == HoldingState::clean) continue;
    const Cgroup cgroup(place_of(x_context, name_of_attempt(x_spool.record().store_generation, id)).job_cgroup());
    if (cgroup.exists()) readings[id] = {cgroup.cpu_time_us(), cgroup.memory_bytes()};
  }
  return readings;
}

void AgentLoop::take_up() {
  if (x_shutting_down) return;
  if (const auto made = make_mount_root(x_context); !made) spdlog::error("{}", made.error().message);
  for (const auto& [id, held] : x_core.holdings()) {
    if (held.state == HoldingState::clean) continue;
    const auto executor = executor_of(id);
    // What was preparing or stopping is taken up by the core's first step.
    if (held.state == HoldingState::preparing || held.state == HoldingState::stopping) continue;
    opened(id);
    executor->adopt(held);
  }
  if (const auto& setup = x_core.setup(); setup && setup->state == SetupState::done) setup_executor()->adopt();
  // Also those of file operations that an earlier life was at.
  x_files.forget_mounts();
  feed(Tick{});
  connect();
}

// ---- Inputs and actions ----

void AgentLoop::feed(Body body) {
  x_inputs.push_back(std::move(body));
  if (!x_draining) drain();
}

void AgentLoop::drain() {
  x_draining = true;
  while (!x_inputs.empty() && !x_shutting_down) {
    Input input{boottime_ms(), std::move(x_inputs.front())};
    x_inputs.pop_front();
    if (const auto* arrived = std::get_if<OrdersArrived>(&input.body)) x_waiting_cluster = arrived->orders.cluster;
    execute(x_core.step(input));
    tell_shims_the_lease();
  }
  x_draining = false;
  schedule_tick();
}

void AgentLoop::execute(const std::vector<Action>& actions) {
  spool(actions);
  for (const Action& action : actions) {
    std::visit([this](const auto& body) { carry_out(body); }, action);
  }
  follow_phases();
}

// A lease that is not told ends early, never late: the attempt is then lost, not doubled.
void AgentLoop::tell_shims_the_lease() {
  if (const auto told = x_spool.write_lease(x_core.acked_send_ms()); !told) spdlog::error("{}", told.error().message);
}

// Everything that the step wants kept goes to the disk in one write, before any of its other actions.
void AgentLoop::spool(const std::vector<Action>& actions) {
  bool wanted = false;
  for (const Action& action : actions) {
    if (const auto* orders = std::get_if<PersistOrders>(&action)) {
      SpoolRecord& record = x_spool.record();
      record.revision = orders->revision;
      record.store_generation = orders->store_generation;
      record.acked_send_ms = orders->acked_send_ms;
      record.tombstones = orders->tombstones;
      record.cluster = x_context.facts.cluster = x_waiting_cluster;
    }
    wanted = wanted || std::holds_alternative<PersistOrders>(action) ||
             std::holds_alternative<PersistHolding>(action) || std::holds_alternative<ForgetHolding>(action) ||
             std::holds_alternative<PersistSetup>(action);
  }
  if (!wanted) return;
  if (const auto saved = x_spool.save(x_core.holdings(), x_core.setup()); !saved) {
    // Nothing was said or done yet: a restarted agent begins from the last whole state. Jobs go on under their shims.
    spdlog::critical("the spool cannot be written: {}; the agent ends", saved.error().message);
    spdlog::shutdown();
    std::_Exit(kExitSpool);
  }
}

void AgentLoop::carry_out(const Prepare& action) {
  const auto executor = executor_of(action.id);
  executor->prepare();
  opened(action.id);
}

void AgentLoop::carry_out(const PinImage& action) {
  executor_of(action.id)->pin_image(x_core.holdings().at(action.id).pinned_digest);
}

void AgentLoop::carry_out(const StartHead& action) {
  executor_of(action.id)->start_head();
}

void AgentLoop::carry_out(const Stop& action) {
  executor_of(action.id)->stop(action.grace_ms, action.notice_ms);
}

void AgentLoop::carry_out(const ForgetHolding& action) {
  x_relay.close(action.id);
  x_run_told.erase(action.id);
  const auto found = x_executors.find(action.id);
  const std::string name = found != x_executors.end() ? found->second->place().name
                                                      : name_of_attempt(x_spool.record().store_generation, action.id);
  if (found != x_executors.end()) x_executors.erase(found);
  remove_spool(name);
}

// Spool files of a job are few; still they are removed beside the loop. What a crash leaves is found at the start.
void AgentLoop::remove_spool(const std::string& name) {
  run_helper(x_context.io, helper_command(x_context, {"remove", place_of(x_context, name).spool}), {}, 60'000,
             [name](HelperResult result) {
               if (result.exit_code != 0) spdlog::warn("{}: spool not removed: {}", name, result.error);
             });
}

void AgentLoop::carry_out(const SetUp&) {
  setup_executor()->set_up();
}

void AgentLoop::carry_out(const TakeDownSetup&) {
  setup_executor()->take_down();
}

void AgentLoop::carry_out(const SendReport& action) {
  x_link.send(action.report);
}

void AgentLoop::carry_out(const SendSame& action) {
  x_link.send_same(action.sequence, action.orders_revision);
}

void AgentLoop::follow_phases() {
  for (const auto& [id, held] : x_core.holdings()) {
    if (!held.run_ordered || x_run_told[id] || !x_core.accepts_launch(id)) continue;
    x_run_told[id] = true;
    if (const auto executor = find_executor(id)) executor->run();
    x_relay.phase_run(id);
  }
}

void AgentLoop::schedule_tick() {
  if (x_shutting_down) return;
  const DurationMs wait = std::max<DurationMs>(0, x_core.next_deadline() - boottime_ms());
  x_tick.expires_after(std::chrono::milliseconds(wait));
  x_tick.async_wait([this](const boost::system::error_code& error) {
    if (!error) feed(Tick{});
  });
}

// ---- Executors ----

std::shared_ptr<Executor> AgentLoop::find_executor(AttemptId id) {
  const auto found = x_executors.find(id);
  return found == x_executors.end() ? nullptr : found->second;
}

std::shared_ptr<Executor> AgentLoop::executor_of(AttemptId id) {
  if (const auto found = find_executor(id)) return found;
  Executor::Events events;
  events.prepared = [this](Prepared outcome) { feed(std::move(outcome)); };
  events.image_known = [this](ImageKnown outcome) { feed(std::move(outcome)); };
  events.progress_told = [this](ProgressTold outcome) { feed(std::move(outcome)); };
  events.head_started = [this](HeadStarted outcome) { feed(std::move(outcome)); };
  events.head_ended = [this](HeadEnded outcome) { feed(std::move(outcome)); };
  events.limit_exceeded = [this](LimitExceeded outcome) { feed(std::move(outcome)); };
  events.stuck = [this](Stuck outcome) { feed(std::move(outcome)); };
  events.cleaned = [this](Cleaned outcome) { cleaned(std::move(outcome)); };
  const Place place = place_of(x_context, name_of_attempt(x_spool.record().store_generation, id));
  const auto executor = std::make_shared<Executor>(x_context, place, x_core.holdings().at(id), std::move(events));
  x_executors.emplace(id, executor);
  return executor;
}

// A GPU is only given back with its memory free, or as faulty.
void AgentLoop::cleaned(Cleaned outcome) {
  x_relay.close(outcome.id);
  const auto held = x_core.holdings().find(outcome.id);
  if (held == x_core.holdings().end()) return feed(std::move(outcome));
  x_machine.wait_for_memory(held->second.gpu_uuids, [this, outcome](const std::optional<CleanupPart>& part) mutable {
    if (part) {
      outcome.receipt.parts.push_back(*part);
      outcome.receipt.took_ms += part->took_ms;
    }
    feed(std::move(outcome));
  });
}

// One run at a time: the next one begins when the core heard that nothing is left of this one.
std::shared_ptr<SetupExecutor> AgentLoop::setup_executor() {
  if (x_setup_executor) return x_setup_executor;
  const HeldSetup& held = *x_core.setup();
  SetupExecutor::Events events;
  events.ended = [this](SetUpEnded outcome) { feed(std::move(outcome)); };
  events.broke = [this](SetupBroke outcome) { feed(std::move(outcome)); };
  events.taken_down = [this](SetupTakenDown outcome) { setup_taken_down(outcome); };
  const Place place = place_of(x_context, name_of_setup(x_spool.record().store_generation, held.run));
  x_setup_executor = std::make_shared<SetupExecutor>(x_context, place, held, std::move(events));
  return x_setup_executor;
}

void AgentLoop::setup_taken_down(SetupTakenDown outcome) {
  x_setup_executor = nullptr;
  remove_spool(name_of_setup(x_spool.record().store_generation, outcome.run));
  feed(outcome);
}

// Launchers run where there is another node to ask, or where Trainyard starts the job's processes itself.
void AgentLoop::opened(AttemptId id) {
  const HeldAttempt& held = x_core.holdings().at(id);
  if (held.launch && (held.launch->members.size() > 1 || starts_tasks(held.launch->spec))) x_relay.open(id);
}

LaunchRelay::Hooks AgentLoop::relay_hooks() {
  return {.send_call = [this](const LaunchCall& call) { x_link.send(call); },
          .send_status = [this](const LaunchStatus& status) { x_link.send(status); },
          .accepts_launch = [this](AttemptId id) { return x_core.accepts_launch(id); },
          .may_accept_later =
              [this](AttemptId id) {
                const auto held = x_core.holdings().find(id);
                return held != x_core.holdings().end() && !held->second.run_ordered &&
                       (held->second.state == HoldingState::preparing || held->second.state == HoldingState::ready);
              },
          .executor = [this](AttemptId id) { return find_executor(id); },
          .peer_lost = [this](PeerLost lost) { feed(std::move(lost)); }};
}

Result<ShimSpec> AgentLoop::process_in(AttemptId id, const std::string& script) {
  const auto executor = find_executor(id);
  if (executor && x_core.accepts_launch(id)) return executor->process(script);
  return Error{Code::failed_precondition, "the job does not run on node " + x_context.node_name + " now"};
}

// ---- The link ----

LinkHandlers AgentLoop::link_handlers() {
  return {.on_message =
              [this] {
                x_last_heard_ms = boottime_ms();
                if (std::exchange(x_heard, true)) return;
                x_backoff_ms = 0;
                spdlog::info("connected to the controller");
              },
          .on_down = [this](const std::string& reason) { link_ended(reason); },
          .on_orders = [this](Orders orders) { feed(OrdersArrived{std::move(orders)}); },
          .on_acknowledged = [this](std::uint64_t sequence) { feed(ReportAcknowledged{sequence}); },
          .on_launch = [this](const LaunchCall& call) { x_relay.on_call(call); },
          .on_launch_status = [this](const LaunchStatus& status) { x_relay.on_status(status); },
          .on_file_call = [this](const std::string& call_id) { x_files.serve(call_id); },
          .on_exec_call = [this](const std::string& call_id) { x_execs.serve(call_id); },
          .on_refused = [this](const std::string& reason) { refused(reason); }};
}

void AgentLoop::connect() {
  if (x_shutting_down) return;
  x_heard = false;
  x_last_heard_ms = boottime_ms();
  x_link.connect();
  feed(LinkUp{.wall_ms = wall_clock_ms()});
  x_relay.link_up();
  watch_silence();
}

// A connection can die without a word. The controller answers every report, so that silence over several means it is
// not there; leases of seconds cannot wait for TCP to find out.
void AgentLoop::watch_silence() {
  const DurationMs patience = 3 * x_settings.core.report_every_ms + 2'000;
  const DurationMs left = x_last_heard_ms + patience - boottime_ms();
  if (left <= 0) {
    spdlog::warn("nothing heard from the controller for {} ms; dialling again", patience);
    return x_link.disconnect();
  }
  x_silence.expires_after(std::chrono::milliseconds(left));
  x_silence.async_wait([this](const boost::system::error_code& error) {
    if (!error) watch_silence();
  });
}

void AgentLoop::link_ended(const std::string& reason) {
  x_silence.cancel();
  x_execs.cancel_all();
  if (x_shutting_down) return x_context.io.stop();
  feed(LinkDown{});
  x_backoff_ms = x_backoff_ms == 0 ? kFirstBackoffMs : std::min(x_backoff_ms * 3 / 2, x_settings.reconnect_max_ms);
  // The first failure and then each at the longest pause: a controller that is away must not fill the log.
  if (x_heard || x_backoff_ms == kFirstBackoffMs) spdlog::warn("no stream to the controller: {}", reason);
  std::uniform_int_distribution<DurationMs> jitter(x_backoff_ms / 2, x_backoff_ms);
  x_redial.expires_after(std::chrono::milliseconds(jitter(x_random)));
  x_redial.async_wait([this](const boost::system::error_code& error) {
    if (!error) connect();
  });
}

void AgentLoop::refused(const std::string& reason) {
  spdlog::critical("the controller refused this agent: {}", reason);
  x_exit_code = kExitRefused;
  shut_down();
}

}  // namespace trainyard::agent
