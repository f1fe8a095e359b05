// For helper processes: steps that may hang, each in a child of its own with a deadline. A child that cannot be killed
// (state D) is left behind, not waited for.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/time.h"

namespace trainyard::agent {

// Runs `step` in a child. DEADLINE_EXCEEDED: no answer in time.
Status within(DurationMs limit_ms, const std::function<Status()>& step);

struct CommandResult {
  int exit_code = 0;   // 128+n for signal n; -1: killed at the deadline
  std::string output;  // stdout and stderr, the last 16 KiB
};
// `environment`: complete, "NAME=value".
CommandResult run_command(const std::vector<std::string>& argv, const std::vector<std::string>& environment,
                          DurationMs limit_ms);

// The absolute path of a program on this process's PATH (and in the usual places); empty: there is none.
std::string find_program(const std::string& name);

TimeMs monotonic_ms();

}  // namespace trainyard::agent
