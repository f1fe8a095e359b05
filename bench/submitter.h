// Creates jobs over gRPC with a fixed number of calls in flight, one thread per connection. Used by submit_bench.
#pragma once

#include <grpcpp/channel.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/result.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard::bench {

// A connection of its own, not shared with other channels of this process.
std::shared_ptr<grpc::Channel> connect(const std::string& controller);

// Where the jobs go and where their output goes.
struct Target {
  std::string controller = "127.0.0.1:7470";
  std::string group = "bench", workspace = "bench", experiment = "bench", cluster = "bench";
  std::string account = "bench", share = "logs";
};

// Makes the group, workspace, cluster (of no nodes), experiment, account and share; there already is fine.
Status prepare(const Target& target);

// A one-line job; `mpi`: the line is run in one rank per node.
v1::CreateJobRequest job_request(const Target& target, const std::string& name, std::uint32_t nodes, bool mpi,
                                 const std::string& command_line);

struct Load {
  std::uint32_t in_flight = 1;
  std::uint64_t jobs = 0;            // stop after so many acknowledgements; 0: by time
  std::chrono::milliseconds time{};  // stop after so long; 0: by jobs
};

struct Submitted {
  std::uint64_t acknowledged = 0;
  double seconds = 0;
  std::vector<std::string> names;  // of acknowledged jobs
};

// An error when a call was refused, unless `stop` was set by then. `acknowledged` is called on the connections'
// threads.
Result<Submitted> submit(const Target& target, const Load& load, std::atomic<bool>& stop,
                         const std::function<void(std::uint64_t total)>& acknowledged);

// The experiment's jobs, as the controller lists them.
Result<v1::ListJobsResponse> list_jobs(const Target& target);

}  // namespace trainyard::bench
