// What happened in a replay: every job's times, and how many GPUs were held and jobs waited at every time. Pure.
// All times are since the first submission.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "controller/core/rows.h"
#include "simulate/trace.h"

namespace trainyard::simulate {

enum class Fate {
  ended,       // its program came to its end
  limited,     // ended at its time limit
  unfinished,  // waited or ran when nothing could happen any more: a bug, or a policy that starves it
  impossible,  // needs more than the whole cluster has; left out of everything else
};

struct JobRecord {
  Fate fate = Fate::unfinished;
  std::uint32_t gpus = 0;                            // it asks for, or: of its whole nodes
  TimeMs submit_ms = 0, start_ms = -1, end_ms = -1;  // first placement; last GPU given back. -1: never
  std::uint32_t attempts = 0;
  DurationMs gpu_ms = 0;  // held, in all attempts
};

// From `at_ms` to the next one's.
struct Step {
  TimeMs at_ms = 0;
  std::uint32_t gpus_held = 0, jobs_waiting = 0;
};

// What one user, or one workspace, wanted and got.
struct Party {
  std::string name;
  DurationMs gpu_ms = 0;  // held
  // While anybody waited: held, and wanted (held or waited for).
  DurationMs contended_held_gpu_ms = 0, contended_wanted_gpu_ms = 0;
};

struct Record {
  std::vector<JobRecord> jobs;                        // as in the trace
  std::vector<Step> steps;                            // ascending
  std::vector<Party> users, workspaces;               // by name
  std::uint32_t gpus = 0;                             // of the cluster
  TimeMs end_ms = 0;                                  // the last GPU was given back
  DurationMs gpu_ms = 0;                              // held
  DurationMs contended_ms = 0, contended_gpu_ms = 0;  // while anybody waited: how long, and held
  std::uint64_t events = 0, plans = 0;                // that the core took, and that were made
};

// Watches the rows that the core changes.
class Recorder {
 public:
  Recorder(const Trace& trace, std::uint32_t gpus);

  // A job of the trace, by its index, is in the queue as that id; or it never can run.
  void submitted(std::size_t index, JobId id, std::uint32_t gpus, TimeMs now_ms);
  void impossible(std::size_t index, std::uint32_t gpus, TimeMs now_ms);
  // REQUIRES: time does not go back
  void take(const core::Changes& changes, TimeMs now_ms);
  // Nothing else happens at this time.
  void settled(TimeMs now_ms);
  Record finish(std::uint64_t events, std::uint64_t plans);

 private:
  struct Account {  // of a party, while it goes on
    Party party;
    std::uint32_t held = 0, wanted = 0;
    DurationMs since_contended_ms = 0;
  };
  struct Held {
    std::size_t job = 0;
    std::uint32_t gpus = 0;
    TimeMs since_ms = 0;
  };

  void advance(TimeMs now_ms);
  void book(std::size_t index, std::int64_t held, std::int64_t wanted);
  void settle_account(Account& account);
  void wait(std::size_t index, bool waits);
  void take_job(const core::Job& job, TimeMs now_ms);
  void take_holding(const core::Holding& holding, TimeMs now_ms);
  void give_back(const core::HoldingKey& key, TimeMs now_ms);

  const Trace& x_trace;
  Record x_record;
  std::map<std::string, Account> x_users, x_workspaces;
  std::map<JobId, std::size_t> x_indexes;
  std::map<core::HoldingKey, Held> x_holdings;
  std::set<std::size_t> x_waiting;
  TimeMs x_now_ms = 0;
  std::uint32_t x_held = 0;
};

}  // namespace trainyard::simulate
