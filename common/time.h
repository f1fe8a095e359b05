// Time is data: every event carries it. Milliseconds everywhere.
#pragma once

#include <cstdint>
#include <string>

namespace trainyard {

// Controller time: milliseconds since the Unix epoch as seen when the controller process started, advanced by
// CLOCK_BOOTTIME only, never less than the last committed time. So it is monotone across clock steps and restarts,
// and close enough to wall time to show to people. Agents use the same type for their own CLOCK_BOOTTIME.
using TimeMs = std::int64_t;
using DurationMs = std::int64_t;

inline constexpr DurationMs kForever = 0;  // of a lease: never ends by itself

// "2026-11-23T20:01:02.345Z"; empty for 0.
std::string iso8601(TimeMs time);
// ISO 8601 duration ("P7D", "PT1H30M", "PT90S"); nullopt-like -1 when malformed, zero or negative.
DurationMs parse_duration(const std::string& text);
// The shortest ISO 8601 form: 604800000 -> "P7D".
std::string format_duration(DurationMs duration);

}  // namespace trainyard
