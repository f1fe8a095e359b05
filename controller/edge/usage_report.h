// Sums up GPU time by what a request asks for. Single-threaded; knows nothing of where rows and samples come from.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/counters.h"
#include "common/result.h"
#include "controller/core/accounting.h"
#include "trainyard/v1/usages.pb.h"

namespace trainyard::controller {

struct UsageQuery {
  TimeMs from_ms = 0, to_ms = 0;
  v1::UsageGroupBy group_by = v1::USAGE_GROUP_BY_WORKSPACE;
  bool by_day = false;
  // Lower case; empty: all.
  std::string job_prefix;  // "group/" or "group/workspace/"
  std::string cluster;     // path
  std::string user;
};

// Errors name the field.
Result<UsageQuery> usage_query(const v1::ReportUsageRequest& request, TimeMs now_ms);

class UsageReport {
 public:
  // Rows of one answer.
  static constexpr std::size_t kMostRows = 10'000;
  // Below it a GPU is idle.
  static constexpr double kIdlePercent = 5;

  // Time in which GPUs of a node ran somebody's work; samples say how much of it was idle.
  struct Ran {
    std::string name;  // of its rows
    TimeMs from_ms = 0, to_ms = 0;
    std::vector<std::string> gpu_uuids;
  };

  explicit UsageReport(UsageQuery query) : x_query(std::move(query)) {}

  const UsageQuery& query() const { return x_query; }
  // What of it lies in the query's time, if it is of what the query asks for.
  void add(const core::Usage& usage);
  // By node: for which times and GPUs counters can tell more.
  const std::map<std::string, std::vector<Ran>>& ran() const { return x_ran; }
  // The node's samples, by time, from kAveragedOverMs before the first of its times on. Each stands for the time since
  // the one before it, five minutes at most.
  void take_samples(const std::string& node, const std::vector<CounterSample>& samples);
  Status fill(v1::ReportUsageResponse& response) const;
  // Once the samples of all nodes were taken.
  void fill_sampled(v1::ReportUsageResponse& response) const { response.set_sampled_ms(x_sampled_ms); }

 private:
  struct Sum {
    std::string name;  // as it was written first
    core::GpuTime time;
    std::int64_t idle_ms = 0;  // of time.running_ms
  };
  bool wanted(const core::Usage& usage) const;
  Sum& sum_of(TimeMs day_ms, const std::string& name);
  void take_sample(const Ran& ran, TimeMs from_ms, const CounterSample& sample);
  template <class Take>
  void each_day(TimeMs from_ms, TimeMs to_ms, Take take) const;

  const UsageQuery x_query;
  std::map<std::pair<TimeMs, std::string>, Sum> x_sums;  // by day (0: not asked for) and lower-cased name
  std::map<std::string, std::vector<Ran>> x_ran;
  std::int64_t x_sampled_ms = 0;
  bool x_too_many = false;
};

}  // namespace trainyard::controller
