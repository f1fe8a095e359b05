// One agent core whose spool is remembered as the loop would, so that it can be restarted; orders in a line.
#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <utility>
#include <vector>

#include "agent/core/agent_core.h"

namespace trainyard::agent::test {

inline constexpr AttemptId kJob{JobId{17}, 1};

inline HoldingOrder order(HoldingPhase phase, AttemptId id = kJob, std::uint32_t member = 0) {
  HoldingOrder order{.id = id, .phase = phase, .member = member, .lease_ms = 10'000, .grace_ms = 300};
  if (phase != HoldingPhase::stop) {
    auto launch = std::make_shared<Launch>();
    launch->spec.recovery.grace_ms = 700;
    order.launch = launch;
  }
  return order;
}

inline Orders orders(std::uint64_t revision, std::vector<HoldingOrder> holdings = {}) {
  return {.store_generation = "s1",
          .node_epoch = "e1",
          .revision = revision,
          .cluster = "g/w/c",
          .holdings = std::move(holdings)};
}

// An agent whose spool is remembered as the executor would, so that it can be restarted.
struct Node {
  Spool spool;
  TimeMs now = 1'000'000;
  std::unique_ptr<AgentCore> core;
  std::vector<Action> actions;

  explicit Node(bool connected = true) {
    restart();
    if (connected) connect();
  }
  void restart() {
    core = std::make_unique<AgentCore>(Settings{.report_every_ms = 1'000}, "n1", "e1", Inventory{}, spool, now);
    step(Tick{});
  }
  void connect() {
    step(LinkUp{});
    acknowledge();
  }
  template <class Body>
  std::vector<Action> step(Body body) {
    actions = core->step({now, std::move(body)});
    for (const Action& action : actions) keep(action);
    return actions;
  }
  void keep(const Action& action) {
    if (const auto* persist = std::get_if<PersistOrders>(&action)) {
      spool.revision = persist->revision;
      spool.store_generation = persist->store_generation;
      spool.tombstones = persist->tombstones;
      spool.acked_send_ms = persist->acked_send_ms;
    }
    if (std::holds_alternative<PersistSetup>(action)) spool.setup = core->setup();
    if (const auto* persist = std::get_if<PersistHolding>(&action)) {
      std::erase_if(spool.holdings, [&](const HeldAttempt& held) { return held.id == persist->id; });
      spool.holdings.push_back(core->holdings().at(persist->id));
    }
    if (const auto* forget = std::get_if<ForgetHolding>(&action)) {
      std::erase_if(spool.holdings, [&](const HeldAttempt& held) { return held.id == forget->id; });
    }
  }
  template <class T>
  const T* did() const {
    for (const Action& action : actions) {
      if (const auto* found = std::get_if<T>(&action)) return found;
    }
    return nullptr;
  }
  // The newest report or "same" of the last step is acknowledged.
  void acknowledge() {
    std::uint64_t sequence = 0;
    if (const auto* report = did<SendReport>()) sequence = report->report.sequence;
    if (const auto* same = did<SendSame>()) sequence = same->sequence;
    REQUIRE(sequence != 0);
    step(ReportAcknowledged{sequence});
  }
  HoldingState state(AttemptId id = kJob) const { return core->holdings().at(id).state; }
  void run_job(std::uint32_t member = 0) {
    step(OrdersArrived{orders(1, {order(HoldingPhase::prepare, kJob, member)})});
    step(Prepared{kJob, std::nullopt});
    step(OrdersArrived{orders(2, {order(HoldingPhase::run, kJob, member)})});
    if (member == 0) step(HeadStarted{kJob, std::nullopt});
  }
};

template <class T>
std::size_t position(const std::vector<Action>& actions) {
  for (std::size_t i = 0; i < actions.size(); ++i) {
    if (std::holds_alternative<T>(actions[i])) return i;
  }
  return actions.size();
}

}  // namespace trainyard::agent::test
