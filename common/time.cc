#include "common/time.h"

#include <fmt/format.h>

#include <cctype>
#include <ctime>

namespace trainyard {
namespace {

constexpr DurationMs kSecond = 1000, kMinute = 60 * kSecond, kHour = 60 * kMinute, kDay = 24 * kHour;
constexpr DurationMs kLongest = 100LL * 366 * kDay;  // a century: keeps sums far from overflow

DurationMs unit_of(char unit, bool time_part) {
  switch (unit) {
    case 'W':
      return time_part ? 0 : 7 * kDay;
    case 'D':
      return time_part ? 0 : kDay;
    case 'H':
      return time_part ? kHour : 0;
    case 'M':
      return time_part ? kMinute : 0;  // a month has no fixed length: refused
    case 'S':
      return time_part ? kSecond : 0;
    default:
      return 0;
  }
}

// Digits with an optional fraction at `at`, in thousandths; -1 when there is none.
std::int64_t parse_thousandths(const std::string& text, std::size_t& at) {
  std::int64_t whole = 0;
  const std::size_t start = at;
  for (; at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])); ++at) {
    whole = whole * 10 + (text[at] - '0');
    if (whole > kLongest) return -1;
  }
  if (at == start) return -1;
  std::int64_t fraction = 0;
  if (at < text.size() && (text[at] == '.' || text[at] == ',')) {
    int scale = 100;
    for (++at; at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])); ++at) {
      fraction += (text[at] - '0') * scale;
      scale /= 10;
    }
  }
  return whole * 1000 + fraction;
}

}  // namespace

std::string iso8601(TimeMs time) {
  if (time == 0) return {};
  const std::time_t seconds = static_cast<std::time_t>(time / 1000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, time % 1000);
}

DurationMs parse_duration(const std::string& text) {
  if (text.size() < 3 || text[0] != 'P') return -1;
  DurationMs total = 0;
  bool time_part = false;
  for (std::size_t at = 1; at < text.size();) {
    if (text[at] == 'T') {
      if (time_part || at + 1 == text.size()) return -1;
      time_part = true;
      ++at;
      continue;
    }
    const std::int64_t thousandths = parse_thousandths(text, at);
    if (thousandths < 0 || at == text.size()) return -1;
    const DurationMs unit = unit_of(text[at++], time_part);
    if (unit == 0 || thousandths > kLongest / (unit / 1000)) return -1;
    total += thousandths * (unit / 1000);
    if (total > kLongest) return -1;
  }
  return total > 0 ? total : -1;
}

std::string format_duration(DurationMs duration) {
  if (duration <= 0) return "PT0S";
  std::string text = "P";
  if (const auto days = duration / kDay; days > 0) text += fmt::format("{}D", days);
  duration %= kDay;
  if (duration == 0) return text;
  text += 'T';
  if (const auto hours = duration / kHour; hours > 0) text += fmt::format("{}H", hours);
  duration %= kHour;
  if (const auto minutes = duration / kMinute; minutes > 0) text += fmt::format("{}M", minutes);
  duration %= kMinute;
  if (duration % kSecond != 0) {
    text += fmt::format("{}.{:03}S", duration / kSecond, duration % kSecond);
  } else if (duration > 0) {
    text += fmt::format("{}S", duration / kSecond);
  }
  return text;
}

}  // namespace trainyard
