// What `trainyard simulate` answers: JSON with everything, a table with a column for each scenario. Pure.
#pragma once

#include <vector>

#include "cli/output.h"
#include "simulate/report.h"

namespace trainyard::cli {

Answer show_simulation(const simulate::Trace& trace, const std::vector<simulate::Outcome>& outcomes);

}  // namespace trainyard::cli
