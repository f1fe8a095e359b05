#include "tests/support/simulator/controller_host.h"

#include <utility>

#include "controller/plan/plan.h"

namespace trainyard::simulator {
namespace {

constexpr std::size_t kInboxLimit = 4096;
constexpr std::size_t kBatchLimit = 512;
constexpr std::uint64_t kChecksBetween =
    5'000;  // events between two full checks of a state too large for one after each
// Everybody may have to give way, soon.
constexpr plan::Settings kScheduling{.preemption = plan::Preemption::classes, .preemption_min_run_ms = 20'000};

}  // namespace

ControllerHost::ControllerHost(World& world, Oracle& oracle, const Rates& rates, Listeners& listeners,
                               core::Settings settings)
    : x_world(world),
      x_oracle(oracle),
      x_rates(rates),
      x_listeners(listeners),
      x_settings(std::move(settings)),
      x_random(world.random.fork()),
      x_drift_per_million(x_random.between(-4000, 4000)) {
  x_disk.meta.store_generation = "store-1";
}

TimeMs ControllerHost::controller_now() const {
  const DurationMs up_ms = x_world.now_ms() - x_started_at_ms;
  return x_seed_ms + up_ms + up_ms * x_drift_per_million / 1'000'000;
}

void ControllerHost::later(DurationMs delay_ms, std::function<void()> what) {
  x_world.after(delay_ms, [this, life = x_life, what = std::move(what)] {
    if (life == x_life && x_core) what();
  });
}

void ControllerHost::start() {
  if (x_core) return;
  ++x_life;
  x_started_at_ms = x_world.now_ms();
  const TimeMs wall_ms = 1'700'000'000'000 + x_world.now_ms() + x_wall_offset_ms;
  x_seed_ms = std::max(wall_ms, x_disk.meta.last_now_ms);
  x_core = std::make_unique<core::Core>(x_settings, x_disk.tables(), controller_now());
  x_world.note("controller starts", x_life);
  core::check_invariants(x_core->state());
  x_busy = true;
  commit(x_core->take_outcome());
  schedule_deadline();
  // The loop's timer: a Tick every second.
  auto tick = std::make_shared<std::function<void()>>();
  *tick = [this, again = std::weak_ptr(tick)] {
    post(core::Tick{});
    if (const auto next = again.lock()) later(1'000, [next] { (*next)(); });
  };
  later(1'000, [tick] { (*tick)(); });
}

void ControllerHost::crash() {
  if (!x_core) return;
  x_world.note("controller crashes", x_life);
  if (x_committing && x_random.chance(500)) {
    x_world.hit("fault controller crash after commit, before speaking");
    x_oracle.committing(x_committing->changes, x_disk);
    if (!x_disk.apply(x_committing->changes)) x_world.fail("I7: the timeline has a gap");
  } else if (x_committing) {
    x_world.hit("fault controller crash before commit");
  }
  x_committing.reset();
  x_oracle.crashed();
  x_core.reset();
  ++x_life;
  x_inbox.clear();
  x_changed_by.clear();
  x_busy = false;
  x_deadline_at_ms = 0;
  x_looked_at_ms = 0;
  x_heartbeats.clear();
}

bool ControllerHost::post(EventBody body) {
  if (!x_core) return false;
  if (const auto* same = std::get_if<core::NodeSame>(&body); same != nullptr && renewed(*same)) return true;
  if (const auto* full = std::get_if<core::NodeReported>(&body)) {
    const std::string& node = full->report.node_name;
    for (auto it = x_heartbeats.lower_bound({node, ""}); it != x_heartbeats.end() && it->first.first == node; ++it) {
      it->second.close();
    }
  }
  if (x_inbox.size() >= kInboxLimit) return false;
  x_inbox.push_back(std::move(body));
  wake();
  return true;
}

controller::Heartbeat& ControllerHost::heartbeat_of(const std::string& node, const std::string& epoch) {
  return x_heartbeats.try_emplace({node, epoch}, controller::alone_ms(x_settings.unreachable_after_ms)).first->second;
}

bool ControllerHost::renewed(const core::NodeSame& same) {
  using Beat = controller::Heartbeat::Beat;
  const Beat beat = heartbeat_of(same.node_name, same.epoch).beat(controller_now(), same.orders_revision);
  if (beat == Beat::for_the_loop) return false;
  x_world.hit("lease renewed beside the core");
  if (beat == Beat::answer) x_listeners.acknowledge({same.node_name, same.epoch, same.sequence});
  return true;
}

void ControllerHost::look_at_heartbeats() {
  const TimeMs now_ms = controller_now();
  if (now_ms - x_looked_at_ms < controller::look_every_ms(x_settings.unreachable_after_ms)) return;
  x_looked_at_ms = now_ms;
  for (auto& [key, heartbeat] : x_heartbeats) {
    if (const auto at_ms = heartbeat.take(now_ms)) step(core::NodeHeard{key.first, key.second, *at_ms});
  }
}

void ControllerHost::wake() {
  if (x_busy || x_inbox.empty()) return;
  x_busy = true;
  later(x_random.between(0, 1), [this] { batch(); });
}

void ControllerHost::batch() {
  for (std::size_t taken = 0; taken < kBatchLimit && !x_inbox.empty(); ++taken) {
    EventBody body = std::move(x_inbox.front());
    x_inbox.pop_front();
    if (std::holds_alternative<core::Tick>(body)) look_at_heartbeats();
    step(std::move(body));
  }
  if (x_core->wants_plan()) {
    const TimeMs now_ms = controller_now();
    x_core->apply_plan(plan::make_plan(x_core->state(), now_ms, kScheduling), now_ms);
    check();
  }
  x_core->check_touched();
  commit(x_core->take_outcome());
}

void ControllerHost::step(EventBody body) {
  const auto* command = std::get_if<core::Command>(&body);
  const core::Ticket ticket = command ? command->ticket : 0;
  const std::uint64_t before = command && is_small() ? digest(x_core->state()) : 0;
  x_core->step({controller_now(), std::move(body)});
  ++x_world.core_events;
  if (ticket != 0) x_changed_by[ticket] = is_small() && digest(x_core->state()) != before;
  if (!is_small() && x_world.core_events % kChecksBetween == 0) core::check_invariants(x_core->state());
  check();
}

bool ControllerHost::is_small() const {
  return x_world.options.nodes <= x_world.options.full_check_nodes;
}

void ControllerHost::check() {
  if (!is_small()) return;
  core::check_invariants(x_core->state());
  x_oracle.held(x_core->state().meta.last_now_ms, x_core->state());
}

void ControllerHost::commit(core::Outcome outcome) {
  x_committing = std::make_unique<core::Outcome>(std::move(outcome));
  DurationMs takes_ms = x_random.between(0, 3);
  if (x_random.chance(x_rates.slow_commit)) {
    x_world.hit("fault slow disk");
    takes_ms = x_random.between(200, 4'000);
  }
  later(takes_ms, [this] {
    x_oracle.committing(x_committing->changes, x_disk);
    if (!x_disk.apply(x_committing->changes)) x_world.fail("I7: the timeline has a gap");
    const auto done = std::exchange(x_committing, nullptr);
    dispatch(*done);
    if (!x_core) return;  // crashed while it spoke
    x_busy = false;
    schedule_deadline();
    wake();
  });
}

void ControllerHost::dispatch(const core::Outcome& outcome) {
  const bool crashes = !outcome.actions.empty() && x_random.chance(x_rates.controller_crash_in_dispatch);
  const std::size_t spoken = crashes ? x_random.below(outcome.actions.size()) : outcome.actions.size();
  for (std::size_t at = 0; at < spoken; ++at) say(outcome.actions[at]);
  if (!crashes) return;
  x_world.hit("fault controller crash while speaking");
  crash();
  x_world.after(x_random.between(100, 8'000), [this] { start(); });
}

void ControllerHost::say(const core::Action& action) {
  if (const auto* reply = std::get_if<core::Reply>(&action)) {
    const auto changed = x_changed_by.extract(reply->ticket);
    x_listeners.reply(reply->ticket, reply->result, !changed.empty() && changed.mapped());
  } else if (const auto* orders = std::get_if<core::SendOrders>(&action)) {
    const auto node = x_core->state().nodes.find(orders->node);
    if (node == x_core->state().nodes.end()) return;
    heartbeat_of(node->second.name, node->second.epoch).close();
    x_listeners.send_orders(node->second.name, core::orders_for(x_core->state(), orders->node));
  } else if (const auto* acknowledge = std::get_if<core::Acknowledge>(&action)) {
    controller::Heartbeat& heartbeat = heartbeat_of(acknowledge->node_name, acknowledge->epoch);
    heartbeat.close();
    const auto node = x_core->state().node_by_name.find(acknowledge->node_name);
    const bool the_only_one = node != x_core->state().node_by_name.end() &&
                              x_core->state().nodes.at(node->second).epoch == acknowledge->epoch;
    if (acknowledge->settled_revision != 0 && the_only_one)
      heartbeat.open(controller_now(), acknowledge->settled_revision);
    x_listeners.acknowledge(*acknowledge);
  } else if (const auto* refuse = std::get_if<core::Refuse>(&action)) {
    x_listeners.refuse(*refuse);
  } else if (const auto* fence = std::get_if<core::RunFence>(&action)) {
    x_listeners.run_fence(*fence);
  }
}

void ControllerHost::schedule_deadline() {
  const TimeMs deadline = x_core->next_deadline();
  if (deadline == 0) return;
  const DurationMs wait_ms = std::max<DurationMs>(1, deadline - controller_now());
  const TimeMs at_ms = x_world.now_ms() + wait_ms;
  if (wait_ms >= 1'000 || (x_deadline_at_ms > x_world.now_ms() && x_deadline_at_ms <= at_ms))
    return;  // a Tick comes anyway
  x_deadline_at_ms = at_ms;
  later(wait_ms, [this] { post(core::Tick{}); });
}

}  // namespace trainyard::simulator
