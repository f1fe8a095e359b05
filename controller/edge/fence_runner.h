// Runs a pool's fence command for a node, at most a few at a time, each with a deadline; the outcome comes back to the
// loop as an event. Any thread may call run; the waiting happens on threads of its own.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <string>
#include <utility>
#include <vector>

#include "controller/edge/context.h"

namespace trainyard::controller {

class FenceRunner {
 public:
  explicit FenceRunner(Context& context, DurationMs deadline_ms = 60'000);
  ~FenceRunner();  // kills what still runs
  void run(const core::RunFence& fence);

 private:
  core::FenceFinished execute(const core::RunFence& fence) const;

  Context& x_context;
  const DurationMs x_deadline_ms;
  int x_stop = -1;  // eventfd: readable when the controller stops
  boost::asio::thread_pool x_threads{4};
};

// Runs argv, waits at most `deadline_ms` (or until `stop` is readable) and kills its process group then. Ok: exit 0.
Status run_command(const std::vector<std::string>& argv, DurationMs deadline_ms, int stop);

}  // namespace trainyard::controller
