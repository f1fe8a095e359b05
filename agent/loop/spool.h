// The agent's memory across its own restarts: one directory (0700), locked by the agent that runs on it.
//
//   lock         flock(2) as long as the agent lives: a second agent on the same spool is refused
//   generation   random, drawn once when the spool is made; part of the epoch
//   state.json   orders seen, holdings, tombstones, lease: replaced whole (fsync, exchange with state.json.new), one
//   write per step lease        what the shims know of the lease (lease_file.h) holdings/<name>/   of one attempt or
//   run of a set-up: directories of its shims, its logs on the way to the share, small markers
//
// Loop thread only. The spool is on a local disk of the node; a write that fails ends the process (by the caller).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/core/agent_core.h"
#include "agent/exec/files.h"
#include "agent/exec/lease_file.h"
#include "common/result.h"

namespace trainyard::agent {

// The record beside the holdings.
struct SpoolRecord {
  std::uint64_t revision = 0;
  std::string store_generation;
  std::string cluster;  // of the newest orders: AZ_BATCHAI_CLUSTER_NAME of what starts later
  TimeMs acked_send_ms = 0;
  std::vector<AttemptId> tombstones;
};

// Kernel's boot id + start time of PID 1 of this pid namespace: pretend hosts share a kernel, not their PID 1.
Result<std::string> boot_identity();

class SpoolDirectory {
 public:
  // Makes the directory where needed and takes its lock. Code::failed_precondition: another agent has it.
  static Result<SpoolDirectory> open(const std::string& path, const std::string& boot);

  const std::string& path() const { return x_path; }
  std::string epoch() const { return x_boot + "/" + x_generation; }
  SpoolRecord& record() { return x_record; }
  // What an agent starts from. Holdings of another boot of the machine are dropped: nothing of them lives.
  const std::vector<HeldAttempt>& holdings() const { return x_holdings; }
  Spool for_core() const;

  Status save(const std::map<AttemptId, HeldAttempt>& holdings, const std::optional<HeldSetup>& setup);
  // For the shims; costs nothing when it did not change.
  Status write_lease(TimeMs acknowledged_send_ms) { return x_lease.write(acknowledged_send_ms); }

 private:
  SpoolDirectory() = default;
  Status load();

  std::string x_path, x_boot, x_generation;
  UniqueFd x_lock;
  LeaseFile x_lease;
  SpoolRecord x_record;
  std::vector<HeldAttempt> x_holdings;
  std::optional<HeldSetup> x_setup;
};

}  // namespace trainyard::agent
