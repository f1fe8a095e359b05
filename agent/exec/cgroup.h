// The boundary of a holding: one cgroup per attempt; *empty* is the condition for "gone". Uses the cgroup2 mount found
// in /proc/self/mountinfo (also a controller-less one beside v1, where only kill/events/freeze work). A cgroup is never
// used again after cgroup.kill: children made in it would die at once.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/time.h"

namespace trainyard::agent {

// Mount point of the cgroup2 hierarchy as this process sees it: the writable one with the most of the tree when there
// are several. A holding's cgroup is <root>/<cgroup_parent>/<name>.
Result<std::string> find_cgroup2_root();

class Cgroup {
 public:
  explicit Cgroup(std::string path) : x_path(std::move(path)) {}
  const std::string& path() const { return x_path; }

  Status create() const;  // with parents; fine when it exists
  bool exists() const;
  bool populated() const;         // any live process in it or below
  std::vector<int> pids() const;  // in it and below
  bool contains(int pid) const;   // in it or below
  // Processor time of all that ran in it and below so far. The kernel counts it in every cgroup of v2, without a
  // controller, too.
  std::uint64_t cpu_time_us() const;
  // Memory of what runs in it and below: the controller's figure, else what the processes share with nobody.
  std::uint64_t memory_bytes() const;
  void signal_all(int signal) const;  // every process in it and below
  void kill() const;                  // cgroup.kill; falls back to freeze + SIGKILL where there is none
  // A descriptor that polls POLLPRI when `populated` changes (cgroup.events). Caller owns it; -1 when it is gone.
  int open_events() const;
  Status remove() const;  // removes it and its children; they must be empty

 private:
  std::string x_path;
};

// Waits until nothing lives in `cgroup` or below (or it does not exist): done(true), at once or as soon as that is so;
// done(false) at the deadline. Runs once, on the loop of `io`, never from inside this call.
void wait_empty(boost::asio::io_context& io, const Cgroup& cgroup, DurationMs deadline_ms,
                std::function<void(bool)> done);

// The cgroup of `pid` below the cgroup2 root ("/trainyard/..."), or empty.
std::string cgroup_of(int pid);

}  // namespace trainyard::agent
