// Brings the logs of one attempt from the spool to the job's stdouterr directory while they grow, by a helper process.
// A helper that dies is started again and goes on where the file on the share ends. Loop thread only.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/loop/place.h"
#include "agent/volumes/helper.h"

namespace trainyard::agent {

class LogShipper : public std::enable_shared_from_this<LogShipper> {
 public:
  struct File {
    std::string spooled;           // absolute, on the node's disk
    std::string destination;       // relative to root
    bool may_stay_away = false;    // somebody else's: brought when it is there and has something in it
    std::uint64_t most_bytes = 0;  // of such a file, no more than this is brought; 0: all
  };
  LogShipper(ExecutorContext& context, std::string root, std::vector<File> files);

  void start();
  // Everything that is in the spool is brought over and synced, then `done(error)`; empty: all bytes are there.
  void finish(DurationMs deadline_ms, std::function<void(std::string error)> done);

 private:
  void helper_ended(int exit_code, const std::string& error);
  void finished(std::string error);

  ExecutorContext& x_context;
  std::string x_root;
  std::vector<File> x_files;
  std::shared_ptr<HelperProcess> x_helper;
  boost::asio::steady_timer x_restart, x_deadline;
  std::function<void(std::string)> x_done;
};

}  // namespace trainyard::agent
