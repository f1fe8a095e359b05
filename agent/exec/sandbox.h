// One holding's own view of the machine: mount, pid and ipc namespaces with a private /tmp, /var/tmp, /dev/shm and
// /proc, and without the agent's and other jobs' directories. All processes of the holding on this node share it, so
// that shared memory between ranks works. A small process, pid 1 in there and outside of the job's cgroup, keeps the
// namespaces and reaps; it needs no agent. With its end everything in the sandbox ends.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/exec/files.h"
#include "common/result.h"

namespace trainyard::agent {

struct SandboxSpec {
  std::string cgroup;                  // absolute, of the process that keeps it; "" = none (tests)
  std::string tmp, var_tmp;            // directories of the holding that are its /tmp and /var/tmp
  std::vector<std::string> hidden;     // directories and files that look empty; those that do not exist are skipped
  std::vector<std::string> visible;    // directories that stay where they are, with all mounts below, although hidden
  std::vector<std::string> read_only;  // with all mounts below
};

// Starts it, with the words of the shim's program, and keeps its identity in `directory` (made when missing). Blocks
// for the few milliseconds until all is mounted. Fine when it is there already.
Status start_sandbox(const std::string& shim_program, const std::string& directory, const SandboxSpec& spec);

// The process that keeps the sandbox of `directory`, as a pidfd: setns(2) takes it. An error when it is gone.
Result<UniqueFd> open_sandbox(const std::string& directory);

// Its pid, while it lives.
std::optional<int> sandbox_pid(const std::string& directory);

// For a single-threaded program: what it forks from now on is in the sandbox's pid namespace.
Status enter_pid_namespace(int sandbox);
// For its child, before it runs a program: the rest of the sandbox.
bool enter_namespaces(int sandbox);

// The program's part, `trainyard-shim sandbox`: reads the spec at descriptor 0, answers at 4.
int run_sandbox();

}  // namespace trainyard::agent
