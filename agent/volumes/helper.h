// Helper processes: everything that may hang on a user's file system (mount, unmount, mkdir, listing, reading, copying
// logs) runs in `trainyard-agent helper ...` children with deadlines; the agent itself never touches a user's mount.
// Asynchronous: called and completed on the agent's loop thread (asio).
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <string>
#include <vector>

#include "common/model.h"
#include "common/result.h"

namespace trainyard::agent {

struct HelperResult {
  int exit_code = 0;          // of the helper; -1: killed at its deadline
  std::string output, error;  // its stdout and stderr, at most 1 MiB each
};

// Runs `argv` as a child in its own process group and cgroup (never the job's); SIGKILL at the deadline. A child that
// cannot be killed (state D) is abandoned, not waited for: `done` is called with exit_code -1 all the same.
void run_helper(boost::asio::io_context& io, std::vector<std::string> argv, std::string input, DurationMs deadline_ms,
                std::function<void(HelperResult)> done);

}  // namespace trainyard::agent
