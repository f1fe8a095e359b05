#include "simulate/agents.h"

#include "common/check.h"

namespace trainyard::simulate {

namespace {

constexpr const char* kEpoch = "boot";

}  // namespace

Agents::Agents(const Scenario& scenario) : x_prepare_ms(scenario.prepare_ms), x_clean_ms(scenario.clean_ms) {
  for (const ClusterShape::Nodes& some : scenario.cluster.nodes) {
    for (std::uint32_t i = 0; i < some.count; ++i) {
      const std::string name = "n" + std::to_string(x_agents.size() + 1);
      Agent& agent = x_agents[name];
      agent.inventory.flavour = kFlavour;
      for (std::uint32_t gpu = 0; gpu < some.gpus; ++gpu) {
        agent.inventory.gpus.push_back({name + "-" + std::to_string(gpu), kFlavour, 0, true});
      }
      x_talkative.insert(name);
    }
  }
}

void Agents::later(TimeMs at_ms, const std::string& node, AttemptId id, HoldingState becomes) {
  x_timers.insert({at_ms, x_timer++, node, id, becomes});
}

void Agents::take(const std::string& node, const Orders& orders, TimeMs now_ms) {
  Agent& agent = x_agents.at(node);
  agent.store_generation = orders.store_generation;
  // The controller hears of every revision that was taken: it may wait for that before it gives the node away.
  if (orders.revision > agent.orders_revision) x_talkative.insert(node);
  agent.orders_revision = orders.revision;
  std::set<AttemptId> listed;
  for (const HoldingOrder& order : orders.holdings) {
    listed.insert(order.id);
    const auto [entry, added] = agent.holdings.try_emplace(order.id);
    Holding& holding = entry->second;
    if (added) holding.report.id = order.id;
    if (order.phase == HoldingPhase::stop) {
      if (!holding.stopping) later(now_ms + x_clean_ms, node, order.id, HoldingState::clean);
      holding.stopping = true;
    } else if (added) {
      later(now_ms + x_prepare_ms, node, order.id, HoldingState::ready);
    } else if (order.phase == HoldingPhase::run && holding.report.state == HoldingState::ready) {
      holding.report.state = HoldingState::running;
      if (order.member == 0) later(now_ms + x_durations.at(order.id.job), node, order.id, HoldingState::exited);
    }
  }
  std::erase_if(agent.holdings, [&](const auto& entry) {
    return !listed.contains(entry.first) && entry.second.report.state == HoldingState::clean;
  });
}

void Agents::advance(TimeMs now_ms) {
  while (!x_timers.empty() && std::get<0>(*x_timers.begin()) <= now_ms) {
    const auto [at_ms, number, node, id, becomes] = *x_timers.begin();
    x_timers.erase(x_timers.begin());
    Agent& agent = x_agents.at(node);
    const auto found = agent.holdings.find(id);
    if (found == agent.holdings.end()) continue;
    Holding& holding = found->second;
    // What was being done when the orders said stop comes to nothing.
    if (holding.stopping && becomes != HoldingState::clean) continue;
    holding.report.state = becomes;
    if (becomes == HoldingState::exited) holding.report.exit_code = 0;
    x_talkative.insert(node);
  }
}

std::vector<Report> Agents::take_reports() {
  std::vector<Report> reports;
  for (const std::string& node : x_talkative) {
    Agent& agent = x_agents.at(node);
    Report report{node, agent.store_generation, kEpoch, agent.orders_revision, ++agent.sequence, agent.inventory, {}};
    for (const auto& [id, holding] : agent.holdings) report.holdings.push_back(holding.report);
    reports.push_back(std::move(report));
  }
  x_talkative.clear();
  return reports;
}

}  // namespace trainyard::simulate
