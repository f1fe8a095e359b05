// trainyard node check. Blocking: one command per process, on its only thread.
#pragma once

#include "cli/program.h"

namespace trainyard::cli {

void add_check_command(CLI::App& nodes, Program& program);

}  // namespace trainyard::cli
