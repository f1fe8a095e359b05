// Series of counters by holding, kept beside those of the nodes under names of their own. Pure.
#pragma once

#include <map>
#include <string>

#include "common/counters.h"
#include "controller/core/state.h"

namespace trainyard::controller {

// What begins the names of a job's series.
std::string job_series_prefix(JobId job);

struct SeriesOfJob {
  std::uint32_t attempt = 0;
  std::string node;
  friend auto operator<=>(const SeriesOfJob&, const SeriesOfJob&) = default;
};
// Of a name that begins so.
SeriesOfJob series_of_job(const std::string& name);

// What a node's sample says of its holdings, by the name of the series; of holdings that the state does not know on it,
// nothing. The GPUs of a job of whole nodes are all of the node.
std::map<std::string, CounterSample> job_samples(const core::State& state, const std::string& node,
                                                 const CounterSample& sample);

}  // namespace trainyard::controller
