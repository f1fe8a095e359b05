// trainyard-shim: the small supervisor above every process of an attempt. It outlives the agent, owns the pipes and
// log files, is subreaper, and writes exit.json (fsync, rename). A restarted agent finds it by its directory.
//
// Directory of one shimmed process (made by the agent, inside the holding's spool directory):
//   spec.json    what to run (ShimSpec); written by the agent before the start, 0600
//   lock         held with flock(2) from before start_shim returns until the shim ends
//   shim.json    {"pid","start_time","child_pid","child_start_time"}: first without the child, again once it runs
//   stdout, stderr   raw bytes of the child and its descendants, appended (or paths of ShimSpec)
//   exit.json    {"exit_code": 0..255 (128+n for signal n), "signal": n, "ended_boottime_ms", "dropped_bytes", "error"}
//   shim.log     complaints of the shim itself
//
// exit.json is there as soon as the child has ended and what it wrote is in the log files. Descendants may still hold
// the pipes: the shim then stays (lock still held) and goes on copying until both pipes are at their end or it gets
// SIGTERM (ignored before exit.json). So: exit.json = exited, whether or not the shim lives; the logs are complete when
// the shim has ended. Free lock and shim.json but no exit.json = the shim was lost. Free lock without shim.json = the
// child never started.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/model.h"
#include "common/result.h"

namespace trainyard::agent {

struct ShimSpec {
  std::vector<std::string> argv;        // argv[0]: absolute path of the program
  std::vector<NamedValue> environment;  // complete: nothing of the shim's own is inherited
  // A file in memory with more variables (write_secrets): spec.json is on disk. Read when the process starts; "" =
  // none.
  std::string secrets_path;
  std::string working_directory;
  // Absolute path of the payload's cgroup ("<holding>/job"); "" = none (tests). The shim itself stays out of it: it
  // moves to the sibling "<holding>/shim" where that exists.
  std::string cgroup;
  std::vector<std::string> limit_groups;  // cgroups of v1 that the payload joins (limits.h)
  std::string cores;                      // processors that it keeps to where no cgroup does it: "0-3,64"; empty: all
  // More than this of one output is not kept, but for its end (kKeptTailBytes) with a line between that says how much
  // is left out; what writes on is slowed down. 0: all is kept.
  std::uint64_t log_limit_bytes = 0;
  std::string stdout_path, stderr_path;  // absolute, appended; the same path twice merges them; empty: in the directory
  std::uint32_t uid = 0, gid = 0;        // 0: stays root
  std::vector<std::uint32_t> groups;     // supplementary
  // The directory of the sandbox (sandbox.h) that the payload enters; "": it sees the machine as it is. What brings
  // isolation of its own (a container engine) has none, and is not confined.
  std::string sandbox;
  bool confine = false;  // few capabilities, limits of resources, first to go when memory is short
  // When CLOCK_BOOTTIME passes what `lease_path` says (lease_file.h) + lease_ms, the shim kills the payload by itself:
  // the agent, which does the same, may be gone. lease_ms kForever: never.
  std::string lease_path;
  DurationMs lease_ms = kForever;
};

inline constexpr std::size_t kKeptTailBytes = 64 * 1024;

struct ShimExit {
  std::int32_t exit_code = 0;
  std::int32_t signal = 0;
  std::uint64_t dropped_bytes = 0;  // output that could not be written (disk full) and is lost
  std::string error;                // not empty: the child could not be started at all, and why (the machine's fault)
};

// Creates `directory` (0700) and writes spec.json into it.
Status write_shim_spec(const std::string& directory, const ShimSpec& spec);
Result<ShimSpec> read_shim_spec(const std::string& directory);

// Variables that must not lie on a disk: `path` is in the holding's run directory, which is in memory and goes with it.
Status write_secrets(const std::string& path, const std::vector<NamedValue>& secrets);
// Adds those of `spec.secrets_path` to its environment.
Status add_secrets(ShimSpec& spec);

// Starts the shim for `directory` (spec.json must be there), detached: nobody's child but the node's PID 1. Blocks for
// the few milliseconds until the shim has made its shim.json. Returns its pid. A directory starts at most one child,
// ever: Code::already_exists when one was started before (observe_shim tells what became of it).
Result<int> start_shim(const std::string& shim_program, const std::string& directory);

enum class ShimState { never_started, running, exited, lost };
struct ShimObservation {
  ShimState state = ShimState::never_started;
  int pid = 0;             // of the shim while it lives: running, or exited and lingering
  int child_pid = 0;       // of the payload's first process, once known
  bool lingering = false;  // exited, but descendants still hold the pipes
  ShimExit exit;           // when exited
};
ShimObservation observe_shim(const std::string& directory);

// A pidfd that becomes readable when the shim ends; nullopt when it does not run (any more). Caller owns it.
std::optional<int> open_shim_pidfd(const std::string& directory);

// Calls back once, on the loop of `io`, with state exited or lost, as soon as that is so (also when it is so already).
// Destroying the watch cancels it: the callback does not run afterwards.
class ShimWatch {
 public:
  ShimWatch(boost::asio::io_context& io, std::string directory, std::function<void(ShimObservation)> callback);
  ~ShimWatch();
  ShimWatch(const ShimWatch&) = delete;
  ShimWatch& operator=(const ShimWatch&) = delete;

 private:
  struct Impl;
  std::shared_ptr<Impl> x_impl;
};

// For clean-up, after the payload's cgroup was killed: waits until the shim itself has ended, so that its logs are
// complete. After `patience_ms` it gets SIGTERM, a second later SIGKILL. `done` runs once, on the loop; true: it ended
// by itself.
void end_shim(boost::asio::io_context& io, const std::string& directory, DurationMs patience_ms,
              std::function<void(bool)> done);

}  // namespace trainyard::agent
