#include "controller/edge/usage_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "proto/convert.h"
#include "storage/counter_store.h"

namespace trainyard::controller {
namespace {

constexpr DurationMs kDay = 24 * 3'600'000LL;

Error wrong(const std::string& field, const std::string& text) {
  return {Code::invalid_argument, field + ": " + text};
}

// Within the years that a timestamp can have: sums with it stay far from overflow.
bool is_time(const google::protobuf::Timestamp& time) {
  return time.seconds() >= 0 && time.seconds() <= 253'402'300'799 && time.nanos() >= 0 && time.nanos() < 1'000'000'000;
}

// The first `segments` names of a path.
std::string head_of(const std::string& path, int segments) {
  std::size_t end = 0;
  for (; segments > 0 && end != std::string::npos; --segments) end = path.find('/', end + 1);
  return path.substr(0, end);
}

std::string name_of(const core::Usage& usage, v1::UsageGroupBy group_by) {
  switch (group_by) {
    case v1::USAGE_GROUP_BY_JOB:
      return usage.job_path;
    case v1::USAGE_GROUP_BY_USER:
      return usage.owner;
    case v1::USAGE_GROUP_BY_NODE:
      return usage.node_name;
    case v1::USAGE_GROUP_BY_CLUSTER:
      return usage.cluster_path;
    default:
      return head_of(usage.job_path, 2);
  }
}

void set_time_of(const core::GpuTime& time, std::int64_t idle_ms, v1::GpuTime& out) {
  out.set_preparing_ms(time.preparing_ms);
  out.set_running_ms(time.running_ms - idle_ms);
  out.set_idle_ms(idle_ms);
  out.set_lost_ms(time.lost_ms);
  out.set_requeued_ms(time.requeued_ms);
  out.set_stopping_ms(time.stopping_ms);
}

Status set_place(const v1::ReportUsageRequest& request, UsageQuery& query) {
  if (!request.workspace().empty() && request.resource_group().empty()) {
    return wrong("workspace", "needs resource_group: a workspace is one of a group");
  }
  if (!request.cluster().empty()) {
    if (request.workspace().empty()) return wrong("cluster", "needs workspace: a cluster is one of a workspace");
    query.cluster = core::path_key({request.resource_group(), request.workspace(), request.cluster()});
  } else if (!request.workspace().empty()) {
    query.job_prefix = core::path_key({request.resource_group(), request.workspace()}) + "/";
  } else if (!request.resource_group().empty()) {
    query.job_prefix = core::path_key({request.resource_group()}) + "/";
  }
  return {};
}

}  // namespace

Result<UsageQuery> usage_query(const v1::ReportUsageRequest& request, TimeMs now_ms) {
  if (request.has_from() && !is_time(request.from())) return wrong("from", "is no time between 1970 and 9999");
  if (request.has_to() && !is_time(request.to())) return wrong("to", "is no time between 1970 and 9999");
  UsageQuery query;
  query.to_ms = request.has_to() ? std::min(from_proto(request.to()), now_ms) : now_ms;
  query.from_ms = request.has_from() ? from_proto(request.from()) : std::max<TimeMs>(0, query.to_ms - 30 * kDay);
  if (query.from_ms >= query.to_ms) {
    return wrong(
        "from", fmt::format("{} must be before `to` and before now, {}", iso8601(query.from_ms), iso8601(query.to_ms)));
  }
  if (!v1::UsageGroupBy_IsValid(request.group_by())) {
    return wrong("group_by", "must be job, user, workspace, node or cluster");
  }
  if (request.group_by() != v1::USAGE_GROUP_BY_UNSPECIFIED) query.group_by = request.group_by();
  query.by_day = request.by_day();
  query.user = core::path_key({request.user()});
  if (Status placed = set_place(request, query); !placed) return placed.error();
  return query;
}

bool UsageReport::wanted(const core::Usage& usage) const {
  if (!x_query.user.empty() && core::path_key({usage.owner}) != x_query.user) return false;
  if (!x_query.cluster.empty() && core::path_key({usage.cluster_path}) != x_query.cluster) return false;
  return x_query.job_prefix.empty() || core::path_key({usage.job_path}).starts_with(x_query.job_prefix);
}

// Calls take(day, from, to) for each part of the time that has a row of its own.
template <class Take>
void UsageReport::each_day(TimeMs from_ms, TimeMs to_ms, Take take) const {
  if (!x_query.by_day) return take(TimeMs{0}, from_ms, to_ms);
  for (TimeMs day_ms = from_ms / kDay * kDay; day_ms < to_ms; day_ms += kDay) {
    take(day_ms, std::max(from_ms, day_ms), std::min(to_ms, day_ms + kDay));
  }
}

UsageReport::Sum& UsageReport::sum_of(TimeMs day_ms, const std::string& name) {
  Sum& sum = x_sums[{day_ms, core::path_key({name})}];
  if (sum.name.empty()) sum.name = name;
  return sum;
}

void UsageReport::add(const core::Usage& usage) {
  if (x_too_many || !wanted(usage)) return;
  const TimeMs from_ms = std::max(usage.from_ms, x_query.from_ms), to_ms = std::min(usage.to_ms, x_query.to_ms);
  if (from_ms >= to_ms) return;
  const std::string name = name_of(usage, x_query.group_by);
  each_day(from_ms, to_ms, [&](TimeMs day_ms, TimeMs begin, TimeMs end) {
    if (!x_too_many) sum_of(day_ms, name).time += core::gpu_time(usage, begin, end);
    x_too_many = x_too_many || x_sums.size() > kMostRows;
  });
  const Ran ran{name, std::max(from_ms, usage.running_ms), std::min(to_ms, usage.stopped_ms), usage.gpu_uuids};
  if (usage.work == core::Work::kept && !ran.gpu_uuids.empty() && ran.from_ms < ran.to_ms) {
    x_ran[usage.node_name].push_back(ran);
  }
}

void UsageReport::take_sample(const Ran& ran, TimeMs from_ms, const CounterSample& sample) {
  const TimeMs begin = std::max(from_ms, ran.from_ms), end = std::min(sample.time_ms, ran.to_ms);
  if (begin >= end) return;
  std::int64_t known = 0, idle = 0;
  for (const GpuCounters& gpu : sample.gpus) {
    if (!gpu.utilization_percent) continue;
    if (std::find(ran.gpu_uuids.begin(), ran.gpu_uuids.end(), gpu.uuid) == ran.gpu_uuids.end()) continue;
    ++known;
    idle += *gpu.utilization_percent < kIdlePercent ? 1 : 0;
  }
  x_sampled_ms += known * (end - begin);
  if (idle == 0) return;
  each_day(begin, end, [&](TimeMs day_ms, TimeMs first, TimeMs last) {
    sum_of(day_ms, ran.name).idle_ms += idle * (last - first);
  });
}

void UsageReport::take_samples(const std::string& node, const std::vector<CounterSample>& samples) {
  const auto found = x_ran.find(node);
  if (found == x_ran.end() || x_too_many) return;
  for (const Ran& ran : found->second) {
    auto sample = std::upper_bound(samples.begin(), samples.end(), ran.from_ms,
                                   [](TimeMs time_ms, const CounterSample& other) { return time_ms < other.time_ms; });
    TimeMs before_ms = sample == samples.begin() ? 0 : std::prev(sample)->time_ms;
    for (; sample != samples.end() && before_ms < ran.to_ms; before_ms = sample++->time_ms) {
      take_sample(ran, std::max(before_ms, sample->time_ms - storage::kAveragedOverMs), *sample);
    }
  }
}

Status UsageReport::fill(v1::ReportUsageResponse& response) const {
  if (x_too_many) {
    return Error{Code::resource_exhausted,
                 fmt::format("more than the {} rows that one answer may have: ask for a shorter time with `from` and "
                             "`to`, for one workspace or user, or not by day",
                             kMostRows)};
  }
  set_time(x_query.from_ms, *response.mutable_from());
  set_time(x_query.to_ms, *response.mutable_to());
  using Entry = std::pair<TimeMs, const Sum*>;
  std::vector<Entry> order;
  Sum total;
  for (const auto& [key, sum] : x_sums) {
    order.emplace_back(key.first, &sum);
    total.time += sum.time;
    total.idle_ms += sum.idle_ms;
  }
  std::stable_sort(order.begin(), order.end(), [](const Entry& a, const Entry& b) {
    return a.first != b.first ? a.first < b.first : a.second->time.sum() > b.second->time.sum();
  });
  for (const auto& [day_ms, sum] : order) {
    v1::UsageRow& row = *response.add_rows();
    row.set_name(sum->name);
    if (x_query.by_day) set_time(day_ms, *row.mutable_day());
    set_time_of(sum->time, sum->idle_ms, *row.mutable_time());
  }
  set_time_of(total.time, total.idle_ms, *response.mutable_total());
  return {};
}

}  // namespace trainyard::controller
