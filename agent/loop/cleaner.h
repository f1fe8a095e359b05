// Ends an attempt on this node and removes all of it: processes, shims, sandbox, shared memory, mounts, directories,
// cgroup. It goes on trying until nothing is left: `done` is never called early. Processes that SIGKILL does not end
// are freed by aborting the FUSE mounts of the attempt; what even then stays is told. Also used for what an earlier
// life of the agent left behind. Loop thread only.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/loop/log_shipper.h"
#include "agent/loop/place.h"

namespace trainyard::agent {

class Cleaner : public std::enable_shared_from_this<Cleaner> {
 public:
  using Done = std::function<void(CleanupReceipt)>;
  // A directory on a share that ends with the attempt; empty: none, or another node's to remove.
  struct SharedTemp {
    std::string root, path;
  };
  Cleaner(ExecutorContext& context, Place place, std::vector<Volume> volumes, std::shared_ptr<LogShipper> logs,
          SharedTemp shared, std::function<void(const std::string&)> say, Done done);

  // What else belongs to an attempt; `stuck` hears what cannot be ended, each time that changes. Before start().
  void of_attempt(const RunAs& user, std::uint32_t first_port, std::function<void(const std::string&)> stuck);

  // `notice_ms` before SIGTERM, processes that catch SIGUSR1 get one; where none does, there is no notice.
  void start(DurationMs grace_ms, DurationMs notice_ms = 0);
  void shorten(DurationMs grace_ms, DurationMs notice_ms = 0);

 private:
  void give_notice(DurationMs notice_ms);
  void terminate();
  void kill_all();
  void processes_left();
  void end_shims();
  void tell_stuck(const std::string& what);
  void processes_gone();
  void end_part(const char* what, std::uint64_t count);
  void make_sure_of_empty();
  void remove_container();
  void ship_logs();
  void remove_shared_temp();
  void unmount();
  void unmount_volume(std::size_t left);
  void unmount_rest();
  bool has_part(const std::string& what) const;
  void remove_directories();
  void directories_gone();
  void remove_cgroup();
  void again_in(DurationMs delay_ms, void (Cleaner::*step)());
  std::function<void(bool)> when_still_in_grace(void (Cleaner::*step)());

  ExecutorContext& x_context;
  Place x_place;
  std::vector<Volume> x_volumes;
  std::shared_ptr<LogShipper> x_logs;
  SharedTemp x_shared;
  std::function<void(const std::string&)> x_say;
  Done x_done;
  boost::asio::steady_timer x_timer;
  RunAs x_user;
  std::uint32_t x_first_port = 0;  // 0: no ports
  std::function<void(const std::string&)> x_stuck;
  std::string x_told_stuck;
  bool x_aborted = false;  // the attempt's FUSE mounts
  std::uint64_t x_shared_memory = 0, x_ports = 0, x_files = 0;
  CleanupReceipt x_receipt;
  TimeMs x_part_started_ms = 0;
  TimeMs x_started_ms = 0, x_grace_ends_ms = 0, x_notice_ends_ms = 0;
  DurationMs x_grace_ms = 0;
  std::uint32_t x_grace_round = 0;  // a shortened grace makes the earlier wait count no more
  bool x_in_grace = false, x_in_notice = false;
};

}  // namespace trainyard::agent
