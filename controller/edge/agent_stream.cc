#include "controller/edge/agent_stream.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <boost/asio/post.hpp>

#include "controller/edge/acknowledger.h"
#include "controller/edge/agent_registry.h"
#include "controller/edge/counter_keeper.h"
#include "controller/edge/job_counters.h"
#include "controller/edge/launch_relay.h"
#include "controller/edge/secret_values.h"
#include "proto/agent_convert.h"
#include "proto/counter_convert.h"

namespace trainyard::controller {
namespace {

// What waits for a slow agent: launches and file calls. More means that it does not read.
constexpr std::size_t kMaxQueued = 1000;
// The least time between two samples: what a node can add to its series is bounded, whatever its agent does.
constexpr DurationMs kSamplesApartMs = 500;

}  // namespace

AgentStream::AgentStream(Context& context, AgentRegistry& registry, Acknowledger& acknowledger, LaunchRelay& relay,
                         Identity identity)
    : x_context(context),
      x_registry(registry),
      x_acknowledger(acknowledger),
      x_relay(relay),
      x_identity(std::move(identity)),
      x_heartbeat(alone_ms(context.config.timing.unreachable_after_ms)),
      x_strand(boost::asio::make_strand(context.workers.get_executor())) {}

void AgentStream::start() {
  x_self = shared_from_this();
  StartRead(&x_in);
}

template <class Task>
void AgentStream::on_strand(Task task) {
  boost::asio::post(x_strand, [self = shared_from_this(), task = std::move(task)]() mutable {
    const std::lock_guard lock(self->x_mutex);
    task(*self);
  });
}

// ---- Reading ----

void AgentStream::OnReadDone(bool ok) {
  if (!ok) return close(grpc::Status::OK);
  using M = v1::FromAgent;
  const auto kind = x_in.message_case();
  if (x_node.empty() && kind != M::kReport) {
    return close({grpc::StatusCode::INVALID_ARGUMENT, "the first message of a stream must be a full report"});
  }
  switch (kind) {
    case M::kReport:
      if (!on_report(x_in.report())) return;
      break;
    case M::kSame:
      on_same(x_in.same());
      break;
    case M::kLaunch:
      x_relay.call(shared_from_this(), x_in.launch());
      break;
    case M::kLaunchStatus:
      x_relay.status(shared_from_this(), x_in.launch_status());
      break;
    case M::kCounters:
      on_counters(x_in.counters());
      break;
    case M::MESSAGE_NOT_SET:
      break;  // of a newer agent
  }
  x_in.Clear();
  StartRead(&x_in);
}

bool AgentStream::on_report(const v1::Report& message) {
  x_heartbeat.close();
  auto report = from_proto(message);
  if (!report) {
    close(to_grpc(report.error()));
    return false;
  }
  if (const auto error = check_node(x_identity, report->node_name)) {
    refuse(error->message);
    return false;
  }
  // Before the loop hears of it: orders come after.
  boost::asio::post(x_strand,
                    [self = shared_from_this(), key = report->inventory.sealing_key] { self->x_sealing_key = key; });
  if (x_node.empty()) {
    x_node = report->node_name;
    x_epoch = report->epoch;
    first_report(std::move(report).value());
    return true;
  }
  if (report->node_name != x_node || report->epoch != x_epoch) {
    close({grpc::StatusCode::INVALID_ARGUMENT, "a stream is for one life of one node: open another"});
    return false;
  }
  // A lost full report would leave the agent believing that "same" means something here: it must dial again.
  if (!x_context.loop.post(core::NodeReported{std::move(report).value()})) {
    close(to_grpc(inbox_full()));
    return false;
  }
  return true;
}

void AgentStream::first_report(Report report) {
  // Registered first, reported from there: the answer to the report must find the stream.
  const bool taken =
      x_context.loop.query([self = shared_from_this(), report = std::move(report)](const core::State&, TimeMs) {
        self->x_registry.add(self);
        if (!self->x_context.loop.post(core::NodeReported{report})) self->close(to_grpc(inbox_full()));
      });
  if (!taken) close(to_grpc(inbox_full()));
}

void AgentStream::on_same(const v1::SameReport& message) {
  switch (x_heartbeat.beat(x_context.loop.now_ms(), message.orders_revision())) {
    case Heartbeat::Beat::renewed:
      return;
    case Heartbeat::Beat::answer:
      return x_acknowledger.push(shared_from_this(), message.sequence());
    case Heartbeat::Beat::for_the_loop:
      break;
  }
  core::NodeSame same;
  same.node_name = x_node;
  same.epoch = x_epoch;
  same.orders_revision = message.orders_revision();
  same.sequence = message.sequence();
  (void)x_context.loop.post(std::move(same));  // full inbox: the next one renews the lease
}

// Beside the core: a series is no state. Its node is the stream's, its time is ours: one clock for all nodes.
void AgentStream::on_counters(const v1::CounterSample& message) {
  const TimeMs now_ms = x_context.loop.now_ms();
  if (now_ms - x_counted_ms < kSamplesApartMs) return;
  x_counted_ms = now_ms;
  CounterSample sample = from_proto(message);
  sample.time_ms = now_ms;
  if (!sample.holdings.empty()) {
    // Which holdings the node has, and with which GPUs, the state says.
    (void)x_context.loop.query(
        [&counters = x_context.counters, node = x_node, sample](const core::State& state, TimeMs) {
          if (auto parts = job_samples(state, node, sample); !parts.empty()) counters.take(std::move(parts));
        });
    sample.holdings.clear();
  }
  x_context.counters.take(x_node, std::move(sample));
}

// ---- Sending ----

void AgentStream::send_orders(const Orders& orders) {
  // Here, not on the loop's thread: texts of launches are long, and secrets are sealed.
  boost::asio::post(x_strand, [self = shared_from_this(), orders = orders]() mutable {
    seal_to_node(self->x_context.vault, self->x_sealing_key, orders);
    v1::ToAgent message;
    to_proto(orders, *message.mutable_orders());
    const std::lock_guard lock(self->x_mutex);
    self->x_orders = std::move(message);
    self->pump();
  });
}

void AgentStream::send_acknowledge(std::uint64_t sequence) {
  const std::lock_guard lock(x_mutex);
  x_acknowledge.emplace().mutable_acknowledge()->set_sequence(sequence);
  pump();
}

void AgentStream::send(v1::ToAgent message) {
  on_strand([message = std::move(message)](AgentStream& self) mutable {
    if (self.x_others.size() >= kMaxQueued) {
      return self.finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "the agent does not read its stream"});
    }
    self.x_others.push_back(std::move(message));
    self.pump();
  });
}

void AgentStream::refuse(const std::string& reason) {
  on_strand([reason](AgentStream& self) {
    if (self.x_finish_after) return;
    spdlog::warn("agent of node {} refused: {}", self.x_node.empty() ? "?" : self.x_node, reason);
    v1::ToAgent message;
    message.mutable_refused()->set_reason(reason);
    self.x_orders.reset();
    self.x_acknowledge.reset();
    self.x_others.clear();
    self.x_others.push_back(std::move(message));
    self.x_finish_after = grpc::Status(grpc::StatusCode::PERMISSION_DENIED, reason);
    self.pump();
  });
}

void AgentStream::close(grpc::Status status) {
  on_strand([status = std::move(status)](AgentStream& self) { self.finish(status); });
}

void AgentStream::pump() {
  if (x_writing || x_finished) return;
  if (x_orders) {
    x_out = std::move(*x_orders);
    x_orders.reset();
  } else if (!x_others.empty()) {
    x_out = std::move(x_others.front());
    x_others.pop_front();
  } else if (x_acknowledge) {
    x_out = std::move(*x_acknowledge);
    x_acknowledge.reset();
  } else {
    if (x_finish_after) finish(*x_finish_after);
    return;
  }
  x_writing = true;
  StartWrite(&x_out);
}

void AgentStream::OnWriteDone(bool ok) {
  const std::lock_guard lock(x_mutex);
  x_writing = false;
  if (!ok) return finish({grpc::StatusCode::UNAVAILABLE, "the connection is gone"});
  pump();
}

// ---- Ending ----

void AgentStream::OnCancel() {
  close(grpc::Status::CANCELLED);
}

void AgentStream::finish(grpc::Status status) {
  if (x_finished) return;
  x_finished = true;
  Finish(std::move(status));
}

void AgentStream::OnDone() {
  on_strand([](AgentStream& self) {
    if (!self.x_node.empty()) self.x_registry.remove_later(self.shared_from_this());
    self.x_self.reset();
  });
}

}  // namespace trainyard::controller
