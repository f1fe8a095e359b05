#include "simulate/scenario.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "simulate/trace.h"

namespace trainyard::simulate {

namespace {

constexpr std::uint32_t kMostLoad_percent = 100'000;
constexpr std::int64_t kLongestStep_s = 1'800;  // the core gives up a preparation that takes longer

Error wrong(const std::string& message) {
  return {Code::invalid_argument, message};
}

Result<std::int64_t> number_of(const std::string& text, std::int64_t lowest, std::int64_t highest) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && value >= lowest && value <= highest) return value;
  return wrong("\"" + text + "\" must be a whole number from " + std::to_string(lowest) + " to " +
               std::to_string(highest));
}

struct Change {
  const char* key;
  const char* form;
  std::int64_t lowest, highest;
  void (*apply)(Scenario& scenario, std::int64_t value);
};
const std::vector<Change>& changes() {
  static const std::vector<Change> all = {
      {"nodes", "N", 1, kMostNodes,
       [](Scenario& s, std::int64_t n) {
         s.cluster = equal_nodes(static_cast<std::uint32_t>(n), s.cluster.most_gpus());
       }},
      {"gpus-per-node", "N", 0, kMostGpus,
       [](Scenario& s, std::int64_t n) { s.cluster = equal_nodes(s.cluster.count(), static_cast<std::uint32_t>(n)); }},
      {"reservations", "N", 0, 1'000'000,
       [](Scenario& s, std::int64_t n) { s.policy.settings.reservations = static_cast<std::uint32_t>(n); }},
      {"depth", "N", 0, 1'000'000'000,
       [](Scenario& s, std::int64_t n) { s.policy.settings.depth = static_cast<std::uint32_t>(n); }},
      {"prepare-s", "SECONDS", 0, kLongestStep_s, [](Scenario& s, std::int64_t n) { s.prepare_ms = n * 1000; }},
      {"clean-s", "SECONDS", 0, kLongestStep_s, [](Scenario& s, std::int64_t n) { s.clean_ms = n * 1000; }},
      {"load", "PERCENT", 1, kMostLoad_percent,
       [](Scenario& s, std::int64_t n) { s.load_percent = static_cast<std::uint32_t>(n); }},
  };
  return all;
}

Status apply(Scenario& scenario, const std::string& key, const std::string& value) {
  if (key == "policy") {
    auto policy = policy_named(value);
    if (!policy) return policy.error();
    scenario.policy = std::move(*policy);
    return {};
  }
  for (const Change& change : changes()) {
    if (key != change.key) continue;
    const auto number = number_of(value, change.lowest, change.highest);
    if (!number) return wrong(key + "=" + value + ": " + number.error().message);
    change.apply(scenario, *number);
    return {};
  }
  return wrong("\"" + key + "\" cannot be changed; what can: " + change_keys());
}

}  // namespace

const std::vector<Policy>& policies() {
  static const std::vector<Policy> all = {
      {"conservative", "backfill; the first 16 waiting jobs keep their promises", {}},
      {"easy", "backfill; only the first waiting job keeps its promise", {.reservations = 1}},
      {"fifo",
       "no backfill, no fair share: nobody starts before the oldest waiting job of the class",
       {.reservations = 1, .depth = 0, .order = {.fair_share = false}}},
      {"oldest", "backfill without fair share: the oldest job of the class is next", {.order = {.fair_share = false}}},
      {"preempt", "as conservative, and jobs of lower classes give way", {.preemption = plan::Preemption::classes}},
  };
  return all;
}

Result<Policy> policy_named(const std::string& name) {
  std::string known;
  for (const Policy& policy : policies()) {
    if (policy.name == name) return policy;
    known += (known.empty() ? "" : ", ") + policy.name;
  }
  return wrong("there is no policy \"" + name + "\"; there are " + known);
}

std::uint32_t ClusterShape::count() const {
  std::uint32_t sum = 0;
  for (const Nodes& some : nodes) sum += some.count;
  return sum;
}

std::uint32_t ClusterShape::gpus() const {
  std::uint32_t sum = 0;
  for (const Nodes& some : nodes) sum += some.count * some.gpus;
  return sum;
}

std::uint32_t ClusterShape::most_gpus() const {
  std::uint32_t most = 0;
  for (const Nodes& some : nodes) most = std::max(most, some.gpus);
  return most;
}

ClusterShape equal_nodes(std::uint32_t count, std::uint32_t gpus) {
  return {{{count, gpus}}};
}

Result<ClusterShape> parse_cluster(std::string_view json, const std::string& name) {
  const auto parsed = nlohmann::json::parse(json, nullptr, false);
  const std::string form = R"(; it must look like {"nodes": [{"count": 4, "gpus": 8}, {"count": 16, "gpus": 4}]})";
  if (!parsed.is_object() || !parsed.contains("nodes") || !parsed["nodes"].is_array()) {
    return wrong(name + ": is no JSON object with a list \"nodes\"" + form);
  }
  ClusterShape shape;
  for (std::size_t i = 0; i < parsed["nodes"].size(); ++i) {
    const auto& item = parsed["nodes"][i];
    const std::string path = name + ": nodes[" + std::to_string(i) + "]";
    const auto field = [&](const char* key, std::int64_t lowest, std::int64_t highest) -> Result<std::int64_t> {
      if (!item.is_object() || !item.contains(key) || !item[key].is_number_integer()) {
        return wrong(path + "." + key + ": must be a whole number" + form);
      }
      const auto value = item[key].get<std::int64_t>();
      if (value >= lowest && value <= highest) return value;
      return wrong(path + "." + key + ": must be " + std::to_string(lowest) + " to " + std::to_string(highest));
    };
    const auto count = field("count", 1, kMostNodes);
    if (!count) return count.error();
    const auto gpus = field("gpus", 0, kMostGpus);
    if (!gpus) return gpus.error();
    shape.nodes.push_back({static_cast<std::uint32_t>(*count), static_cast<std::uint32_t>(*gpus)});
  }
  if (shape.nodes.empty()) return wrong(name + ": nodes: is empty" + form);
  std::uint64_t count = 0;
  for (const ClusterShape::Nodes& some : shape.nodes) count += some.count;
  if (count > kMostNodes) return wrong(name + ": nodes: more than " + std::to_string(kMostNodes) + " in all");
  return shape;
}

Result<Scenario> changed(Scenario base, const std::string& what_if) {
  std::string changes_said;
  for (std::size_t at = 0; at <= what_if.size();) {
    const std::size_t end = std::min(what_if.find(',', at), what_if.size());
    const std::string word = what_if.substr(at, end - at);
    const std::size_t equals = word.find('=');
    at = end + 1;
    if (equals == std::string::npos || equals == 0) {
      return wrong("\"" + word + "\" must look like nodes=32; what can be changed: " + change_keys());
    }
    if (const Status done = apply(base, word.substr(0, equals), word.substr(equals + 1)); !done) return done.error();
    if (!word.starts_with("policy=")) changes_said += " " + word;
  }
  base.label = base.policy.name + changes_said;
  return base;
}

std::string change_keys() {
  std::string keys = "policy=NAME";
  for (const Change& change : changes()) keys += std::string(", ") + change.key + "=" + change.form;
  return keys;
}

}  // namespace trainyard::simulate
