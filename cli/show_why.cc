#include <fmt/format.h>

#include "cli/show.h"
#include "cli/show_parts.h"

namespace trainyard::cli {
namespace {

const char* name_of(v1::Priority priority) {
  return priority == v1::PRIORITY_HIGH ? "high" : priority == v1::PRIORITY_LOW ? "low" : "normal";
}

Json json_of(const v1::Relaxation& relaxation) {
  Json json{{"kind", relaxation.kind()}, {"text", relaxation.text()}};
  if (relaxation.node_count() > 0) json["nodeCount"] = relaxation.node_count();
  if (relaxation.gpus_per_node() > 0) json["gpusPerNode"] = relaxation.gpus_per_node();
  if (relaxation.kind() == "largerQuota") json["limit"] = relaxation.gpus();
  if (relaxation.has_time_limit()) json["timeLimit"] = spoken_duration(relaxation.time_limit().seconds());
  if (relaxation.kind() == "higherPriority") {
    const std::string& of_operator = relaxation.priority_class();
    json["schedulingPriority"] = of_operator.empty() ? name_of(relaxation.scheduling_priority()) : of_operator;
  }
  return json;
}

std::string start_text(const v1::JobExplanation& explanation) {
  if (!explanation.has_latest_start()) return "no one knows: it waits for something that has no time";
  const auto text = [](bool set, const google::protobuf::Timestamp& time) {
    const Json shown = when(set, time);
    return shown.is_string() ? shown.get<std::string>() : std::string("?");
  };
  return fmt::format("between {} and {}: {}", text(explanation.has_earliest_start(), explanation.earliest_start()),
                     text(true, explanation.latest_start()), explanation.start_basis());
}

}  // namespace

Answer show_why(const v1::JobExplanation& explanation) {
  Answer answer{Json::object(), Table{{"What", "Nodes", "Text"}, {}}};
  Json& json = answer.value;
  auto& rows = answer.table.rows;
  json = {{"name", explanation.name()},
          {"reason", explanation.reason()},
          {"possible", explanation.possible()},
          {"needs", explanation.needs()},
          {"fits", explanation.fits()},
          {"position", explanation.position()},
          {"queued", explanation.queued()},
          {"obstacles", Json::array()},
          {"relaxations", Json::array()},
          {"earliestStart", when(explanation.has_earliest_start(), explanation.earliest_start())},
          {"latestStart", when(explanation.has_latest_start(), explanation.latest_start())},
          {"startBasis", explanation.start_basis()}};
  rows.push_back({"waits", std::to_string(explanation.needs()), explanation.reason()});
  rows.push_back({"queue", "", fmt::format("{} of {}", explanation.position(), explanation.queued())});
  rows.push_back({"fits", std::to_string(explanation.fits()), "free and not promised to jobs before it"});
  for (const auto& obstacle : explanation.obstacles()) {
    json["obstacles"].push_back({{"code", obstacle.code()}, {"nodes", obstacle.nodes()}, {"text", obstacle.text()}});
    rows.push_back({obstacle.code(), std::to_string(obstacle.nodes()), obstacle.text()});
  }
  for (const auto& relaxation : explanation.relaxations()) {
    json["relaxations"].push_back(json_of(relaxation));
    rows.push_back(
        {"would help", relaxation.node_count() > 0 ? std::to_string(relaxation.node_count()) : "", relaxation.text()});
  }
  rows.push_back({"starts", "", start_text(explanation)});
  Answer history = show_all(explanation.history());
  json["history"] = std::move(history.value);
  return answer;
}

Answer show_why(const v1::JobArrayExplanation& explanation) {
  Answer answer{Json::object(), Table{{"What", "Nodes", "Text"}, {}}};
  Json& json = answer.value;
  auto& rows = answer.table.rows;
  json = {{"name", explanation.name()},
          {"reason", explanation.reason()},
          {"nextTask", explanation.has_next_task() ? Json(explanation.next_task()) : Json(nullptr)},
          {"obstacles", Json::array()},
          {"task", nullptr}};
  rows.push_back({"array", "", explanation.reason()});
  if (explanation.has_next_task()) {
    rows.push_back({"next task", "", fmt::format("{}_{} is no job yet", explanation.name(), explanation.next_task())});
  }
  for (const auto& obstacle : explanation.obstacles()) {
    json["obstacles"].push_back({{"code", obstacle.code()}, {"text", obstacle.text()}});
    rows.push_back({obstacle.code(), "", obstacle.text()});
  }
  if (!explanation.has_task()) return answer;
  Answer task = show_why(explanation.task());
  task.value.erase("history");
  json["task"] = std::move(task.value);
  rows.push_back({"task", "", explanation.task().name()});
  for (auto& row : task.table.rows) rows.push_back(std::move(row));
  return answer;
}

}  // namespace trainyard::cli
