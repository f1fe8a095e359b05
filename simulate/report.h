// One replay with all that is known of it, and how it is told to programs. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "simulate/figures.h"
#include "simulate/record.h"
#include "simulate/scenario.h"

namespace trainyard::simulate {

struct Outcome {
  Scenario scenario;
  Record record;
  Figures figures;
};

Outcome run(const Trace& trace, const Scenario& scenario);

// {"jobs": 120, "firstSubmission": ..., "lastSubmission": ..., "scenarios": [...]}. Times are seconds, portions and
// indexes 0 to 1. What does not exist (a utilisation while nobody waited) is null.
nlohmann::ordered_json report(const Trace& trace, const std::vector<Outcome>& outcomes);

// "45s", "12m03s", "3h05m", "2d04h".
std::string spoken(DurationMs duration);

}  // namespace trainyard::simulate
