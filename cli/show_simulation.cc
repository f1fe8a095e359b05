#include "cli/show_simulation.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace trainyard::cli {
namespace {

using namespace simulate;

std::string percent(std::int64_t ten_thousandths) {
  return fmt::format("{}.{:02} %", ten_thousandths / 100, ten_thousandths % 100);
}
std::string index_text(const std::optional<std::int64_t>& value) {
  return value ? fmt::format("{}.{:04}", *value / 10'000, *value % 10'000) : "-";
}
std::string thousandths(std::int64_t value) {
  return fmt::format("{}.{:02}", value / 1000, value % 1000 / 10);
}

// Mean, median and 95th percentile: "5m03s / 0s / 1h20m".
std::string spread(const Spread& values, std::string (*unit)(std::int64_t)) {
  if (values.count == 0) return "-";
  return fmt::format("{} / {} / {}", unit(values.mean), unit(values.median), unit(values.p95));
}

struct Line {
  const char* name;
  std::function<std::string(const Figures&)> cell;
};

const std::vector<Line>& lines() {
  static const std::vector<Line> all = {
      {"jobs that ended", [](const Figures& f) { return std::to_string(f.ended); }},
      {"ended at their limit", [](const Figures& f) { return std::to_string(f.limited); }},
      {"too large for the cluster", [](const Figures& f) { return std::to_string(f.impossible); }},
      {"did not end", [](const Figures& f) { return std::to_string(f.unfinished); }},
      {"requeues", [](const Figures& f) { return std::to_string(f.requeues); }},
      {"from first to last", [](const Figures& f) { return spoken(f.makespan_ms); }},
      {"GPUs in use", [](const Figures& f) { return percent(f.utilisation); }},
      {"GPUs in use while jobs wait",
       [](const Figures& f) { return f.contended_utilisation ? percent(*f.contended_utilisation) : "-"; }},
      {"time in which jobs wait", [](const Figures& f) { return spoken(f.contended_ms); }},
      {"wait: mean / median / 95 %", [](const Figures& f) { return spread(f.wait_ms, spoken); }},
      {"completion: mean / median / 95 %", [](const Figures& f) { return spread(f.completion_ms, spoken); }},
      {"slowdown: mean / median / 95 %", [](const Figures& f) { return spread(f.slowdown, thousandths); }},
      {"fairness of users: GPU time", [](const Figures& f) { return index_text(f.users.gpu_time); }},
      {"fairness of users: share of wanted", [](const Figures& f) { return index_text(f.users.share); }},
      {"fairness of users: slowdown", [](const Figures& f) { return index_text(f.users.slowdown); }},
      {"fairness of workspaces: GPU time", [](const Figures& f) { return index_text(f.workspaces.gpu_time); }},
      {"fairness of workspaces: share of wanted", [](const Figures& f) { return index_text(f.workspaces.share); }},
      {"fairness of workspaces: slowdown", [](const Figures& f) { return index_text(f.workspaces.slowdown); }},
  };
  return all;
}

// The same class of every scenario; one in which no such job started has none.
void add_sizes(const std::vector<Outcome>& outcomes, Table& table) {
  std::vector<std::string> names;
  for (const Outcome& outcome : outcomes) {
    for (const SizeClass& size : outcome.figures.sizes) {
      if (std::find(names.begin(), names.end(), size.name) == names.end()) names.push_back(size.name);
    }
  }
  for (const std::string& name : names) {
    std::vector<std::string> waits{"wait of " + name + " GPUs"}, completions{"completion of " + name + " GPUs"};
    for (const Outcome& outcome : outcomes) {
      const auto& sizes = outcome.figures.sizes;
      const auto found = std::find_if(sizes.begin(), sizes.end(), [&](const SizeClass& s) { return s.name == name; });
      waits.push_back(found == sizes.end() ? "-" : spread(found->wait_ms, spoken));
      completions.push_back(found == sizes.end() ? "-" : spread(found->completion_ms, spoken));
    }
    table.rows.push_back(std::move(waits));
    table.rows.push_back(std::move(completions));
  }
}

}  // namespace

Answer show_simulation(const Trace& trace, const std::vector<Outcome>& outcomes) {
  Answer answer{report(trace, outcomes), Table{{"Figure"}, {}}};
  for (const Outcome& outcome : outcomes) answer.table.columns.push_back(outcome.scenario.label);
  for (const Line& line : lines()) {
    std::vector<std::string> row{line.name};
    for (const Outcome& outcome : outcomes) row.push_back(line.cell(outcome.figures));
    answer.table.rows.push_back(std::move(row));
  }
  add_sizes(outcomes, answer.table);
  return answer;
}

}  // namespace trainyard::cli
