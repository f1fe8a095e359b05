// The agent's end of its stream to the controller. It dials, nothing listens. Calls are made on the loop thread;
// handlers run there too: gRPC's own threads only `post`. One stream at a time; the loop decides when to dial again
// (back-off) and every stream has a channel of its own, so that a connection that died silently is never used again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agent/edge/exec_stream.h"
#include "agent/edge/file_stream.h"
#include "common/counters.h"
#include "common/model.h"
#include "common/result.h"

namespace trainyard::agent {

struct LaunchId {
  AttemptId attempt;
  std::string from_node, key;
  friend auto operator<=>(const LaunchId&, const LaunchId&) = default;
};
struct LaunchCall {
  LaunchId id;
  std::string to_host, shell_command;
  std::optional<std::uint32_t> task;  // instead of a command: see agent.proto
};
struct LaunchStatus {
  enum class State { running, exited, refused, unreachable };
  LaunchId id;
  State state = State::unreachable;
  std::int32_t exit_code = 0;
  std::string message;
};

struct LinkSettings {
  std::string controller;            // "host:port"
  std::string certificate, key, ca;  // PEM texts; all empty: no TLS
};

struct LinkHandlers {
  std::function<void()> on_message;                 // any message came: the controller is alive
  std::function<void(std::string reason)> on_down;  // the stream has ended; connect() may be called again
  std::function<void(Orders)> on_orders;
  std::function<void(std::uint64_t sequence)> on_acknowledged;
  std::function<void(LaunchCall)> on_launch;
  std::function<void(LaunchStatus)> on_launch_status;
  std::function<void(std::string call_id)> on_file_call;
  std::function<void(std::string call_id)> on_exec_call;
  std::function<void(std::string reason)> on_refused;
};

using Post = std::function<void(std::function<void()>)>;

class ControllerLink {
 public:
  ControllerLink(LinkSettings settings, Post post, LinkHandlers handlers);
  ~ControllerLink();

  void connect();     // opens a new stream. REQUIRES: none is open
  void disconnect();  // cancels it; on_down follows when gRPC has let go of it
  bool connected() const;

  // Queued on the present stream; dropped when there is none. An unsent report gives way to a newer one.
  void send(const Report& report);
  void send_same(std::uint64_t sequence, std::uint64_t orders_revision);
  void send(const LaunchCall& call);
  void send(const LaunchStatus& status);
  void send(const CounterSample& sample);  // an unsent one gives way to a newer one

  // Opens ServeFile for a FileCall, on the channel of the present stream; nullptr when there is none.
  std::shared_ptr<FileStream> open_file(const std::string& call_id, FileHandlers handlers);
  std::shared_ptr<ExecStream> open_exec(const std::string& call_id, ExecHandlers handlers);  // of an ExecCall, likewise

 private:
  struct Impl;
  std::shared_ptr<Impl> x_impl;
};

}  // namespace trainyard::agent
