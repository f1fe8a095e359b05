// Who waits for the answer to a command. A ticket is a place in a fixed table, taken by the thread that posts the
// command and given back by the loop's thread when it replies: one atomic exchange each, no lock, no allocation.
#pragma once

#include <grpcpp/grpcpp.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>

#include "controller/core/event.h"
#include "controller/core/state.h"

namespace trainyard::controller {

struct Waiting {
  // Completes the call; on the loop's thread.
  std::function<void(const Result<core::Subject>& result, const core::State& state, TimeMs now_ms)> answer;
  core::Ticket ticket = 0;
};

class Tickets {
 public:
  static constexpr std::size_t kPlaces = 8192;  // twice the loop's inbox

  // 0: every place is taken; `waiting` is not consumed then.
  core::Ticket take(std::unique_ptr<Waiting>& waiting);
  // The one that waits under `ticket`; null when it was answered before.
  std::unique_ptr<Waiting> give_back(core::Ticket ticket);

 private:
  std::array<std::atomic<Waiting*>, kPlaces> x_places{};
  std::atomic<std::uint64_t> x_next{1};
};

}  // namespace trainyard::controller
