// Nodes.GetNodeCounters: the request is checked here, the node on the loop's thread, the samples are read on the
// keeper's thread and made into messages on a worker.
#include <fmt/format.h>

#include <boost/asio/post.hpp>

#include "controller/core/lookup.h"
#include "controller/edge/clusters_service.h"
#include "controller/edge/counter_keeper.h"
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

Result<Span> span_of(const v1::GetNodeCountersRequest& request, TimeMs now_ms) {
  if (request.has_from() && !is_time(request.from())) return wrong("from", "is no time between 1970 and 9999");
  if (request.has_to() && !is_time(request.to())) return wrong("to", "is no time between 1970 and 9999");
  Span span;
  span.to_ms = request.has_to() ? from_proto(request.to()) : now_ms;
  span.from_ms = request.has_from() ? from_proto(request.from()) : std::max<TimeMs>(0, span.to_ms - kHour);
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

Status fill(const Span& span, CounterKeeper::Samples samples, v1::NodeCounters& response) {
  if (!samples) return samples.error();
  auto wanted = std::move(samples).value();
  if (span.step_ms > 0) {
    wanted = averaged_over(wanted, span.from_ms, span.step_ms);
    if (!wanted.empty()) wanted.back().time_ms = std::min(wanted.back().time_ms, span.to_ms);
  }
  if (wanted.size() > kMostSamples) {
    return wrong("step", fmt::format("{} samples are more than the {} that one answer may have: give a step of {} or "
                                     "more, or ask for less with `from` and `to`",
                                     wanted.size(), kMostSamples,
                                     format_duration((span.to_ms - span.from_ms) / kMostSamples / 1000 * 1000 + 1000)));
  }
  for (const CounterSample& sample : wanted) to_proto(sample, *response.add_samples());
  return {};
}

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

}  // namespace trainyard::controller
