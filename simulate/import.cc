#include "simulate/import.h"

#include <algorithm>
#include <charconv>

#include "simulate/csv.h"

namespace trainyard::simulate {

namespace {

// A decimal number of seconds, rounded up to whole ones; -1: it is none.
std::int64_t whole_seconds(const std::string& text) {
  std::int64_t whole = 0;
  const char* end = text.data() + text.size();
  const auto [dot, error] = std::from_chars(text.data(), end, whole);
  if (error != std::errc() || whole < 0 || whole > kLongest_s) return -1;
  if (dot == end) return whole;
  if (*dot != '.' || !std::all_of(dot + 1, end, [](char c) { return c >= '0' && c <= '9'; })) return -1;
  return whole + (std::any_of(dot + 1, end, [](char c) { return c != '0'; }) ? 1 : 0);
}

// Days since 1970-01-01 of a date of the Gregorian calendar.
std::int64_t days_of(std::int64_t year, std::int64_t month, std::int64_t day) {
  year -= month <= 2 ? 1 : 0;
  const std::int64_t era = year / 400, year_of_era = year - era * 400;
  const std::int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146'097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719'468;
}

// "2017-10-09 07:01:55" as if it were UTC; none: it is not of this form.
std::optional<std::int64_t> moment_of(const std::string& text) {
  constexpr std::string_view kForm = "dddd-dd-dd dd:dd:dd";
  if (text.size() != kForm.size()) return std::nullopt;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (kForm[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != kForm[i]) return std::nullopt;
  }
  const auto part = [&](std::size_t from, std::size_t size) {
    return std::int64_t{std::stoi(text.substr(from, size))};
  };
  const std::int64_t month = part(5, 2), day = part(8, 2), hour = part(11, 2), minute = part(14, 2),
                     second = part(17, 2);
  if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60) return std::nullopt;
  return days_of(part(0, 4), month, day) * 86'400 + hour * 3'600 + minute * 60 + second;
}

// Even parts of as few nodes as can be, like `"resources": {"gpus": N, "maxPerNode": M}` of a job file.
void spread(TraceJob& job, std::uint32_t gpus, std::uint32_t most_per_node) {
  job.nodes = (gpus + most_per_node - 1) / most_per_node;
  job.gpus_per_node = (gpus + job.nodes - 1) / job.nodes;
}

Result<Trace> read_own(std::string_view text, const std::string& name, std::uint32_t) {
  return read_trace(text, name);
}

Result<Trace> read_philly(std::string_view text, const std::string& name, std::uint32_t most_gpus) {
  enum Columns : std::size_t { kTimestamp, kDuration, kGpus, kCluster };
  CsvReader csv(text, name);
  const Status status =
      csv.header({{"timestamp", true}, {"duration", true}, {"num_gpus", true}, {"cluster", true}}, true);
  if (!status) return status.error();
  Trace trace;
  for (;;) {
    const auto more = csv.next();
    if (!more) return more.error();
    if (!*more) break;
    TraceJob job;
    const auto submit = moment_of(csv.text(kTimestamp));
    if (!submit) return csv.wrong(kTimestamp, "must look like 2017-10-09 07:01:55");
    job.submit_s = *submit;
    job.duration_s = whole_seconds(csv.text(kDuration));
    if (job.duration_s < 0) return csv.wrong(kDuration, "must be a number of seconds");
    const auto gpus = csv.number(kGpus, 1, kMostNodes, 1);
    if (!gpus) return gpus.error();
    spread(job, static_cast<std::uint32_t>(*gpus), std::max<std::uint32_t>(1, most_gpus));
    job.user = job.workspace = csv.text(kCluster);
    trace.push_back(std::move(job));
  }
  sort_by_submission(trace);
  return trace;
}

Result<Trace> read_openb(std::string_view text, const std::string& name, std::uint32_t) {
  enum Columns : std::size_t { kGpus, kQos, kCreation, kDeletion, kScheduled };
  CsvReader csv(text, name);
  const Status status = csv.header(
      {{"num_gpu", true}, {"qos", true}, {"creation_time", true}, {"deletion_time", true}, {"scheduled_time", true}},
      true);
  if (!status) return status.error();
  Trace trace;
  for (;;) {
    const auto more = csv.next();
    if (!more) return more.error();
    if (!*more) break;
    const auto gpus = csv.number(kGpus, 0, kMostGpus, 0);
    const std::int64_t creation_s = whole_seconds(csv.text(kCreation));
    const std::int64_t deletion_s = whole_seconds(csv.text(kDeletion));
    const std::int64_t scheduled_s = whole_seconds(csv.text(kScheduled));
    if (!gpus) return gpus.error();
    if (creation_s < 0) return csv.wrong(kCreation, "must be a number of seconds");
    if (*gpus == 0 || scheduled_s < 0 || deletion_s < scheduled_s) continue;
    TraceJob job{creation_s, csv.text(kQos), csv.text(kQos), 1, static_cast<std::uint32_t>(*gpus)};
    job.duration_s = deletion_s - scheduled_s;
    trace.push_back(std::move(job));
  }
  sort_by_submission(trace);
  return trace;
}

}  // namespace

const std::vector<Format>& formats() {
  static const std::vector<Format> all = {
      {"trainyard", "submit_s,user,workspace,nodes,gpus_per_node,duration_s,limit_s,priority", read_own, true},
      {"philly", "Microsoft's Philly trace: timestamp,duration,num_gpus,cluster", read_philly, false},
      {"openb", "Alibaba's openb pods: num_gpu,qos,creation_time,deletion_time,scheduled_time", read_openb, false}};
  return all;
}

const Format* find_format(const std::string& name) {
  for (const Format& format : formats()) {
    if (name == format.name) return &format;
  }
  return nullptr;
}

}  // namespace trainyard::simulate
