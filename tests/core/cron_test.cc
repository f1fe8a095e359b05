// When a cron expression says that it is time: tables of what comes next, and what is said of what it cannot be.
#include "controller/core/cron.h"

#include <catch2/catch.hpp>
#include <vector>

using namespace trainyard;
using namespace trainyard::core;
using Catch::Contains;

namespace {

constexpr TimeMs kMinute = 60'000, kDay = 24 * 60 * kMinute;

// "2026-11-28 03:30", of the years from 1970, counted one by one: another way than the one that is tested.
TimeMs at(const std::string& text) {
  const auto number = [&](std::size_t from, std::size_t digits) { return std::stoi(text.substr(from, digits)); };
  const auto leap = [](int year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); };
  std::int64_t days = number(8, 2) - 1;
  for (int year = 1970; year < number(0, 4); ++year) days += leap(year) ? 366 : 365;
  for (int month = 1; month < number(5, 2); ++month) {
    const int lengths[] = {31, leap(number(0, 4)) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    days += lengths[month - 1];
  }
  return days * kDay + (number(11, 2) * 60 + number(14, 2)) * kMinute;
}

// As `at` reads it, by the name that a job would have.
std::string text_of(TimeMs time_ms) {
  const std::string name = stamp(Cron{}, time_ms);
  return name.substr(0, 4) + "-" + name.substr(4, 2) + "-" + name.substr(6, 2) + " " + name.substr(9, 2) + ":" +
         name.substr(11, 2);
}

std::string next(const std::string& cron, const std::string& after, const std::string& utc_offset = "") {
  const auto time = next_after(parse_cron(cron, utc_offset).value(), at(after));
  return time ? text_of(*time) : "never";
}

std::string error_of(const std::string& cron, const std::string& utc_offset = "") {
  const auto parsed = parse_cron(cron, utc_offset);
  return parsed.ok() ? "" : parsed.error().message;
}

}  // namespace

TEST_CASE("cron: what comes next") {
  struct Row {
    const char *cron, *after, *next;
  };
  const Row rows[] = {
      {"* * * * *", "2026-11-28 03:30", "2026-11-28 03:31"},
      {"0 3 * * *", "2026-11-28 02:59", "2026-11-28 03:00"},
      {"0 3 * * *", "2026-11-28 03:00", "2026-11-29 03:00"},  // after, not at
      {"*/20 * * * *", "2026-11-28 03:40", "2026-11-28 04:00"},
      {"5-59/20 * * * *", "2026-11-28 03:25", "2026-11-28 03:45"},
      {"15,45 9-17 * * *", "2026-11-28 17:45", "2026-11-29 09:15"},
      {"59 23 31 12 *", "2026-12-31 23:58", "2026-12-31 23:59"},
      {"59 23 31 12 *", "2026-12-31 23:59", "2027-12-31 23:59"},
      {"0 0 1 1 *", "2026-12-31 23:59", "2027-01-01 00:00"},
      // Ends of months: only those that have the day.
      {"0 0 31 * *", "2026-03-31 00:00", "2026-05-31 00:00"},
      {"0 0 30 * *", "2026-01-30 00:00", "2026-03-30 00:00"},
      {"0 0 28-31 2 *", "2026-02-28 00:00", "2027-02-28 00:00"},
      {"0 0 28-31 2 *", "2028-02-28 00:00", "2028-02-29 00:00"},
      // Leap years: not 2100, but 2000.
      {"0 0 29 2 *", "2026-01-01 00:00", "2028-02-29 00:00"},
      {"0 0 29 2 *", "2096-02-29 00:00", "2104-02-29 00:00"},
      {"0 0 29 2 *", "1999-12-31 00:00", "2000-02-29 00:00"},
      // Names, in any case, and both Sundays.
      {"0 0 * jan-mar *", "2026-03-31 00:00", "2027-01-01 00:00"},
      {"0 0 * FEB,Dec *", "2026-02-28 00:00", "2026-12-01 00:00"},
      {"0 0 * * SUN", "2026-11-28 00:00", "2026-11-29 00:00"},  // 28 November 2026 is a Saturday
      {"0 0 * * 0", "2026-11-28 00:00", "2026-11-29 00:00"},
      {"0 0 * * 7", "2026-11-28 00:00", "2026-11-29 00:00"},
      {"0 0 * * MON-FRI", "2026-11-27 00:00", "2026-11-30 00:00"},
      {"0 0 * * FRI-SUN", "2026-11-28 00:00", "2026-11-29 00:00"},
      {"0 0 * * 0-0", "2026-11-29 00:00", "2026-12-06 00:00"},
      {"0 0 * * 5-7", "2026-11-29 00:00", "2026-12-04 00:00"},
      {"0 0 * * */2", "2026-11-29 00:00", "2026-12-01 00:00"},  // Sunday, Tuesday, Thursday, Saturday
      // Days of the month and of the week: one is enough when both are restricted; '*' restricts neither, even with a
      // step, and then both must be.
      {"0 0 13 * FRI", "2026-11-01 00:00", "2026-11-06 00:00"},
      {"0 0 13 * FRI", "2026-12-11 00:00", "2026-12-13 00:00"},
      {"0 0 13 * *", "2026-11-01 00:00", "2026-11-13 00:00"},
      {"0 0 */2 * MON", "2026-11-01 00:00", "2026-11-09 00:00"},
      {"0 0 29 2 */7", "2026-01-01 00:00", "2032-02-29 00:00"},
      {"0 0 29 2 */7", "2088-02-29 00:00", "2128-02-29 00:00"},  // forty years: the longest wait that there is
      // Nicknames.
      {"@hourly", "2026-11-28 03:30", "2026-11-28 04:00"},
      {"@daily", "2026-11-28 03:30", "2026-11-29 00:00"},
      {"@weekly", "2026-11-29 00:00", "2026-12-06 00:00"},
      {"@Monthly", "2026-11-28 03:30", "2026-12-01 00:00"},
      // Never.
      {"0 0 30 2 *", "2026-01-01 00:00", "never"},
      {"0 0 31 4,6,9,11 *", "2026-01-01 00:00", "never"},
      {"  0\t0   1 1  * ", "2026-01-01 00:00", "2027-01-01 00:00"},
  };
  for (const Row& row : rows) {
    INFO(row.cron << " after " << row.after);
    CHECK(next(row.cron, row.after) == row.next);
  }
  CHECK(text_of(*next_after(parse_cron("* * * * *", "").value(), at("2026-11-28 03:30") + 59'999)) ==
        "2026-11-28 03:31");
}

TEST_CASE("cron: hours and days are of a fixed distance from UTC, also where that is another date") {
  CHECK(next("0 3 * * *", "2026-11-28 00:00", "+02:00") == "2026-11-28 01:00");
  CHECK(next("0 1 * * *", "2026-11-28 00:00", "+02:00") == "2026-11-28 23:00");
  CHECK(next("0 1 1 * *", "2026-11-28 00:00", "+02:00") == "2026-11-30 23:00");
  CHECK(next("0 22 31 12 *", "2026-11-28 00:00", "-03:30") == "2027-01-01 01:30");
  CHECK(next("0 3 * * *", "2026-11-28 00:00", "Z") == "2026-11-28 03:00");
  const Cron east = parse_cron("0 1 * * *", "+05:45").value();
  CHECK(offset_text(east) == "+05:45");
  CHECK(offset_text(parse_cron("@daily", "-14:00").value()) == "-14:00");
  CHECK(offset_text(parse_cron("@daily", "+00:00").value()).empty());
  CHECK(stamp(east, at("2026-11-27 19:15")) == "20261128-0100");
}

TEST_CASE("cron: times before 1970 are no other times") {
  const Cron daily = parse_cron("30 3 * * *", "").value();
  CHECK(next_after(daily, -kDay) == -kDay + 210 * kMinute);
  CHECK(next_after(daily, -1) == 210 * kMinute);
  CHECK(stamp(daily, -kMinute) == "19691231-2359");
  CHECK(next_after(parse_cron("0 0 * * WED", "").value(), -2 * kDay) == -kDay);  // 31 December 1969 was a Wednesday
}

TEST_CASE("cron: what passed in a span is what comes one after the other in it") {
  const std::string crons[] = {"* * * * *",         "*/7 3-5 * * *", "0 0 31 * *",     "15 12 29 2 *",
                               "1,59 0,23 * * SAT", "0 3 13 * FRI",  "30 4 */2 * MON", "0 0 30 2 *"};
  const std::pair<const char*, const char*> spans[] = {
      {"2026-11-28 03:30", "2026-11-28 03:30"}, {"2026-11-28 03:30", "2026-11-28 03:31"},
      {"2026-11-28 03:07", "2026-11-28 05:59"}, {"2026-11-27 23:58", "2026-11-28 00:00"},
      {"2026-11-28 03:30", "2026-12-31 12:00"}, {"2027-12-31 23:59", "2028-03-01 00:00"}};
  for (const std::string& text : crons) {
    for (const char* offset : {"", "+13:59", "-09:30"}) {
      const Cron cron = parse_cron(text, offset).value();
      for (const auto& [from, to] : spans) {
        Passed counted;
        for (auto time = next_after(cron, at(from)); time && *time <= at(to); time = next_after(cron, *time)) {
          ++counted.times;
          counted.newest_ms = *time;
        }
        INFO(text << offset << " from " << from << " to " << to);
        const Passed passed = passed_between(cron, at(from), at(to));
        REQUIRE(passed.times == counted.times);
        REQUIRE(passed.newest_ms == counted.newest_ms);
      }
    }
  }
  // A clock that was at 1970: half a century of minutes at once.
  const Passed all = passed_between(parse_cron("* * * * *", "").value(), -1, at("2026-11-28 03:30"));
  CHECK(all.times == static_cast<std::uint64_t>(at("2026-11-28 03:30") / kMinute) + 1);
  CHECK(text_of(all.newest_ms) == "2026-11-28 03:30");
}

TEST_CASE("cron: an error names the field, and what is wrong with it") {
  struct Row {
    const char *cron, *error;
  };
  const Row rows[] = {
      {"", "cron: has 0 fields, and must have five: minute, hour, day of month, month, day of week"},
      {"0 3 * *", "cron: has 4 fields, and must have five: minute, hour, day of month, month, day of week"},
      {"0 3 * * * root", "cron: has 6 fields, and must have five: minute, hour, day of month, month, day of week"},
      {"60 3 * * *", "cron: minute: 60 is not from 0 to 59"},
      {"0 24 * * *", "cron: hour: 24 is not from 0 to 23"},
      {"0 0 0 * *", "cron: day of month: 0 is not from 1 to 31"},
      {"0 0 * 13 *", "cron: month: 13 is not from 1 to 12"},
      {"0 0 * * 8", "cron: day of week: 8 is not from 0 to 7"},
      {"0 0 * FOO *", "cron: month: \"FOO\" is no number, and no name like FEB"},
      {"0 0 * * MONDAY", "cron: day of week: \"MONDAY\" is no number, and no name like MON"},
      {"MON 0 * * *", "cron: minute: \"MON\" is no number"},
      {"1,,2 0 * * *", "cron: minute: \"1,,2\" has an empty part"},
      {"1, 0 * * *", "cron: minute: \"1,\" has an empty part"},
      {"30-10 0 * * *", "cron: minute: \"30-10\" ends before it begins"},
      {"0 0 * * FRI-MON", "cron: day of week: \"FRI-MON\" ends before it begins"},
      {"-5 0 * * *", "cron: minute: \"\" is no number"},
      {"1-2-3 0 * * *", "cron: minute: \"2-3\" is no number"},
      {"*/0 0 * * *", "cron: minute: \"*/0\": a step is a number from 1"},
      {"*/x 0 * * *", "cron: minute: \"*/x\": a step is a number from 1"},
      {"5/15 0 * * *", "cron: minute: \"5/15\": a step goes with * or a range, as in 5-59/15"},
      {"5/15,7 0 * * *", "cron: minute: \"5/15\": a step goes with * or a range, as in 5-59/15"},
      {"99999999999 0 * * *", "cron: minute: \"99999999999\" is no number"},
      {"0 0 L * *", "cron: day of month: \"L\" is no number"},
      {"@reboot", "cron: \"@reboot\" is none of @hourly, @daily, @weekly and @monthly"},
      {"0 3 * * *\n", "cron: must be one line of plain characters"},
  };
  for (const Row& row : rows) CHECK(error_of(row.cron) == row.error);
  CHECK(error_of(std::string(300, '*')) == "cron: is longer than 256 characters");
  CHECK(error_of("*/4294967295 0 * * *").empty());  // the first minute only
  CHECK(next("*/4294967295 0 * * *", "2026-11-28 03:30") == "2026-11-29 00:00");
  for (const char* offset : {"2", "+2:00", "+02", "+0200", "+02:60", "+14:01", "CET", "Europe/Berlin", "+0a:00"}) {
    INFO(offset);
    CHECK_THAT(error_of("@daily", offset), Contains("utcOffset: must be like \"+02:00\""));
  }
}
