#include "simulate/figures.h"

#include <algorithm>
#include <map>

#include "common/check.h"

namespace trainyard::simulate {

namespace {

constexpr std::int64_t kWhole = 10'000;
constexpr DurationMs kShortest_ms = 10'000;  // of a run, for slowdowns

using Wide = __int128;

// Rounded to the nearest.
std::int64_t portion(Wide part, Wide whole) {
  return static_cast<std::int64_t>((2 * kWhole * part + whole) / (2 * whole));
}

struct Size {
  const char* name;
  std::uint32_t most_gpus;
};
constexpr Size kSizes[] = {{"0-1", 1}, {"2-4", 4}, {"5-8", 8}, {"9-32", 32}, {"33-", UINT32_MAX}};

std::size_t size_of(const JobRecord& job) {
  std::size_t at = 0;
  while (job.gpus > kSizes[at].most_gpus) ++at;
  return at;
}

bool came_to_its_end(const JobRecord& job) {
  return job.fate == Fate::ended || job.fate == Fate::limited;
}

std::int64_t slowdown_of(const TraceJob& asked, const JobRecord& job) {
  const DurationMs ran_ms = std::max(asked.duration_s * 1000, kShortest_ms);
  return std::max<std::int64_t>(1000, (job.end_ms - job.submit_ms) * 1000 / ran_ms);
}

// `slowdowns`: of each party's jobs, by its name.
Fairness fairness_of(const std::vector<Party>& parties,
                     const std::map<std::string, std::vector<std::int64_t>>& slowdowns) {
  std::vector<std::int64_t> gpu_times, shares, means;
  for (const Party& party : parties) {
    gpu_times.push_back(party.gpu_ms / 1000);
    if (party.contended_wanted_gpu_ms > 0) {
      shares.push_back(portion(party.contended_held_gpu_ms, party.contended_wanted_gpu_ms));
    }
  }
  for (const auto& [name, values] : slowdowns) means.push_back(spread_of(values).mean);
  return {parties.size(), jain_of(gpu_times), jain_of(shares), jain_of(means)};
}

void count(const JobRecord& job, Figures& figures) {
  switch (job.fate) {
    case Fate::ended:
      ++figures.ended;
      break;
    case Fate::limited:
      ++figures.limited;
      break;
    case Fate::unfinished:
      ++figures.unfinished;
      break;
    case Fate::impossible:
      ++figures.impossible;
      break;
  }
  if (job.attempts > 1) figures.requeues += job.attempts - 1;
}

}  // namespace

Spread spread_of(std::vector<std::int64_t> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  Wide sum = 0;
  for (const std::int64_t value : values) sum += value;
  const std::size_t count = values.size();
  const auto rank = [&](std::size_t percent) { return values[(count * percent + 99) / 100 - 1]; };
  return {count, static_cast<std::int64_t>(sum / static_cast<Wide>(count)), rank(50), rank(95), values.back()};
}

std::optional<std::int64_t> jain_of(const std::vector<std::int64_t>& values) {
  Wide sum = 0, squares = 0;
  for (const std::int64_t value : values) {
    TY_CHECK(value >= 0);
    sum += value;
    squares += static_cast<Wide>(value) * value;
  }
  if (sum == 0) return std::nullopt;
  return portion(sum * sum, static_cast<Wide>(values.size()) * squares);
}

Figures figures_of(const Trace& trace, const Record& record) {
  constexpr std::size_t kClasses = std::size(kSizes);
  Figures figures;
  std::vector<std::int64_t> waits[kClasses + 1], completions[kClasses + 1], slowdowns;  // the last: of all
  std::map<std::string, std::vector<std::int64_t>> of_users, of_workspaces;
  figures.jobs = record.jobs.size();
  for (std::size_t i = 0; i < record.jobs.size(); ++i) {
    const JobRecord& job = record.jobs[i];
    count(job, figures);
    for (const std::size_t at : {size_of(job), kClasses}) {
      if (job.start_ms >= 0) waits[at].push_back(job.start_ms - job.submit_ms);
      if (came_to_its_end(job)) completions[at].push_back(job.end_ms - job.submit_ms);
    }
    if (!came_to_its_end(job)) continue;
    slowdowns.push_back(slowdown_of(trace[i], job));
    of_users[trace[i].user].push_back(slowdowns.back());
    of_workspaces[trace[i].workspace].push_back(slowdowns.back());
  }
  figures.makespan_ms = record.end_ms;
  const Wide there = static_cast<Wide>(record.gpus) * record.end_ms;
  if (there > 0) figures.utilisation = portion(record.gpu_ms, there);
  const Wide contended = static_cast<Wide>(record.gpus) * record.contended_ms;
  if (contended > 0) figures.contended_utilisation = portion(record.contended_gpu_ms, contended);
  figures.contended_ms = record.contended_ms;
  for (std::size_t at = 0; at < kClasses; ++at) {
    if (waits[at].empty()) continue;
    figures.sizes.push_back({kSizes[at].name, spread_of(waits[at]), spread_of(completions[at])});
  }
  figures.wait_ms = spread_of(waits[kClasses]);
  figures.completion_ms = spread_of(completions[kClasses]);
  figures.slowdown = spread_of(slowdowns);
  figures.users = fairness_of(record.users, of_users);
  figures.workspaces = fairness_of(record.workspaces, of_workspaces);
  figures.events = record.events;
  figures.plans = record.plans;
  return figures;
}

}  // namespace trainyard::simulate
