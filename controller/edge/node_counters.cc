// Nodes.GetNodeCounters, GetJobCounters: the request is checked here, the thing on the loop's thread, the samples are
// read on the keeper's thread and made into messages on a worker.
#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <map>
#include <memory>

#include "controller/core/lookup.h"
#include "controller/edge/clusters_service.h"
#include "controller/edge/counter_keeper.h"
#include "controller/edge/job_counters.h"
#include "proto/convert.h"
#include "proto/counter_convert.h"

namespace trainyard::controller {
namespace {

constexpr std::size_t kMostSamples = 10'000;
constexpr DurationMs kHour = 3'600'000;

struct Span {
  TimeMs from_ms = 0, to_ms = 0;
  DurationMs step_ms = 0;  // 0: as they are kept
};

Error wrong(const std::string& field, const std::string& text) {
  return {Code::invalid_argument, field + ": " + text};
}

// Within the years that a timestamp can have: sums with it stay far from overflow.
bool is_time(const google::protobuf::Timestamp& time) {
  return time.seconds() >= 0 && time.seconds() <= 253'402'300'799 && time.nanos() >= 0 && time.nanos() < 1'000'000'000;
}

// `begin_ms`: from when on, of who does not say; 0: one hour before `to`.
template <class Request>
Result<Span> span_of(const Request& request, TimeMs now_ms, TimeMs begin_ms = 0) {
  if (request.has_from() && !is_time(request.from())) return wrong("from", "is no time between 1970 and 9999");
  if (request.has_to() && !is_time(request.to())) return wrong("to", "is no time between 1970 and 9999");
  Span span;
  span.to_ms = request.has_to() ? from_proto(request.to()) : now_ms;
  const TimeMs begin = begin_ms != 0 ? std::min(begin_ms, span.to_ms - 1) : span.to_ms - kHour;
  span.from_ms = request.has_from() ? from_proto(request.from()) : std::max<TimeMs>(0, begin);
  if (span.from_ms >= span.to_ms) {
    return wrong("from", fmt::format("{} must be before `to`, {}", iso8601(span.from_ms), iso8601(span.to_ms)));
  }
  if (request.has_step()) {
    span.step_ms = from_proto(request.step());
    if (span.step_ms <= 0) return wrong("step", "must be above 0: how long each averaged interval is");
    // Longer than all that is asked for is one interval.
    span.step_ms = std::min(span.step_ms, span.to_ms - span.from_ms);
  }
  return span;
}

std::vector<CounterSample> stepped(const Span& span, std::vector<CounterSample> samples) {
  if (span.step_ms <= 0) return samples;
  samples = averaged_over(samples, span.from_ms, span.step_ms);
  if (!samples.empty()) samples.back().time_ms = std::min(samples.back().time_ms, span.to_ms);
  return samples;
}

Status bounded(const Span& span, std::size_t samples, std::size_t series) {
  if (samples <= kMostSamples) return {};
  const auto step_ms =
      (span.to_ms - span.from_ms) * static_cast<DurationMs>(series) / kMostSamples / 1000 * 1000 + 1000;
  return wrong("step", fmt::format("{} samples are more than the {} that one answer may have: give a step of {} or "
                                   "more, or ask for less with `from` and `to`",
                                   samples, kMostSamples, format_duration(step_ms)));
}

Status fill(const Span& span, CounterKeeper::Samples samples, v1::NodeCounters& response) {
  if (!samples) return samples.error();
  const auto wanted = stepped(span, std::move(samples).value());
  if (const Status few = bounded(span, wanted.size(), 1); !few) return few;
  for (const CounterSample& sample : wanted) to_proto(sample, *response.add_samples());
  return {};
}

// Read one after the other, so that no more than an answer's worth is in memory.
struct JobSeries {
  Span span;
  std::size_t count = 0;
  std::map<SeriesOfJob, std::vector<CounterSample>> series;

  Status take(const std::string& name, std::vector<CounterSample> samples) {
    auto wanted = stepped(span, std::move(samples));
    if (wanted.empty()) return {};
    count += wanted.size();
    series[series_of_job(name)] = std::move(wanted);
    return bounded(span, count, series.size());
  }
  void fill(v1::JobCounters& response) const {
    for (const auto& [of, samples] : series) {
      auto& out = *response.add_series();
      out.set_node(of.node);
      out.set_attempt(of.attempt);
      for (const CounterSample& sample : samples) to_proto(sample, *out.add_samples());
    }
  }
};

}  // namespace

grpc::ServerUnaryReactor* NodesService::GetNodeCounters(grpc::CallbackServerContext* context,
                                                        const v1::GetNodeCountersRequest* request,
                                                        v1::NodeCounters* response) {
  auto* reactor = context->DefaultReactor();
  const bool taken = x_context.loop.query([this, reactor, request, response](const core::State& state, TimeMs now_ms) {
    if (const auto id = core::find_node(state, request->name()); !id) return reactor->Finish(to_grpc(id.error()));
    const auto span = span_of(*request, now_ms);
    if (!span) return reactor->Finish(to_grpc(span.error()));
    response->set_node(request->name());
    x_context.counters.read(request->name(), span->from_ms, span->to_ms,
                            [this, reactor, response, span = *span](CounterKeeper::Samples samples) {
                              boost::asio::post(x_context.workers,
                                                [reactor, response, span, samples = std::move(samples)]() mutable {
                                                  const Status filled = fill(span, std::move(samples), *response);
                                                  reactor->Finish(filled ? grpc::Status::OK : to_grpc(filled.error()));
                                                });
                            });
  });
  if (!taken) reactor->Finish(to_grpc(inbox_full()));
  return reactor;
}

grpc::ServerUnaryReactor* NodesService::GetJobCounters(grpc::CallbackServerContext* context,
                                                       const v1::GetJobCountersRequest* request,
                                                       v1::JobCounters* response) {
  auto* reactor = context->DefaultReactor();
  const bool taken = x_context.loop.query([this, reactor, request, response](const core::State& state, TimeMs now_ms) {
    const v1::JobName& name = request->job();
    const auto id = core::find_job(state, {name.resource_group(), name.workspace(), name.experiment(), name.name()});
    if (!id) return reactor->Finish(to_grpc(id.error()));
    const TimeMs created_ms = state.jobs.at(*id).created_ms;
    auto span = span_of(*request, now_ms, created_ms);
    if (!span) return reactor->Finish(to_grpc(span.error()));
    // A restored database gives its jobs numbers that others had.
    span->from_ms = std::min(std::max(span->from_ms, created_ms - 1), span->to_ms);
    const auto found = std::make_shared<JobSeries>(JobSeries{*span, 0, {}});
    x_context.counters.read_all(
        job_series_prefix(*id), span->from_ms, span->to_ms,
        [found](const std::string& name, std::vector<CounterSample> samples) {
          return found->take(name, std::move(samples));
        },
        [this, reactor, response, found](Status read) {
          boost::asio::post(x_context.workers, [reactor, response, found, read] {
            if (read) found->fill(*response);
            reactor->Finish(read ? grpc::Status::OK : to_grpc(read.error()));
          });
        });
  });
  if (!taken) reactor->Finish(to_grpc(inbox_full()));
  return reactor;
}

}  // namespace trainyard::controller
