// Answers agents' reports, all of a few milliseconds at a time: of 10,000 agents, one thread is then woken a hundred
// times a second and not thousands of times.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "controller/edge/agent_stream.h"
#include "controller/loop/inbox.h"

namespace trainyard::controller {

class Acknowledger {
 public:
  static constexpr std::chrono::milliseconds kWithin{10};

  explicit Acknowledger(Context& context) : x_context(context) {}
  // Any thread.
  void push(std::shared_ptr<AgentStream> stream, std::uint64_t sequence);

 private:
  struct Due {
    std::shared_ptr<AgentStream> stream;
    std::uint64_t sequence = 0;
  };

  Context& x_context;
  Inbox<Due> x_due;
};

}  // namespace trainyard::controller
