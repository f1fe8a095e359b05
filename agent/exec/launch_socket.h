// The agent's end of trainyard-rsh: a Unix socket per holding on which the attempt's own processes, and nobody else,
// ask for processes on other nodes of the attempt. Loop thread only. It keeps no launches: the agent does; a launcher
// that lost its connection (agent restarted) connects again and repeats its request with the same key.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agent/exec/cgroup.h"
#include "common/result.h"

namespace trainyard::agent {

struct LaunchRequest {
  std::string key;                    // unique per launcher process on this node: "<pid>-<start time>", "task-<number>"
  std::string host;                   // as mpirun names it
  std::string command;                // for `bash -c` on that node
  std::optional<std::uint32_t> task;  // instead of a command: one of the attempt's tasks
};

enum class LaunchState {
  running,
  exited,       // definite: the launcher ends with exit_code
  refused,      // definite: the launcher ends with 255 and prints the message
  unreachable,  // the launcher goes on waiting; the agent asks again
};

class LaunchSocket {
 public:
  // Called for every request, repeats after a reconnect included.
  using OnRequest = std::function<void(const LaunchRequest&)>;

  // Listens at `path`, in a directory made 0700 and given to `uid`; a left-over socket there is replaced. Only
  // processes in `cgroup` or below it are heard, others are refused. The path may be longer than a socket address.
  static Result<std::unique_ptr<LaunchSocket>> open(boost::asio::io_context& io, const std::string& path, Cgroup cgroup,
                                                    std::uint32_t uid, OnRequest on_request);
  ~LaunchSocket();  // closes all connections and removes the socket: launchers then wait for the next one

  // Tells the launchers that asked with this key, where connected; otherwise nothing happens (they will ask again).
  void notify(const std::string& key, LaunchState state, int exit_code, const std::string& message);

 private:
  struct Impl;
  explicit LaunchSocket(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> x_impl;
};

}  // namespace trainyard::agent
