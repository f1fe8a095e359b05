#include "cli/moment.h"

#include <fmt/format.h>
#include <time.h>

#include <cctype>
#include <cstdio>

namespace trainyard::cli {
namespace {

constexpr DurationMs kLongest = 100LL * 366 * 86'400'000;

DurationMs unit_of(char unit) {
  switch (unit) {
    case 's':
      return 1'000;
    case 'm':
      return 60'000;
    case 'h':
      return 3'600'000;
    case 'd':
      return 86'400'000;
    default:
      return 0;
  }
}

// -1: not of this form.
DurationMs sum_of_units(const std::string& text) {
  DurationMs total = 0, number = -1;
  for (const char c : text) {
    if (std::isdigit(static_cast<unsigned char>(c)) != 0) {
      number = (number < 0 ? 0 : number) * 10 + (c - '0');
      if (number > kLongest) return -1;
      continue;
    }
    const DurationMs unit = unit_of(c);
    if (number < 0 || unit == 0 || number > kLongest / unit) return -1;
    total += number * unit;
    number = -1;
  }
  return number < 0 && total > 0 && total <= kLongest ? total : -1;
}

Error malformed(const std::string& flag, const std::string& text, const std::string& form) {
  return {Code::invalid_argument, fmt::format("{}: \"{}\" must look like {}", flag, text, form)};
}

}  // namespace

Result<DurationMs> parse_span(const std::string& flag, const std::string& text) {
  const DurationMs span = text.starts_with("P") ? parse_duration(text) : sum_of_units(text);
  if (span <= 0) return malformed(flag, text, "30s, 5m, 2h, 1h30m, 7d or PT5M");
  return span;
}

Result<TimeMs> parse_moment(const std::string& flag, const std::string& text, TimeMs now_ms) {
  if (text.starts_with("-")) {
    const auto span = parse_span(flag, text.substr(1));
    if (!span) return malformed(flag, text, "-30m, -2h or -7d");
    return now_ms - *span;
  }
  if (text.starts_with("+")) {
    const auto span = parse_span(flag, text.substr(1));
    if (!span) return malformed(flag, text, "+30m, +2h or +7d");
    return now_ms + *span;
  }
  tm parts{};
  int date = 0, minutes = 0, seconds = 0, fraction = 0;
  std::sscanf(text.c_str(), "%4d-%2d-%2d%n", &parts.tm_year, &parts.tm_mon, &parts.tm_mday, &date);
  int used = date;
  const std::string time = date > 0 ? text.substr(static_cast<std::size_t>(date)) : "";
  if (time.starts_with("T")) {
    std::sscanf(time.c_str(), "T%2d:%2d%n", &parts.tm_hour, &parts.tm_min, &minutes);
    if (minutes == 0) return malformed(flag, text, kMomentForms);
    std::sscanf(time.c_str() + minutes, ":%2d%n", &parts.tm_sec, &seconds);
    int ignored = 0;
    if (seconds > 0) std::sscanf(time.c_str() + minutes + seconds, ".%9d%n", &ignored, &fraction);
    used += minutes + seconds + fraction;
    if (text[static_cast<std::size_t>(used)] == 'Z') ++used;
  }
  const tm given = parts;
  parts.tm_year -= 1900;
  parts.tm_mon -= 1;
  const time_t moment = ::timegm(&parts);
  // timegm takes the 31st of June for the 1st of July.
  const bool exists = parts.tm_year == given.tm_year - 1900 && parts.tm_mon == given.tm_mon - 1 &&
                      parts.tm_mday == given.tm_mday && parts.tm_hour == given.tm_hour &&
                      parts.tm_min == given.tm_min && parts.tm_sec == given.tm_sec;
  if (date == 0 || static_cast<std::size_t>(used) != text.size() || !exists || moment < 0) {
    return malformed(flag, text, kMomentForms);
  }
  return static_cast<TimeMs>(moment) * 1000;
}

}  // namespace trainyard::cli
