// Asks trainyard-gpus what the GPUs are doing. A driver that hangs costs values, never the loop: an answer that is late
// is not waited for, a process that hangs is killed, and another one is only started once the first is gone (one that
// the kernel holds may never go). Loop thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/probe/gpu_states.h"
#include "agent/volumes/helper.h"
#include "common/counters.h"

namespace trainyard::agent {

class GpuWatch : public std::enable_shared_from_this<GpuWatch> {
 public:
  struct Patience {
    DurationMs answer_ms = 2'000;    // after which a question counts as unanswered
    DurationMs hung_ms = 60'000;     // after which the process is killed; a driver may take long to wake its GPUs
    DurationMs restart_ms = 30'000;  // from the end of one process to the start of another
  };
  using Done = std::function<void(std::vector<GpuCounters>)>;
  using DoneStates = std::function<void(std::optional<GpuStates>)>;

  GpuWatch(boost::asio::io_context& io, std::string program, Patience patience);
  // Calls `done` once, possibly at once; with nothing when there is no answer in time. Questions wait for each other.
  void ask(Done done);
  void ask_states(DoneStates done);
  // The next question goes to another process.
  void restart();
  void stop();

 private:
  using Answer = std::function<void(std::optional<std::string>)>;
  struct Question {
    char what;
    Answer done;
  };
  void ask(char what, Answer done);
  void ask_next();
  bool is_ready();
  Status start();
  void take_output(const std::string& chunk);
  void ended(int exit_code, const std::string& error);
  void answer(std::optional<std::string> text);

  boost::asio::io_context& x_io;
  const std::string x_program;
  const Patience x_patience;
  std::shared_ptr<HelperProcess> x_helper;
  boost::asio::steady_timer x_late;
  std::deque<Question> x_questions;  // the first one is under way while `x_answering`
  std::string x_text;                // of the answer under way
  TimeMs x_asked_ms = 0;             // of the question that has no answer yet; 0: none
  TimeMs x_not_before_ms = 0;        // a process may be started from then on
  bool x_answering = false;          // the answer is still waited for
  bool x_killed = false, x_no_driver = false;
};

}  // namespace trainyard::agent
