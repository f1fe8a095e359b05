#include "storage/schedule_json.h"

#include <array>

#include "storage/json_parts.h"
#include "storage/row_json.h"
#include "storage/template_json.h"

namespace trainyard::storage {

namespace {

using nlohmann::json;

constexpr std::array kOverlaps{"skip", "allow"};  // in the order of their enums
constexpr std::array kOutcomes{"made", "skipped", "refused"};

template <class Names, class T>
bool value_of(const Names& names, std::string_view name, T& into) {
  for (std::size_t index = 0; index < names.size(); ++index) {
    if (name != names[index]) continue;
    into = static_cast<T>(index);
    return true;
  }
  return false;
}

}  // namespace

const char* stored_name(core::Overlap overlap) {
  return kOverlaps.at(static_cast<std::size_t>(overlap));
}

bool read_name(std::string_view name, core::Overlap& into) {
  return value_of(kOverlaps, name, into);
}

std::string schedule_spec_text(const core::JobSchedule& schedule) {
  return dump(template_json(*schedule.body));
}

Status read_schedule_spec(const std::string& text, core::JobSchedule& into) {
  return parse(text, [&](const json& stored) {
    core::JobTemplate body;
    read_template(stored, body);
    into.body = std::make_shared<const core::JobTemplate>(std::move(body));
  });
}

std::string schedule_body_text(const core::JobSchedule& schedule) {
  json body = json::object();
  if (schedule.suspended) body["hold"] = hold_json(*schedule.suspended);
  if (!schedule.error.empty()) body["error"] = schedule.error;
  for (const core::DueRun& run : schedule.recent) {
    json& one = body["recent"].emplace_back(json::object());
    one["dueMs"] = run.due_ms;
    one["outcome"] = kOutcomes.at(static_cast<std::size_t>(run.outcome));
    if (!run.job.empty()) one["job"] = run.job;
    if (!run.why.empty()) one["why"] = run.why;
  }
  return dump(body);
}

Status read_schedule_body(const std::string& text, core::JobSchedule& into) {
  return parse(text, [&](const json& body) {
    into.suspended = hold_from(body);
    read(body, "error", into.error);
    for (const json& one : body.value("recent", json::array())) {
      core::DueRun& run = into.recent.emplace_back();
      one.at("dueMs").get_to(run.due_ms);
      if (!value_of(kOutcomes, one.at("outcome").get<std::string>(), run.outcome)) {
        throw json::other_error::create(501, "unknown outcome", &one);
      }
      read(one, "job", run.job);
      read(one, "why", run.why);
    }
  });
}

Result<core::Cron> read_cron(const std::string& text, const std::string& utc_offset) {
  auto cron = core::parse_cron(text, utc_offset);
  if (cron.ok() && !core::next_after(*cron, 0)) return Error{Code::data_loss, "cron: never comes"};
  return cron;
}

}  // namespace trainyard::storage
