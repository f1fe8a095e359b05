// The store's contract in memory, for tests and simulation, with faults on order. Single-threaded, except
// accepts_new_work() (an atomic).
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "storage/store.h"

namespace trainyard::storage {

class MemoryStore : public Store {
 public:
  // What a failing commit leaves behind: a caller who only hears "failed" must be right either way.
  enum class Fault { nothing_written, all_written };

  Result<core::Tables> load() override;
  Status commit(const core::Changes& changes) override;
  Result<std::vector<core::TimelineLine>> timeline(const std::string& subject, std::uint64_t after,
                                                   std::uint32_t limit) override;
  std::unique_ptr<UsageReader> usage_reader() override;  // over a copy
  bool accepts_new_work() const override { return x_accepts; }

  // The n-th commit from now (1: the next) fails, and every one after it until restart(): errors are final.
  void fail_commit(std::uint64_t n, Fault fault = Fault::nothing_written);
  // A new process over what was committed.
  void restart() {
    x_failed = false;
    x_fail_at = 0;
  }
  void accept_new_work(bool accepts) { x_accepts = accepts; }
  std::uint64_t commits() const { return x_commits; }  // that were acknowledged

 private:
  void apply(const core::Changes& changes);

  core::Meta x_meta;
  std::map<GroupId, core::Group> x_groups;
  std::map<WorkspaceId, core::Workspace> x_workspaces;
  std::map<ExperimentId, core::Experiment> x_experiments;
  std::map<ClusterId, core::Cluster> x_clusters;
  std::map<NodeId, core::Node> x_nodes;
  std::map<JobId, core::Job> x_jobs;
  std::map<core::HoldingKey, core::Holding> x_holdings;
  std::map<AccountId, core::Account> x_accounts;
  std::map<ShareId, core::Share> x_shares;
  std::map<FileServerId, core::FileServer> x_file_servers;
  std::map<std::string, core::RequestRecord> x_requests;
  std::map<core::Payer, core::Spent> x_spent;
  std::map<ReservationId, core::Reservation> x_reservations;
  std::map<JobArrayId, core::JobArray> x_arrays;
  std::map<JobScheduleId, core::JobSchedule> x_schedules;
  std::map<std::uint64_t, core::TimelineLine> x_timeline;
  std::vector<core::Usage> x_usage;

  std::uint64_t x_commits = 0;
  std::uint64_t x_fail_at = 0;  // value of x_commits + 1 that fails; 0: none
  Fault x_fault = Fault::nothing_written;
  bool x_failed = false;
  std::atomic<bool> x_accepts = true;
};

}  // namespace trainyard::storage
