// The clock on the wall, for what people read and for moments that machines share. Not for the decision cores: their
// time comes in with the events.
#pragma once

#include <chrono>

#include "common/time.h"

namespace trainyard {

// Milliseconds since the Unix epoch. It may step when the machine's clock is set: durations are not to be measured by
// it.
inline TimeMs wall_clock_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

}  // namespace trainyard
