// Controller time (common/time.h): starts at the later of wall time and the last committed time, then follows
// CLOCK_BOOTTIME, which no clock step changes and which counts while the machine sleeps.
#pragma once

#include "common/time.h"

namespace trainyard::controller {

class Clock {
 public:
  Clock(TimeMs wall_now_ms, TimeMs last_committed_ms);
  // Never less than the last answer.
  TimeMs now_ms() const;

 private:
  TimeMs x_offset_ms;  // controller time when CLOCK_BOOTTIME was 0
};

}  // namespace trainyard::controller
