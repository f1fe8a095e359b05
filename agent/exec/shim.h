// trainyard-shim: the small supervisor above every process of an attempt. It outlives the agent, owns the pipes and
// log files, is subreaper, and writes exit.json (fsync, rename). A restarted agent finds it by its directory.
//
// Directory of one shimmed process (made by the agent, inside the holding's spool directory):
//   spec.json    what to run (ShimSpec); written by the agent before the start, 0600
//   lock         held with flock(2) by the shim as long as it lives: free lock + no exit.json = shim lost
//   shim.json    {"pid","start_time","child_pid","child_start_time"} written once the child runs
//   stdout, stderr   raw bytes of the child and its descendants, appended (or paths of ShimSpec)
//   exit.json    {"exit_code": 0..255 (128+n for signal n), "signal": n, "ended_boottime_ms"}
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/model.h"
#include "common/result.h"

namespace trainyard::agent {

struct ShimSpec {
  std::vector<std::string> argv;
  std::vector<NamedValue> environment;  // complete: nothing of the shim's own is inherited
  std::string working_directory;
  std::string cgroup;                   // absolute path of the payload's cgroup; "" = none (tests)
  std::string stdout_path, stderr_path; // absolute, appended
  std::uint32_t uid = 0, gid = 0;       // 0: stay root (lab); jobs get uids with a later issue
};

struct ShimExit {
  std::int32_t exit_code = 0;
  std::int32_t signal = 0;
};

// Forks and executes the shim for `directory` (spec.json must be there), detached from the caller. Returns its pid.
Result<int> start_shim(const std::string& shim_program, const std::string& directory);

enum class ShimState { never_started, running, exited, lost };
struct ShimObservation {
  ShimState state = ShimState::never_started;
  int pid = 0;         // of the shim while running
  ShimExit exit;       // when exited
};
ShimObservation observe_shim(const std::string& directory);

// A pidfd that becomes readable when the running shim ends; nullopt when it does not run (any more). Caller owns it.
std::optional<int> open_shim_pidfd(const std::string& directory);

}  // namespace trainyard::agent
