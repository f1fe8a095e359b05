// Moments and spans as users type them: "2018-06-01T12:00:00Z", "-2h" (before now), "5m". Pure.
#pragma once

#include <string>

#include "common/result.h"
#include "common/time.h"

namespace trainyard::cli {

// What --help says of it.
inline constexpr const char* kMomentForms = "2018-06-01T12:00:00Z (UTC), or -2h, -30m, -1d12h (before now)";

// ISO 8601 in UTC, down to a date; or "-" and a span: so long before `now_ms`; or "+": after it. An error begins with
// `flag`.
Result<TimeMs> parse_moment(const std::string& flag, const std::string& text, TimeMs now_ms);
// "90s", "5m", "2h", "7d" and sums of them ("1h30m"), or ISO 8601 ("PT5M").
Result<DurationMs> parse_span(const std::string& flag, const std::string& text);

}  // namespace trainyard::cli
