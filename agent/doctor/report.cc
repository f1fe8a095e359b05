#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "agent/doctor/doctor.h"

namespace trainyard::agent {
namespace {

const char* name_of(Finding::State state) {
  switch (state) {
    case Finding::State::ok:
      return "ok";
    case Finding::State::note:
      return "note";
    case Finding::State::trouble:
      return "TROUBLE";
    case Finding::State::broken:
      return "BROKEN";
  }
  return "?";
}

}  // namespace

std::string findings_table(const std::vector<Finding>& findings) {
  std::size_t width = 0;
  for (const Finding& one : findings) width = std::max(width, one.check.size());
  std::string text;
  for (const Finding& one : findings) {
    text += fmt::format("{:<7}  {:<{}}  {}\n", name_of(one.state), one.check, width, one.found);
    if (!one.advice.empty()) text += fmt::format("{:<7}  {:<{}}  -> {}\n", "", "", width, one.advice);
  }
  const auto broken = std::count_if(findings.begin(), findings.end(),
                                    [](const Finding& one) { return one.state == Finding::State::broken; });
  const auto trouble = std::count_if(findings.begin(), findings.end(),
                                     [](const Finding& one) { return one.state == Finding::State::trouble; });
  return text + fmt::format("\n{} checks: {} broken, {} that jobs will run into\n", findings.size(), broken, trouble);
}

std::string findings_json(const std::vector<Finding>& findings) {
  nlohmann::json list = nlohmann::json::array();
  for (const Finding& one : findings) {
    std::string state = name_of(one.state);
    std::transform(state.begin(), state.end(), state.begin(), [](unsigned char c) { return std::tolower(c); });
    list.push_back({{"check", one.check}, {"state", state}, {"found", one.found}, {"advice", one.advice}});
  }
  return list.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace trainyard::agent
