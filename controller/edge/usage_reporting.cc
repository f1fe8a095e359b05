// Usages.ReportUsage: holdings that go on are copied on the loop's thread, the rows of those that ended are read and
// summed up on a worker, and what the counters know of idle GPUs is read on their keeper's thread, node by node.
#include <boost/asio/post.hpp>
#include <set>

#include "controller/edge/counter_keeper.h"
#include "controller/edge/usage_report.h"
#include "controller/edge/usages_service.h"

namespace trainyard::controller {
namespace {

constexpr DurationMs kSampleEvery = 15'000;  // of the agents
// Samples of nodes that one report reads: seconds of the keeper's thread, which agents' samples wait for.
constexpr std::int64_t kMostSamples = 300'000;

// One call. It keeps itself alive through its callbacks, which run one after the other.
struct Reporting : std::enable_shared_from_this<Reporting> {
  Context& context;
  grpc::ServerUnaryReactor* reactor;
  v1::ReportUsageResponse* response;
  UsageReport report;
  std::vector<core::Usage> going_on;
  std::unique_ptr<storage::UsageReader> ended;
  TimeMs now_ms;
  std::vector<std::pair<std::string, std::pair<TimeMs, TimeMs>>> nodes;  // whose samples are to be read, and of when
  std::size_t next_node = 0;

  Reporting(Context& context_in, grpc::ServerUnaryReactor* reactor_in, v1::ReportUsageResponse* response_in,
            UsageQuery query, TimeMs now)
      : context(context_in), reactor(reactor_in), response(response_in), report(std::move(query)), now_ms(now) {}

  void finish(const Status& status) { reactor->Finish(to_grpc(status)); }

  void run() {
    // One that ended since it was copied is in the rows, too.
    std::set<core::HoldingKey> counted;
    for (const core::Usage& usage : going_on) {
      counted.emplace(usage.node, usage.id);
      report.add(usage);
    }
    const Status read = ended->each(report.query().from_ms, report.query().to_ms, [&](const core::Usage& usage) {
      if (!counted.contains({usage.node, usage.id})) report.add(usage);
    });
    if (!read) return finish(read);
    if (!choose_nodes()) return finish(report.fill(*response));  // without sampled_ms
    look_at_next_node();
  }

  // False: too many samples.
  bool choose_nodes() {
    const TimeMs averaged_until_ms = now_ms - storage::CounterRetention{}.as_sent_ms;
    std::int64_t samples = 0;
    for (const auto& [node, spans] : report.ran()) {
      TimeMs from_ms = spans.front().from_ms, to_ms = spans.front().to_ms;
      for (const UsageReport::Ran& span : spans) {
        from_ms = std::min(from_ms, span.from_ms);
        to_ms = std::max(to_ms, span.to_ms);
      }
      from_ms = std::max(from_ms, now_ms - storage::CounterRetention{}.averages_ms);  // before, there is none
      if (from_ms >= to_ms) continue;
      samples += (to_ms - from_ms) / storage::kAveragedOverMs;
      samples += std::max<DurationMs>(0, to_ms - std::max(from_ms, averaged_until_ms)) / kSampleEvery;
      // The sample that covers its end comes later.
      nodes.push_back({node, {from_ms - storage::kAveragedOverMs, to_ms + storage::kAveragedOverMs}});
    }
    return samples <= kMostSamples;
  }

  void look_at_next_node() {
    if (next_node == nodes.size()) {
      report.fill_sampled(*response);
      return finish(report.fill(*response));
    }
    const auto& [node, span] = nodes[next_node++];
    context.counters.read(node, span.first, span.second,
                          [self = shared_from_this(), name = node](CounterKeeper::Samples samples) {
                            boost::asio::post(self->context.workers, [self, name, samples = std::move(samples)] {
                              // Counters are no state: without them it is not known what was idle.
                              if (samples) self->report.take_samples(name, *samples);
                              self->look_at_next_node();
                            });
                          });
  }
};

}  // namespace

grpc::ServerUnaryReactor* UsagesService::ReportUsage(grpc::CallbackServerContext* context,
                                                     const v1::ReportUsageRequest* request,
                                                     v1::ReportUsageResponse* response) {
  auto* reactor = context->DefaultReactor();
  const bool taken = x_context.loop.query([this, reactor, request, response](const core::State& state, TimeMs now_ms) {
    auto query = usage_query(*request, now_ms);
    if (!query) return reactor->Finish(to_grpc(query.error()));
    auto work = std::make_shared<Reporting>(x_context, reactor, response, std::move(*query), now_ms);
    work->going_on.reserve(state.holdings.size());
    for (const auto& [key, holding] : state.holdings) work->going_on.push_back(usage_of(state, holding, now_ms));
    work->ended = x_context.store.usage_reader();
    boost::asio::post(x_context.workers, [work] { work->run(); });
  });
  if (!taken) reactor->Finish(to_grpc(inbox_full()));
  return reactor;
}

}  // namespace trainyard::controller
