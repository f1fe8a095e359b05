// "The same as before", said by one agent's stream. Where neither side has anything to tell the other, the edge renews
// the node's lease by itself and at once, however long the loop plans; the loop learns when that was at its next look.
//
// A lease that was renewed here is never fenced as if it had not been. The loop looks every `look_every_ms`, before it
// concludes anything from silence; a stream that was silent for `alone_ms` before a look is closed by it and must come
// to the loop. So when a node counts as unreachable (look_every_ms + alone_ms < unreachable_after_ms after the last
// beat that the loop knows of), the edge has renewed nothing since.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>

#include "common/time.h"

namespace trainyard::controller {

inline constexpr DurationMs look_every_ms(DurationMs unreachable_after_ms) {
  return std::min<DurationMs>(1000, unreachable_after_ms / 4);
}
inline constexpr DurationMs alone_ms(DurationMs unreachable_after_ms) {
  return unreachable_after_ms / 3;
}
// Between two answers: about every third beat of an agent with the default times. The answer is the larger half of the
// edge's work for a beat, and a lease that is renewed here is much longer than this (Acknowledge::settled_revision).
inline constexpr DurationMs answer_every_ms(DurationMs alone_ms) {
  return alone_ms * 7 / 5;
}

class Heartbeat {
 public:
  explicit Heartbeat(DurationMs alone_ms) : x_alone_ms(alone_ms) {}

  enum class Beat {
    for_the_loop,  // it must hear it
    renewed,       // the agent hears so with a later one
    answer,        // renewed, and the agent must hear so
  };
  // The agent says that it still acts on these orders. Any thread, one at a time.
  Beat beat(TimeMs now_ms, std::uint64_t orders_revision);
  // Any thread. From now on the loop must hear it; beats that were are not forgotten.
  void close() { x_word.fetch_and(~kOpen, std::memory_order_acq_rel); }

  // The loop's thread, as all below. It has heard the agent, and has nothing to say to it.
  void open(TimeMs now_ms, std::uint64_t orders_revision);
  // The newest beat since the last call; nullopt: none.
  std::optional<TimeMs> take(TimeMs now_ms);

 private:
  static constexpr std::uint64_t kOpen = 1;
  static TimeMs time_of(std::uint64_t word) { return static_cast<TimeMs>(word >> 1); }
  static std::uint64_t word_of(TimeMs at_ms) { return static_cast<std::uint64_t>(at_ms) << 1; }

  const DurationMs x_alone_ms;
  std::atomic<std::uint64_t> x_word = 0;  // when the last beat was, and whether it is open
  std::atomic<std::uint64_t> x_revision = 0;
  TimeMs x_taken_ms = 0;     // the loop's
  TimeMs x_answered_ms = 0;  // the agent's
};

}  // namespace trainyard::controller
