// Helper processes: everything that may hang on a user's file system (mount, unmount, mkdir, listing, reading, copying
// logs) runs in `trainyard-agent helper ...` children with deadlines; the agent itself never touches a user's mount.
// Asynchronous: called and completed on the agent's loop thread (asio).
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/model.h"
#include "common/result.h"

namespace trainyard::agent {

// Every argv here starts with the path of trainyard-helper (it lies beside the agent and starts in a millisecond), then
// the verb: helper_main.h describes verbs, arguments and exit codes.

// A helper that talks while it runs: reading with follow, shipping logs, uploads.
// Own process group; SIGKILL when the last reference goes (so no helper outlives its use). Handlers run on the loop,
// never from inside a call of this class, and not after kill(). Output may still be read after on_exit; on_end comes
// when that is over, too. SIGPIPE gets ignored in this process.
class HelperProcess {
 public:
  struct Handlers {
    std::function<void(std::string chunk)> on_output;               // once per read_more(); empty = end of its output
    std::function<void(int exit_code, std::string error)> on_exit;  // after the end; error: its stderr, at most 64 KiB
    std::function<void(int exit_code, std::string error)> on_end = {};  // the same, after the empty chunk as well
  };
  static Result<std::shared_ptr<HelperProcess>> start(boost::asio::io_context& io, std::vector<std::string> argv,
                                                      Handlers handlers);
  ~HelperProcess();
  // Asks for the next piece of output (at most 256 KiB): back-pressure is not asking. REQUIRES: none is asked for now
  void read_more();
  // Queues `data` for its standard input; `written` (may be null) tells when the pipe has taken all of it, or false.
  void write(std::string data, std::function<void(bool)> written);
  void close_input();  // after what is queued
  void kill();         // SIGKILL to its group; no handler runs any more
  int pid() const;

 private:
  struct Impl;
  explicit HelperProcess(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> x_impl;
};

struct HelperResult {
  int exit_code = 0;          // of the helper; -1: killed at its deadline
  std::string output, error;  // its stdout and stderr, at most 1 MiB each
};

// Runs `argv` as a child in its own process group, in the agent's cgroup (never the job's); SIGKILL at the deadline. A
// child that cannot be killed (state D) is abandoned, not waited for: `done` is called with exit_code -1 all the same.
void run_helper(boost::asio::io_context& io, std::vector<std::string> argv, std::string input, DurationMs deadline_ms,
                std::function<void(HelperResult)> done);

}  // namespace trainyard::agent
