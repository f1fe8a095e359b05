#include "controller/core/cron.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <string_view>
#include <vector>

namespace trainyard::core {

namespace {

constexpr std::int64_t kMinuteMs = 60'000, kMinutesOfDay = 24 * 60;
// The rarest dates are 29 February on a given weekday: at most 40 years lie between two of them.
constexpr std::int64_t kSearchDays = 41 * 366;
constexpr std::size_t kLongest = 256;

// ---- The calendar of Gregory, in days since 1970-01-01 ----

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  return a / b - (a % b < 0 ? 1 : 0);
}

struct Date {
  std::int64_t year = 0;
  std::uint32_t month = 0, day = 0;  // from 1
};

// Years begin in March here: a leap day is the last of its year, and months have one pattern of lengths.
Date date_of(std::int64_t days) {
  days += 719'468;  // from 0000-03-01
  const std::int64_t era = floor_div(days, 146'097);
  const std::int64_t of_era = days - era * 146'097;
  const std::int64_t year_of_era = (of_era - of_era / 1'460 + of_era / 36'524 - of_era / 146'096) / 365;
  const std::int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t month = (5 * of_year + 2) / 153;
  Date date;
  date.day = static_cast<std::uint32_t>(of_year - (153 * month + 2) / 5 + 1);
  date.month = static_cast<std::uint32_t>(month < 10 ? month + 3 : month - 9);
  date.year = year_of_era + era * 400 + (date.month <= 2 ? 1 : 0);
  return date;
}

std::uint32_t weekday_of(std::int64_t days) {
  return static_cast<std::uint32_t>(days + 4 - 7 * floor_div(days + 4, 7));  // 1970-01-01 was a Thursday
}

// ---- The expression ----

using Names = std::vector<std::string_view>;

struct Field {
  const char* name;
  std::uint32_t least, most;
  Names names;  // of `least` and what follows
};

const Field kFields[] = {
    {"minute", 0, 59, {}},
    {"hour", 0, 23, {}},
    {"day of month", 1, 31, {}},
    {"month", 1, 12, {"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
    {"day of week", 0, 7, {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
};

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

Error wrong(const std::string& what) {
  return {Code::invalid_argument, "cron: " + what};
}

Error wrong(const Field& field, const std::string& what) {
  return wrong(std::string(field.name) + ": " + what);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(separator, at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

std::optional<std::uint32_t> number_in(std::string_view text) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return number;
}

Result<std::uint32_t> value_in(const Field& field, std::string_view text) {
  const auto named = std::find(field.names.begin(), field.names.end(), upper(text));
  if (named != field.names.end()) return field.least + static_cast<std::uint32_t>(named - field.names.begin());
  const auto number = number_in(text);
  if (!number) {
    return wrong(field, "\"" + std::string(text) + "\" is no number" +
                            (field.names.empty() ? "" : ", and no name like " + std::string(field.names[1])));
  }
  if (*number < field.least || *number > field.most) {
    return wrong(field, std::to_string(*number) + " is not from " + std::to_string(field.least) + " to " +
                            std::to_string(field.most));
  }
  return *number;
}

// "*", "5", "MON-FRI", "*/10", "0-30/5"
Result<std::uint64_t> part_of(const Field& field, std::string_view part) {
  const std::string quoted = "\"" + std::string(part) + "\"";
  std::uint32_t step = 1;
  std::string_view range = part;
  const std::size_t slash = part.find('/');
  if (slash != std::string_view::npos) {
    range = part.substr(0, slash);
    const auto given = number_in(part.substr(slash + 1));
    if (!given || *given == 0) return wrong(field, quoted + ": a step is a number from 1");
    step = *given;
  }
  std::uint32_t first = field.least, last = field.most;
  const std::size_t dash = range.find('-');
  if (range == "*") {
    if (field.most == 7) last = 6;
  } else {
    const auto low = value_in(field, range.substr(0, dash));
    if (!low.ok()) return low.error();
    if (dash == std::string_view::npos && slash != std::string_view::npos) {
      return wrong(field, quoted + ": a step goes with * or a range, as in " + std::to_string(*low) + "-" +
                              std::to_string(field.most) + std::string(part.substr(slash)));
    }
    first = last = *low;
    if (dash != std::string_view::npos) {
      const auto high = value_in(field, range.substr(dash + 1));
      if (!high.ok()) return high.error();
      last = field.most == 7 && *high == 0 && first > 0 ? 7 : *high;  // FRI-SUN
    }
    if (first > last) return wrong(field, quoted + " ends before it begins");
  }
  std::uint64_t bits = 0;
  for (std::uint32_t value = first; value <= last && value >= first; value += std::min(step, 100U)) {
    bits |= 1ULL << (field.most == 7 ? value % 7 : value);
  }
  return bits;
}

Result<std::uint64_t> field_from(const Field& field, std::string_view text) {
  std::uint64_t bits = 0;
  for (const std::string_view part : split(text, ',')) {
    if (part.empty()) return wrong(field, "\"" + std::string(text) + "\" has an empty part");
    const auto some = part_of(field, part);
    if (!some.ok()) return some.error();
    bits |= *some;
  }
  return bits;
}

// What a nickname stands for; a text that begins with '@' and is none of them stays as it is.
std::string without_nickname(const std::string& text) {
  const std::string name = upper(text);
  if (name == "@HOURLY") return "0 * * * *";
  if (name == "@DAILY") return "0 0 * * *";
  if (name == "@WEEKLY") return "0 0 * * 0";
  if (name == "@MONTHLY") return "0 0 1 * *";
  return text;
}

Result<std::int32_t> offset_from(const std::string& text) {
  if (text.empty() || text == "Z") return 0;
  const auto digit = [&](std::size_t at) { return text[at] >= '0' && text[at] <= '9'; };
  const bool formed = text.size() == 6 && (text[0] == '+' || text[0] == '-') && digit(1) && digit(2) &&
                      text[3] == ':' && digit(4) && digit(5);
  const auto two = [&](std::size_t at) { return (text[at] - '0') * 10 + (text[at + 1] - '0'); };
  if (!formed || two(4) > 59 || two(1) * 60 + two(4) > 14 * 60) {
    return Error{Code::invalid_argument,
                 "utcOffset: must be like \"+02:00\", at most 14 hours; names of time zones are not known here"};
  }
  const std::int32_t minutes = two(1) * 60 + two(4);
  return text[0] == '-' ? -minutes : minutes;
}

// ---- What comes when ----

bool comes_on(const Cron& cron, std::int64_t day, const Date& date) {
  if ((cron.months >> date.month & 1) == 0) return false;
  const bool by_day = (cron.days >> date.day & 1) != 0;
  const bool by_weekday = (cron.weekdays >> weekday_of(day) & 1) != 0;
  return cron.any_day || cron.any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

// The first minute of a day that is not before `from`; none: there is none.
std::optional<std::int64_t> first_minute(const Cron& cron, std::int64_t from) {
  for (std::int64_t hour = from / 60; hour < 24; ++hour) {
    if ((cron.hours >> hour & 1) == 0) continue;
    const std::int64_t least = hour == from / 60 ? from % 60 : 0;
    const std::uint64_t left = cron.minutes >> least << least;
    if (left != 0) return hour * 60 + std::countr_zero(left);
  }
  return std::nullopt;
}

struct Minutes {
  std::uint64_t count = 0;
  std::int64_t last = 0;
};

// Of a day's minutes from `from` to `to`, both included.
Minutes minutes_between(const Cron& cron, std::int64_t from, std::int64_t to) {
  Minutes minutes;
  for (std::int64_t hour = from / 60; hour <= to / 60; ++hour) {
    if ((cron.hours >> hour & 1) == 0) continue;
    std::uint64_t left = cron.minutes;
    if (hour == from / 60) left = left >> from % 60 << from % 60;
    if (hour == to / 60) left &= (2ULL << to % 60) - 1;
    if (left == 0) continue;
    minutes.count += static_cast<std::uint64_t>(std::popcount(left));
    minutes.last = hour * 60 + 63 - std::countl_zero(left);
  }
  return minutes;
}

std::int64_t minute_of(const Cron& cron, TimeMs time_ms) {
  return floor_div(time_ms, kMinuteMs) + cron.offset_minutes;
}

TimeMs time_of(const Cron& cron, std::int64_t minute) {
  return (minute - cron.offset_minutes) * kMinuteMs;
}

std::string padded(std::int64_t number, std::size_t width) {
  const std::string digits = std::to_string(number);
  return digits.size() < width ? std::string(width - digits.size(), '0') + digits : digits;
}

}  // namespace

Result<Cron> parse_cron(const std::string& text, const std::string& utc_offset) {
  Cron cron;
  cron.text = text;
  if (text.size() > kLongest) return wrong("is longer than " + std::to_string(kLongest) + " characters");
  if (std::any_of(text.begin(), text.end(), [](char c) { return (c < 32 && c != '\t') || c > 126; })) {
    return wrong("must be one line of plain characters");
  }
  const auto offset = offset_from(utc_offset);
  if (!offset.ok()) return offset.error();
  cron.offset_minutes = *offset;
  std::string plain = without_nickname(text);
  if (plain.starts_with('@')) return wrong("\"" + text + "\" is none of @hourly, @daily, @weekly and @monthly");
  std::replace(plain.begin(), plain.end(), '\t', ' ');
  std::vector<std::string_view> words;
  for (const std::string_view word : split(plain, ' ')) {
    if (!word.empty()) words.push_back(word);
  }
  if (words.size() != std::size(kFields)) {
    return wrong("has " + std::to_string(words.size()) +
                 " fields, and must have five: minute, hour, day of month, month, day of week");
  }
  std::uint64_t bits[std::size(kFields)] = {};
  for (std::size_t i = 0; i < std::size(kFields); ++i) {
    const auto field = field_from(kFields[i], words[i]);
    if (!field.ok()) return field.error();
    bits[i] = *field;
  }
  cron.minutes = bits[0];
  cron.hours = static_cast<std::uint32_t>(bits[1]);
  cron.days = static_cast<std::uint32_t>(bits[2]);
  cron.months = static_cast<std::uint32_t>(bits[3]);
  cron.weekdays = static_cast<std::uint32_t>(bits[4]);
  cron.any_day = words[2].starts_with('*');
  cron.any_weekday = words[4].starts_with('*');
  return cron;
}

std::string offset_text(const Cron& cron) {
  const std::int32_t minutes = std::abs(cron.offset_minutes);
  if (minutes == 0) return {};
  return (cron.offset_minutes < 0 ? "-" : "+") + padded(minutes / 60, 2) + ":" + padded(minutes % 60, 2);
}

std::optional<TimeMs> next_after(const Cron& cron, TimeMs time_ms) {
  const std::int64_t from = minute_of(cron, time_ms) + 1;
  const std::int64_t today = floor_div(from, kMinutesOfDay);
  for (std::int64_t day = today; day < today + kSearchDays; ++day) {
    if (!comes_on(cron, day, date_of(day))) continue;
    const auto minute = first_minute(cron, day == today ? from - today * kMinutesOfDay : 0);
    if (minute) return time_of(cron, day * kMinutesOfDay + *minute);
  }
  return std::nullopt;
}

Passed passed_between(const Cron& cron, TimeMs after_ms, TimeMs until_ms) {
  const std::int64_t from = minute_of(cron, after_ms) + 1, to = minute_of(cron, until_ms);
  Passed all;
  for (std::int64_t day = floor_div(from, kMinutesOfDay); day * kMinutesOfDay <= to; ++day) {
    if (!comes_on(cron, day, date_of(day))) continue;
    const std::int64_t start = day * kMinutesOfDay;
    const Minutes some = minutes_between(cron, std::max<std::int64_t>(from - start, 0),
                                         std::min<std::int64_t>(to - start, kMinutesOfDay - 1));
    if (some.count == 0) continue;
    all.times += some.count;
    all.newest_ms = time_of(cron, start + some.last);
  }
  return all;
}

std::string stamp(const Cron& cron, TimeMs time_ms) {
  const std::int64_t minute = minute_of(cron, time_ms);
  const std::int64_t day = floor_div(minute, kMinutesOfDay), of_day = minute - day * kMinutesOfDay;
  const Date date = date_of(day);
  return padded(date.year, 4) + padded(date.month, 2) + padded(date.day, 2) + "-" + padded(of_day / 60, 2) +
         padded(of_day % 60, 2);
}

}  // namespace trainyard::core
