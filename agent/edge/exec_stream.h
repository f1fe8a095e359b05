// One command or connection that the controller asked of this node: the agent's end of ServeExec. Calls and handlers on
// the loop thread. Back-pressure both ways: the next part is read only when asked for, one of each output is under way.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "common/model.h"
#include "common/result.h"

namespace trainyard::agent {

struct TerminalSize {
  std::uint32_t rows = 0, columns = 0;
};
struct ExecOrder {
  std::optional<AttemptId> attempt;  // none: on the node itself
  std::string command;               // empty: connect to host and port
  std::string host;
  std::uint32_t port = 0;
  std::optional<TerminalSize> terminal;
  std::string terminal_type;
};

// Each handler but on_closed answers one read_next(); the first is asked for by opening.
struct ExecHandlers {
  std::function<void(ExecOrder)> on_order;
  std::function<void(std::string)> on_data;
  std::function<void()> on_finish;  // end of input
  std::function<void(TerminalSize)> on_resize;
  std::function<void()> on_closed;  // last: the other side went away, or the last word was sent
};

class ExecStream {
 public:
  virtual ~ExecStream() = default;
  virtual void read_next() = 0;
  virtual void send_started() = 0;
  // `sent`: it left this process's buffers as far as gRPC says.
  virtual void send_output(bool is_error, std::string data, std::function<void()> sent) = 0;
  virtual void finish(std::int32_t exit_code) = 0;  // after what was sent; on_closed follows
  virtual void fail(const Error& error) = 0;        // likewise
  virtual void cancel() = 0;
};

}  // namespace trainyard::agent
