#include "simulate/trace.h"

#include <algorithm>

#include "common/csv.h"
#include "simulate/csv.h"

namespace trainyard::simulate {

namespace {

enum Columns : std::size_t { kSubmit, kUser, kWorkspace, kNodes, kGpusPerNode, kDuration, kLimit, kPriority };
const std::vector<CsvColumn> kColumns = {{"submit_s", true}, {"user", false},          {"workspace", false},
                                         {"nodes", false},   {"gpus_per_node", false}, {"duration_s", true},
                                         {"limit_s", false}, {"priority", false}};

const char* name_of(Priority priority) {
  return priority == Priority::high ? "high" : priority == Priority::low ? "low" : "normal";
}

std::optional<Priority> priority_named(const std::string& name) {
  for (const Priority priority : {Priority::low, Priority::normal, Priority::high}) {
    if (name == name_of(priority)) return priority;
  }
  return name.empty() ? std::optional(Priority::normal) : std::nullopt;
}

Result<TraceJob> job_of(const CsvReader& csv) {
  const auto submit = csv.number(kSubmit, -kLatestSubmit_s, kLatestSubmit_s, -1);
  const auto nodes = csv.number(kNodes, 1, kMostNodes, 1);
  const auto gpus = csv.number(kGpusPerNode, 0, kMostGpus, 0);
  const auto duration = csv.number(kDuration, 0, kLongest_s, 0);
  const auto limit = csv.number(kLimit, 1, kLongest_s, 0);
  for (const auto* field : {&submit, &nodes, &gpus, &duration, &limit}) {
    if (!*field) return field->error();
  }
  for (const std::size_t column : {kSubmit, kDuration}) {
    if (csv.text(column).empty()) return csv.wrong(column, "must not be empty");
  }
  const auto priority = priority_named(csv.text(kPriority));
  if (!priority) return csv.wrong(kPriority, "must be low, normal or high");
  TraceJob job{*submit,
               csv.text(kUser),
               csv.text(kWorkspace),
               static_cast<std::uint32_t>(*nodes),
               static_cast<std::uint32_t>(*gpus),
               *duration,
               *limit,
               *priority};
  if (job.user.empty()) job.user = "-";
  if (job.workspace.empty()) job.workspace = "-";
  return job;
}

}  // namespace

Result<Trace> read_trace(std::string_view text, const std::string& name) {
  CsvReader csv(text, name);
  if (const Status status = csv.header(kColumns, false); !status) return status.error();
  Trace trace;
  for (;;) {
    const auto more = csv.next();
    if (!more) return more.error();
    if (!*more) break;
    auto job = job_of(csv);
    if (!job) return job.error();
    trace.push_back(std::move(*job));
  }
  sort_by_submission(trace);
  return trace;
}

std::string write_trace(const Trace& trace) {
  std::string out;
  for (const CsvColumn& column : kColumns) out += (out.empty() ? "" : ",") + std::string(column.name);
  out += "\n";
  for (const TraceJob& job : trace) {
    out += std::to_string(job.submit_s) + "," + csv_field(job.user) + "," + csv_field(job.workspace) + "," +
           std::to_string(job.nodes) + "," + std::to_string(job.gpus_per_node) + "," + std::to_string(job.duration_s) +
           "," + (job.limit_s > 0 ? std::to_string(job.limit_s) : "") + "," + name_of(job.priority) + "\n";
  }
  return out;
}

Trace select(Trace trace, const Selection& selection) {
  std::erase_if(trace, [&](const TraceJob& job) {
    return (selection.from_s && job.submit_s < *selection.from_s) ||
           (selection.until_s && job.submit_s >= *selection.until_s);
  });
  if (selection.most_jobs > 0 && trace.size() > selection.most_jobs) trace.resize(selection.most_jobs);
  return trace;
}

void assume_limits(Trace& trace, std::int64_t factor) {
  for (TraceJob& job : trace) {
    if (job.limit_s == 0) job.limit_s = std::min(std::max<std::int64_t>(60, job.duration_s * factor), kLongest_s);
  }
}

void sort_by_submission(Trace& trace) {
  std::stable_sort(trace.begin(), trace.end(),
                   [](const TraceJob& one, const TraceJob& other) { return one.submit_s < other.submit_s; });
}

}  // namespace trainyard::simulate
