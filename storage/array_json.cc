#include "storage/array_json.h"

#include "storage/json_parts.h"
#include "storage/row_json.h"
#include "storage/template_json.h"

namespace trainyard::storage {

namespace {

using nlohmann::json;

json sweep_json(const core::Sweep& sweep) {
  json out = json::object();
  for (const core::Axis& axis : sweep.grid) out["grid"].push_back({{"name", axis.name}, {"values", axis.values}});
  if (!sweep.rows.empty()) out["list"] = {{"names", sweep.names}, {"rows", sweep.rows}};
  for (const core::Drawn& range : sweep.drawn) {
    out["random"].push_back({{"name", range.name},
                             {"min", range.least},
                             {"max", range.most},
                             {"log", range.log},
                             {"integer", range.integer}});
  }
  if (!sweep.drawn.empty()) out["seed"] = sweep.seed;
  return out;
}

void read_sweep(const json& body, core::Sweep& sweep) {
  for (const json& one : body.value("grid", json::array())) {
    sweep.grid.push_back({one.at("name").get<std::string>(), one.at("values").get<std::vector<std::string>>()});
    if (sweep.grid.back().values.empty()) throw json::other_error::create(501, "a name without values", &one);
  }
  if (const auto list = body.find("list"); list != body.end()) {
    list->at("names").get_to(sweep.names);
    list->at("rows").get_to(sweep.rows);
    for (const auto& row : sweep.rows) {
      if (row.size() != sweep.names.size()) throw json::other_error::create(501, "a row of another length", &*list);
    }
  }
  for (const json& one : body.value("random", json::array())) {
    core::Drawn& range = sweep.drawn.emplace_back();
    one.at("name").get_to(range.name);
    one.at("min").get_to(range.least);
    one.at("max").get_to(range.most);
    read(one, "log", range.log);
    read(one, "integer", range.integer);
  }
  read(body, "seed", sweep.seed);
}

}  // namespace

std::string array_spec_text(const core::JobArray& array) {
  const core::ArrayBody& body = *array.body;
  json stored = template_json(body);
  stored["tasks"] = body.tasks;
  stored["sweep"] = sweep_json(body.sweep);
  return dump(stored);
}

Status read_array_spec(const std::string& text, core::JobArray& into) {
  return parse(text, [&](const json& stored) {
    core::ArrayBody body;
    read_template(stored, body);
    stored.at("tasks").get_to(body.tasks);
    read_sweep(stored.at("sweep"), body.sweep);
    const std::uint64_t made = core::tasks_of(body.sweep);
    if (made != 0 && made != body.tasks) throw json::other_error::create(501, "another number of tasks", &stored);
    into.body = std::make_shared<const core::ArrayBody>(std::move(body));
  });
}

std::string array_body_text(const core::JobArray& array) {
  json body = json::object();
  if (!array.cause.code.empty()) {
    body["cause"] = {{"code", array.cause.code}, {"message", array.cause.message}};
    if (array.cause.infrastructure) body["cause"]["infrastructure"] = true;
  }
  if (array.hold) body["hold"] = hold_json(*array.hold);
  if (!array.dependencies.empty()) body["dependencies"] = dependencies_json(array.dependencies);
  return dump(body);
}

Status read_array_body(const std::string& text, core::JobArray& into) {
  return parse(text, [&](const json& body) {
    if (const auto cause = body.find("cause"); cause != body.end()) {
      read(*cause, "code", into.cause.code);
      read(*cause, "message", into.cause.message);
      read(*cause, "infrastructure", into.cause.infrastructure);
    }
    into.hold = hold_from(body);
    into.dependencies = dependencies_from(body);
  });
}

}  // namespace trainyard::storage
