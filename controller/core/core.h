// The decision core: one thread, no I/O, no clock, no random numbers. `step` takes an event, changes the state and says
// what must be written (changes) and done (actions). Same state + same events = same result, on every compiler.
//
// A batch of the controller is:  step(event)*  ->  apply_plan(make_plan(state))  ->  take_outcome()  ->  commit  ->
// dispatch.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "controller/core/event.h"
#include "controller/core/placement.h"
#include "controller/core/state.h"

namespace trainyard::core {

// Durations that rule losing contact (DESIGN of the three points: unreachable, gang broken, fenced) and preparation.
struct Settings {
  DurationMs unreachable_after_ms = 30'000;
  DurationMs gang_abort_after_ms = 120'000;
  DurationMs kill_time_ms = 60'000;  // what an agent may need to kill after its lease ended
  DurationMs prepare_limit_ms = 30 * 60'000;
  DurationMs usage_half_life_ms = 7LL * 24 * 3600 * 1000;  // of GPU time that was had, for fair share
  PriorityClasses classes = {};
  DurationMs request_keep_ms = 30LL * 24 * 3600 * 1000;
  DurationMs fence_retry_ms = 30'000;  // a fence command that failed is run again after this long, while still needed
  // A node whose set-up failed is set up again after this long; the pause doubles up to the longest.
  DurationMs setup_retry_ms = 60'000, setup_retry_longest_ms = 30 * 60'000;
  std::vector<std::string> pools_with_fence_command;
};

// What one batch did. `wake_plan`: something that matters to placement changed.
struct Outcome {
  Changes changes;
  std::vector<Action> actions;
};

struct Engine;  // engine.h: internal

class Core {
 public:
  // The first outcome may already hold changes and actions (what a restart must ask the nodes again): take it and
  // commit.
  Core(Settings settings, Tables tables, TimeMs now_ms);
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // Applies one event. Effects are collected until take_outcome.
  void step(const Event& event);

  // Something that matters to placement changed since the last `apply_plan`.
  bool wants_plan() const;
  // Applies plan::make_plan(state(), now_ms): placements, cluster scaling. Clears wants_plan, unless tasks of arrays
  // took the place of what it placed: then another plan is due, now or in a later batch. The plan must have been made
  // from the present state: call it right after, with no step in between.
  void apply_plan(const Plan& plan, TimeMs now_ms);

  // Everything since the last call: whole changed rows, then actions in order. SendOrders appears at most once per
  // node.
  Outcome take_outcome();

  // The next time at which a Tick changes something, or a plan is due; 0: none.
  TimeMs next_deadline() const;

  const State& state() const;

  // Checks what the events since the last take_outcome touched; cheap at any size. check_invariants checks all.
  void check_touched() const;

 private:
  std::unique_ptr<Engine> x_engine;
};

// The node's complete orders, derived from its row and holdings. Pure.
Orders orders_for(const State& state, NodeId node);

// Aborts with the invariant's name when one is broken. Called after every simulated event.
void check_invariants(const State& state);

}  // namespace trainyard::core
