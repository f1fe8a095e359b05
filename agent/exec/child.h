// What happens between fork and exec in a process of a job: common to the shim (shim_main.cc) and to the supervisor of
// commands (exec_main.cc). Complaints go to descriptor 3, which exec closes: the parent reads why nothing runs.
#pragma once

#include <spawn.h>

#include <string>

#include "agent/exec/files.h"
#include "agent/exec/shim.h"

namespace trainyard::agent {

inline constexpr int kReportFd = 3;
inline constexpr int kSandboxFd = 4;

// Says what failed, with errno, and ends.
[[noreturn]] void fail_child(const char* what);

// The calling process becomes a member; `report` is where the parent listens as long as descriptor 3 is not.
void join_cgroup(const std::string& cgroup, int report);

// The process, and what it starts from then on, runs on these processors ("0-3,64"; empty: on all). False with errno.
bool keep_to_cores(int pid, const std::string& cores);

// `report` and `sandbox` (none: not valid; both above 4) come to where run_program looks for them, and all other
// descriptors above 2 are closed.
void keep_for_program(int report, const UniqueFd& sandbox);

// With descriptors 0, 1, 2 in place, keep_for_program and a session of its own: limits, sandbox, user, privileges,
// directory, default signals; then the program. Of `spec` it uses neither outputs nor cgroup.
[[noreturn]] void run_program(const ShimSpec& spec);

// For the parent, before it forks: the sandbox of `spec` (not valid: it has none), with its pid namespace entered.
Result<UniqueFd> prepare_sandbox(const ShimSpec& spec);

// Starts the shim's program with an empty environment and default signals, and waits: it forks itself free, and its own
// process ends at once. `actions` say what its descriptors are; they are destroyed.
Status spawn_free(const std::string& program, const std::string& argument, posix_spawn_file_actions_t& actions);

// A descriptor above 4: nothing is overwritten when 0 to 4 are put in place.
int above_four(int fd);

// Both ends above 4, closed by exec. False with errno.
bool make_pipe(UniqueFd& read_end, UniqueFd& write_end);

// For the parent: what the child said before it ended, from the other end of its `report`; empty: the program runs.
// Waits until exec closes the descriptor.
std::string read_complaint(int report);

}  // namespace trainyard::agent
