// Accounting: what the time of GPUs that were given to jobs was spent for. Every millisecond of every GPU of a holding,
// from its placement until it is given back, has exactly one cause; time in the queue has none. Pure; any thread.
//
//   placed          the head's process runs         the end is decided        clean, or fenced
//     |--- preparing ---|-- running | lost | requeued --|------- stopping -------|
//
// Units are GPUs; a node without GPUs counts as one. docs/scheduling.md has the words for users.
#pragma once

#include <cstdint>

#include "controller/core/state.h"

namespace trainyard::core {

// GPU milliseconds by cause.
struct GpuTime {
  std::int64_t preparing_ms = 0;
  std::int64_t running_ms = 0;   // of attempts that go on, or ended by themselves, by a user or by their time limit
  std::int64_t lost_ms = 0;      // what ran of attempts that infrastructure ended
  std::int64_t requeued_ms = 0;  // what ran of attempts that were stopped to be queued again
  std::int64_t stopping_ms = 0;

  std::int64_t sum() const { return preparing_ms + running_ms + lost_ms + requeued_ms + stopping_ms; }
  GpuTime& operator+=(const GpuTime& other);
  friend bool operator==(const GpuTime&, const GpuTime&) = default;
};

// GPU milliseconds that the holding has had until `now_ms`.
std::int64_t allocated_ms(const Holding& holding, TimeMs now_ms);

// The holding's row if it ended at `to_ms`. REQUIRES: its node exists
Usage usage_of(const State& state, const Holding& holding, TimeMs to_ms);

// By cause, of what lies in [from_ms, to_ms).
GpuTime gpu_time(const Usage& usage, TimeMs from_ms, TimeMs to_ms);
// Of all of it.
inline GpuTime gpu_time(const Usage& usage) {
  return gpu_time(usage, usage.from_ms, usage.to_ms);
}
// The causes sum up to what was allocated. Ends the process where they do not: accounts that are wrong are a bug.
void check_usage(const Usage& usage);

// ---- For core ----
// When the work of the job's attempt began; `now_ms`: not yet. REQUIRES: its end is not decided
TimeMs work_since(const Job& job, TimeMs now_ms);
// What the decided end of its attempt makes of its work.
Work work_after(const Job& job);

}  // namespace trainyard::core
