#include "controller/loop/clock.h"

#include <time.h>

#include <algorithm>

#include "common/check.h"

namespace trainyard::controller {

namespace {

TimeMs boot_time_ms() {
  timespec now{};
  TY_CHECK(::clock_gettime(CLOCK_BOOTTIME, &now) == 0);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace

Clock::Clock(TimeMs wall_now_ms, TimeMs last_committed_ms)
    : x_offset_ms(std::max(wall_now_ms, last_committed_ms) - boot_time_ms()) {}

TimeMs Clock::now_ms() const {
  return x_offset_ms + boot_time_ms();
}

}  // namespace trainyard::controller
