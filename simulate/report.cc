#include "simulate/report.h"

#include "simulate/replay.h"

namespace trainyard::simulate {

namespace {

using Json = nlohmann::ordered_json;

// The nearest double of a quotient of two whole numbers is the same everywhere.
Json seconds(std::int64_t ms) {
  return static_cast<double>(ms) / 1000;
}
Json thousandths(std::int64_t value) {
  return static_cast<double>(value) / 1000;
}
Json portion(const std::optional<std::int64_t>& value) {
  return value ? Json(static_cast<double>(*value) / 10'000) : Json(nullptr);
}

Json spread(const Spread& values, Json (*unit)(std::int64_t)) {
  return {{"count", values.count},
          {"mean", unit(values.mean)},
          {"median", unit(values.median)},
          {"p95", unit(values.p95)},
          {"max", unit(values.most)}};
}

Json fairness(const Fairness& fairness) {
  return {{"parties", fairness.parties},
          {"gpuTime", portion(fairness.gpu_time)},
          {"shareOfWanted", portion(fairness.share)},
          {"slowdown", portion(fairness.slowdown)}};
}

Json scenario_of(const Scenario& scenario) {
  Json nodes = Json::array();
  for (const ClusterShape::Nodes& some : scenario.cluster.nodes) {
    nodes.push_back({{"count", some.count}, {"gpus", some.gpus}});
  }
  return {{"label", scenario.label},
          {"policy", scenario.policy.name},
          {"nodes", std::move(nodes)},
          {"gpus", scenario.cluster.gpus()},
          {"prepare", seconds(scenario.prepare_ms)},
          {"clean", seconds(scenario.clean_ms)},
          {"loadPercent", scenario.load_percent}};
}

Json outcome_of(const Outcome& outcome) {
  const Figures& figures = outcome.figures;
  Json sizes = Json::array();
  for (const SizeClass& size : figures.sizes) {
    sizes.push_back({{"gpus", size.name},
                     {"wait", spread(size.wait_ms, seconds)},
                     {"completion", spread(size.completion_ms, seconds)}});
  }
  Json json = scenario_of(outcome.scenario);
  json.update(Json{{"jobs", figures.jobs},
                   {"ended", figures.ended},
                   {"endedAtLimit", figures.limited},
                   {"unfinished", figures.unfinished},
                   {"impossible", figures.impossible},
                   {"makespan", seconds(figures.makespan_ms)},
                   {"utilisation", portion(figures.utilisation)},
                   {"utilisationWhileWaiting", portion(figures.contended_utilisation)},
                   {"timeWhileWaiting", seconds(figures.contended_ms)},
                   {"wait", spread(figures.wait_ms, seconds)},
                   {"completion", spread(figures.completion_ms, seconds)},
                   {"slowdown", spread(figures.slowdown, thousandths)},
                   {"sizes", std::move(sizes)},
                   {"fairness", {{"users", fairness(figures.users)}, {"workspaces", fairness(figures.workspaces)}}},
                   {"requeues", figures.requeues},
                   {"events", figures.events},
                   {"plans", figures.plans}});
  return json;
}

}  // namespace

Outcome run(const Trace& trace, const Scenario& scenario) {
  Record record = replay(trace, scenario);
  Figures figures = figures_of(trace, record);
  return {scenario, std::move(record), std::move(figures)};
}

Json report(const Trace& trace, const std::vector<Outcome>& outcomes) {
  Json scenarios = Json::array();
  for (const Outcome& outcome : outcomes) scenarios.push_back(outcome_of(outcome));
  return {{"jobs", trace.size()},
          {"firstSubmission", trace.empty() ? Json(nullptr) : Json(trace.front().submit_s)},
          {"lastSubmission", trace.empty() ? Json(nullptr) : Json(trace.back().submit_s)},
          {"scenarios", std::move(scenarios)}};
}

std::string spoken(DurationMs duration) {
  struct Unit {
    DurationMs ms;
    const char *name, *smaller;
    DurationMs smaller_ms;
  };
  constexpr Unit kUnits[] = {
      {86'400'000, "d", "h", 3'600'000}, {3'600'000, "h", "m", 60'000}, {60'000, "m", "s", 1'000}};
  duration = (duration + 500) / 1000 * 1000;
  for (const Unit& unit : kUnits) {
    if (duration < unit.ms) continue;
    const std::string rest = std::to_string(duration % unit.ms / unit.smaller_ms);
    return std::to_string(duration / unit.ms) + unit.name + (rest.size() < 2 ? "0" : "") + rest + unit.smaller;
  }
  return std::to_string(duration / 1000) + "s";
}

}  // namespace trainyard::simulate
