// trainyard simulate: see the .cc. A file of its own beside cli/commands.h, as it is the one command that needs no
// controller.
#pragma once

#include "cli/program.h"

namespace trainyard::cli {

void add_simulate_commands(CLI::App& app, Program& program);

}  // namespace trainyard::cli
