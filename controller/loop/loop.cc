#include "controller/loop/loop.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <utility>
#include <variant>
#include <vector>

#include "controller/loop/clock.h"
#include "controller/loop/dispatch.h"
#include "controller/loop/heartbeat.h"
#include "controller/loop/inbox.h"
#include "controller/plan/plan.h"

namespace trainyard::controller {

namespace {

constexpr DurationMs kTickEveryMs = 1000;
// A deadline that has passed but still stands must not turn the loop into a busy one.
constexpr DurationMs kTickAtLeastMs = 5;

using Item = std::variant<EventBody, Query>;

}  // namespace

struct Loop::Impl {
  Impl(core::Settings settings, storage::Store& rows, core::Tables tables, TimeMs wall_now_ms,
       const plan::Settings& scheduling_settings)
      : store(rows),
        scheduling(scheduling_settings),
        look_every(look_every_ms(settings.unreachable_after_ms)),
        clock(wall_now_ms, tables.meta.last_now_ms),
        core(std::move(settings), std::move(tables), clock.now_ms()),
        last_tick_ms(clock.now_ms()),
        timer(io) {}

  // Any thread.
  bool post(Item item);

  void on_wake();
  // False: the commit failed.
  bool run_batch();
  void step(EventBody body, TimeMs now_ms);
  void look_at_heartbeats(TimeMs now_ms);
  TimeMs next_tick_ms() const;
  void arm_timer();

  storage::Store& store;
  const plan::Settings scheduling;
  const DurationMs look_every;
  Clock clock;
  core::Core core;
  Outbox* outbox = nullptr;
  TimeMs last_tick_ms, last_look_ms = 0;

  std::deque<Item> pending;  // taken from the inbox, not yet in a batch
  std::vector<Query> queries;
  TimeMs armed_for_ms = 0;  // what the timer waits for; 0: nothing
  bool commit_failed = false;

  std::atomic<std::size_t> waiting = 0;  // in inbox and pending
  Inbox<Item> inbox;
  boost::asio::io_context io{1};
  boost::asio::steady_timer timer;
};

bool Loop::Impl::post(Item item) {
  if (waiting.fetch_add(1, std::memory_order_relaxed) >= kInboxLimit) {
    waiting.fetch_sub(1, std::memory_order_relaxed);
    return false;
  }
  // One wake-up for all that arrives until the loop looks.
  if (inbox.push(std::move(item))) boost::asio::post(io, [this] { on_wake(); });
  return true;
}

void Loop::Impl::on_wake() {
  inbox.take_all(pending);
  if (pending.empty() && clock.now_ms() < next_tick_ms()) return;
  if (!run_batch()) {
    commit_failed = true;
    io.stop();
    return;
  }
  if (!pending.empty()) boost::asio::post(io, [this] { on_wake(); });
  arm_timer();
}

bool Loop::Impl::run_batch() {
  const TimeMs now_ms = clock.now_ms();
  if (now_ms >= next_tick_ms()) {
    last_tick_ms = now_ms;
    look_at_heartbeats(now_ms);
    step(core::Tick{}, now_ms);
  }
  const std::size_t count = std::min(pending.size(), kBatchLimit);
  for (std::size_t taken = 0; taken < count; ++taken) {
    Item item = std::move(pending.front());
    pending.pop_front();
    if (auto* query = std::get_if<Query>(&item)) {
      queries.push_back(std::move(*query));
    } else {
      step(std::move(std::get<EventBody>(item)), now_ms);
    }
  }
  waiting.fetch_sub(count, std::memory_order_relaxed);
  if (core.wants_plan()) core.apply_plan(plan::make_plan(core.state(), now_ms, scheduling), now_ms);

  const core::Outcome outcome = core.take_outcome();
  if (!outcome.changes.empty()) {
    if (Status committed = store.commit(outcome.changes); !committed) {
      spdlog::critical("the state could not be written, the controller ends: {}", committed.error().message);
      return false;
    }
  }
  dispatch(outcome.actions, core.state(), now_ms, *outbox);
  for (const Query& query : queries) query(core.state(), now_ms);
  queries.clear();
  return true;
}

void Loop::Impl::step(EventBody body, TimeMs now_ms) {
  core.step(core::Event{now_ms, std::move(body)});
}

// Before anything is concluded from a node's silence.
void Loop::Impl::look_at_heartbeats(TimeMs now_ms) {
  if (now_ms - last_look_ms < look_every) return;
  last_look_ms = now_ms;
  for (core::NodeHeard& heard : outbox->take_heard(now_ms)) step(std::move(heard), now_ms);
}

TimeMs Loop::Impl::next_tick_ms() const {
  const TimeMs latest = last_tick_ms + kTickEveryMs;
  const TimeMs deadline = core.next_deadline();
  return deadline == 0 ? latest : std::clamp(deadline, last_tick_ms + kTickAtLeastMs, latest);
}

void Loop::Impl::arm_timer() {
  const TimeMs due_ms = next_tick_ms();
  if (armed_for_ms != 0 && armed_for_ms <= due_ms) return;  // it fires in time, finds nothing due and is armed again
  armed_for_ms = due_ms;
  timer.expires_after(std::chrono::milliseconds(std::max<DurationMs>(0, due_ms - clock.now_ms())));
  timer.async_wait([this](const boost::system::error_code& cancelled) {
    if (cancelled) return;
    armed_for_ms = 0;
    on_wake();
    arm_timer();
  });
}

Loop::Loop(core::Settings settings, storage::Store& store, core::Tables tables, TimeMs wall_now_ms,
           const plan::Settings& scheduling)
    : x_impl(std::make_unique<Impl>(std::move(settings), store, std::move(tables), wall_now_ms, scheduling)) {}

Loop::~Loop() = default;

bool Loop::post(EventBody body) {
  return x_impl->post(std::move(body));
}

TimeMs Loop::now_ms() const {
  return x_impl->clock.now_ms();
}

bool Loop::query(Query query) {
  return x_impl->post(std::move(query));
}

int Loop::run(Outbox& outbox) {
  Impl& impl = *x_impl;
  impl.outbox = &outbox;
  // What a start itself decided (orders to say again) is committed and spoken before the first event.
  if (!impl.run_batch()) return 1;
  impl.arm_timer();
  const auto stay = boost::asio::make_work_guard(impl.io);
  impl.io.run();
  return impl.commit_failed ? 1 : 0;
}

void Loop::stop() {
  x_impl->io.stop();
}

}  // namespace trainyard::controller
