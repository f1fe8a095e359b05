// A job schedule as `trainyard job schedule show` answers: in a table with a line for each thing there is to know.
#pragma once

#include "cli/show.h"

namespace trainyard::cli {

Answer show_schedule(const v1::JobSchedule& schedule);

}  // namespace trainyard::cli
