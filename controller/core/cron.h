// When something is due again and again, as cron says it: "30 3 * * 1-5". Pure, integers only: the times are of UTC, or
// of a fixed distance from it; no time zone, whose rules change, and nothing twice or never in a night in March.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/result.h"
#include "common/time.h"

namespace trainyard::core {

struct Cron {
  std::string text;                 // as it was given
  std::int32_t offset_minutes = 0;  // of its days and hours from UTC, positive to the east
  // Bits of what may be: minutes 0 to 59, hours 0 to 23, days 1 to 31, months 1 to 12, weekdays 0 (Sunday) to 6.
  std::uint64_t minutes = 0;
  std::uint32_t hours = 0, days = 0, months = 0, weekdays = 0;
  // Whether its field of days (of weekdays) begins with '*'. When neither does, one of the two fields is enough.
  bool any_day = true, any_weekday = true;
  friend bool operator==(const Cron&, const Cron&) = default;
};

// Five fields, minute hour day-of-month month day-of-week, each of lists, ranges, steps and (of months and weekdays)
// names, or one of @hourly @daily @weekly @monthly. `utc_offset`: "+02:00"; empty: UTC. An error names the field.
Result<Cron> parse_cron(const std::string& text, const std::string& utc_offset);
// "+02:00"; empty: UTC.
std::string offset_text(const Cron& cron);

// The first time after that; none: its days never come (30 February).
std::optional<TimeMs> next_after(const Cron& cron, TimeMs time_ms);

// What came in a span of time, its end included.
struct Passed {
  std::uint64_t times = 0;
  TimeMs newest_ms = 0;  // of them
};
Passed passed_between(const Cron& cron, TimeMs after_ms, TimeMs until_ms);

// "20261128-0330" of the days and hours of the expression.
std::string stamp(const Cron& cron, TimeMs time_ms);

}  // namespace trainyard::core
