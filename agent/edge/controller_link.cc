#include "agent/edge/controller_link.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <deque>

#include "agent/edge/stream_impl.h"
#include "proto/agent_convert.h"
#include "proto/counter_convert.h"
#include "trainyard/v1/agent.grpc.pb.h"

namespace trainyard::agent {
namespace {

constexpr int kMaxMessageBytes = 16 * 1024 * 1024;  // orders carry the launches of everything on the node
constexpr int kWindowBytes = 1024 * 1024;           // of a stream, on their way

LaunchId launch_id_from(const v1::LaunchId& id) {
  return {from_proto(id.attempt()), id.from_node(), id.key()};
}

LaunchCall call_from(const v1::LaunchCall& message) {
  LaunchCall call{launch_id_from(message.id()), message.to_host(), message.shell_command(), std::nullopt};
  if (message.has_task()) call.task = message.task();
  return call;
}

void to_message(const LaunchId& id, v1::LaunchId& message) {
  to_proto(id.attempt, *message.mutable_attempt());
  message.set_from_node(id.from_node);
  message.set_key(id.key);
}

LaunchStatus::State state_from(v1::LaunchStatus::State state) {
  switch (state) {
    case v1::LaunchStatus::STATE_RUNNING:
      return LaunchStatus::State::running;
    case v1::LaunchStatus::STATE_EXITED:
      return LaunchStatus::State::exited;
    case v1::LaunchStatus::STATE_REFUSED:
      return LaunchStatus::State::refused;
    default:
      return LaunchStatus::State::unreachable;
  }
}

v1::LaunchStatus::State to_state(LaunchStatus::State state) {
  switch (state) {
    case LaunchStatus::State::running:
      return v1::LaunchStatus::STATE_RUNNING;
    case LaunchStatus::State::exited:
      return v1::LaunchStatus::STATE_EXITED;
    case LaunchStatus::State::refused:
      return v1::LaunchStatus::STATE_REFUSED;
    case LaunchStatus::State::unreachable:
      break;
  }
  return v1::LaunchStatus::STATE_UNREACHABLE;
}

// A channel of its own for each stream: no sharing with an older connection that may have died silently.
std::shared_ptr<grpc::Channel> make_channel(const LinkSettings& settings) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2'000);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // As the controller's: no measuring of the connection by pings.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kWindowBytes);
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  if (settings.certificate.empty()) {
    return grpc::CreateCustomChannel(settings.controller, grpc::InsecureChannelCredentials(), arguments);
  }
  const grpc::SslCredentialsOptions options{
      .pem_root_certs = settings.ca, .pem_private_key = settings.key, .pem_cert_chain = settings.certificate};
  return grpc::CreateCustomChannel(settings.controller, grpc::SslCredentials(options), arguments);
}

// One Connect call. Everything but the On* methods runs on the loop; it keeps itself alive until OnDone was handled.
class Stream : public grpc::ClientBidiReactor<v1::FromAgent, v1::ToAgent>, public std::enable_shared_from_this<Stream> {
 public:
  using OnMessage = std::function<void(const v1::ToAgent&)>;
  using OnEnd = std::function<void(const grpc::Status&)>;

  Stream(std::shared_ptr<grpc::Channel> channel, Post post, OnMessage on_message, OnEnd on_end)
      : x_channel(std::move(channel)),
        x_stub(v1::Agents::NewStub(x_channel)),
        x_post(std::move(post)),
        x_on_message(std::move(on_message)),
        x_on_end(std::move(on_end)) {}

  void start() {
    x_self = shared_from_this();
    x_stub->async()->Connect(&x_context, this);
    AddHold();  // reads and writes are started by the loop, outside of reactions
    StartRead(&x_incoming);
    StartCall();
  }

  void send(v1::FromAgent message) {
    if (x_closed) return;
    const bool full = message.has_report();
    if (full || message.has_same()) {
      std::erase_if(x_outbox, [full](const v1::FromAgent& waiting) {
        return waiting.has_same() || (full && waiting.has_report());
      });
    }
    if (message.has_counters()) {
      std::erase_if(x_outbox, [](const v1::FromAgent& waiting) { return waiting.has_counters(); });
    }
    x_outbox.push_back(std::move(message));
    write_next();
  }

  void cancel() {
    x_context.TryCancel();
    close();
  }

  const std::shared_ptr<grpc::Channel>& channel() const { return x_channel; }

  void OnReadDone(bool ok) override {
    x_post([this, ok] {
      if (!ok || x_closed) return close();
      v1::ToAgent message;
      message.Swap(&x_incoming);
      x_on_message(message);
      if (!x_closed) StartRead(&x_incoming);
    });
  }
  void OnWriteDone(bool ok) override {
    x_post([this, ok] {
      x_writing = false;
      if (!ok) return close();
      write_next();
    });
  }
  void OnDone(const grpc::Status& status) override {
    x_post([this, status] {
      const auto self = std::exchange(x_self, nullptr);
      x_on_end(status);
    });
  }

 private:
  void write_next() {
    if (x_writing || x_closed || x_outbox.empty()) return;
    x_outgoing = std::move(x_outbox.front());
    x_outbox.pop_front();
    x_writing = true;
    StartWrite(&x_outgoing);
  }
  void close() {
    if (std::exchange(x_closed, true)) return;
    x_outbox.clear();
    RemoveHold();
  }

  std::shared_ptr<grpc::Channel> x_channel;
  std::unique_ptr<v1::Agents::Stub> x_stub;
  Post x_post;
  OnMessage x_on_message;
  OnEnd x_on_end;
  grpc::ClientContext x_context;
  v1::ToAgent x_incoming;
  v1::FromAgent x_outgoing;
  std::deque<v1::FromAgent> x_outbox;
  bool x_writing = false, x_closed = false;
  std::shared_ptr<Stream> x_self;
};

}  // namespace

struct ControllerLink::Impl {
  LinkSettings settings;
  Post post;
  LinkHandlers handlers;
  std::shared_ptr<Stream> stream;

  void on_message(const v1::ToAgent& message) {
    handlers.on_message();
    switch (message.message_case()) {
      case v1::ToAgent::kAcknowledge:
        return handlers.on_acknowledged(message.acknowledge().sequence());
      case v1::ToAgent::kOrders: {
        auto orders = from_proto(message.orders());
        // Orders that cannot be read are not acted on in part; dialling again asks for them anew.
        if (!orders) return refuse("unreadable orders: " + orders.error().message);
        return handlers.on_orders(std::move(orders).value());
      }
      case v1::ToAgent::kLaunch:
        return handlers.on_launch(call_from(message.launch()));
      case v1::ToAgent::kLaunchStatus: {
        const v1::LaunchStatus& status = message.launch_status();
        return handlers.on_launch_status(
            {launch_id_from(status.id()), state_from(status.state()), status.exit_code(), status.message()});
      }
      case v1::ToAgent::kFileCall:
        return handlers.on_file_call(message.file_call().call_id());
      case v1::ToAgent::kExecCall:
        return handlers.on_exec_call(message.exec_call().call_id());
      case v1::ToAgent::kRefused:
        return handlers.on_refused(message.refused().reason());
      case v1::ToAgent::MESSAGE_NOT_SET:
        return;
    }
  }

  void refuse(const std::string& reason) {
    x_reason = reason;
    stream->cancel();
  }
  std::string x_reason;
};

ControllerLink::ControllerLink(LinkSettings settings, Post post, LinkHandlers handlers)
    : x_impl(std::make_shared<Impl>(Impl{std::move(settings), std::move(post), std::move(handlers), nullptr, {}})) {}

ControllerLink::~ControllerLink() {
  disconnect();
}

void ControllerLink::connect() {
  TY_CHECK(x_impl->stream == nullptr);
  const std::weak_ptr<Impl> weak = x_impl;
  x_impl->stream = std::make_shared<Stream>(
      make_channel(x_impl->settings), x_impl->post,
      [weak](const v1::ToAgent& message) {
        if (const auto impl = weak.lock()) impl->on_message(message);
      },
      [weak](const grpc::Status& status) {
        const auto impl = weak.lock();
        if (!impl) return;
        impl->stream = nullptr;
        std::string reason = std::exchange(impl->x_reason, {});
        if (reason.empty()) reason = status.ok() ? "the controller closed the stream" : status.error_message();
        impl->handlers.on_down(std::move(reason));
      });
  x_impl->stream->start();
}

void ControllerLink::disconnect() {
  if (x_impl->stream) x_impl->stream->cancel();
}

bool ControllerLink::connected() const {
  return x_impl->stream != nullptr;
}

void ControllerLink::send(const Report& report) {
  if (!x_impl->stream) return;
  v1::FromAgent message;
  to_proto(report, *message.mutable_report());
  x_impl->stream->send(std::move(message));
}

void ControllerLink::send_same(std::uint64_t sequence, std::uint64_t orders_revision) {
  if (!x_impl->stream) return;
  v1::FromAgent message;
  message.mutable_same()->set_sequence(sequence);
  message.mutable_same()->set_orders_revision(orders_revision);
  x_impl->stream->send(std::move(message));
}

void ControllerLink::send(const LaunchCall& call) {
  if (!x_impl->stream) return;
  v1::FromAgent message;
  to_message(call.id, *message.mutable_launch()->mutable_id());
  message.mutable_launch()->set_to_host(call.to_host);
  message.mutable_launch()->set_shell_command(valid_utf8(call.shell_command));
  if (call.task) message.mutable_launch()->set_task(*call.task);
  x_impl->stream->send(std::move(message));
}

void ControllerLink::send(const LaunchStatus& status) {
  if (!x_impl->stream) return;
  v1::FromAgent message;
  to_message(status.id, *message.mutable_launch_status()->mutable_id());
  message.mutable_launch_status()->set_state(to_state(status.state));
  message.mutable_launch_status()->set_exit_code(status.exit_code);
  message.mutable_launch_status()->set_message(valid_utf8(status.message));
  x_impl->stream->send(std::move(message));
}

void ControllerLink::send(const CounterSample& sample) {
  if (!x_impl->stream) return;
  v1::FromAgent message;
  to_proto(sample, *message.mutable_counters());
  x_impl->stream->send(std::move(message));
}

std::shared_ptr<FileStream> ControllerLink::open_file(const std::string& call_id, FileHandlers handlers) {
  if (!x_impl->stream) return nullptr;
  return open_file_stream(x_impl->stream->channel(), call_id, x_impl->post, std::move(handlers));
}

std::shared_ptr<ExecStream> ControllerLink::open_exec(const std::string& call_id, ExecHandlers handlers) {
  if (!x_impl->stream) return nullptr;
  return open_exec_stream(x_impl->stream->channel(), call_id, x_impl->post, std::move(handlers));
}

}  // namespace trainyard::agent
