#include "agent/edge/call_stream.h"
#include "agent/edge/stream_impl.h"
#include "proto/agent_convert.h"

namespace trainyard::agent {
namespace {

TerminalSize size_from(const v1::TerminalSize& size) {
  return {size.rows(), size.columns()};
}

ExecOrder order_from(const v1::ExecOrder& message) {
  ExecOrder order{
      .attempt = {}, .command = message.command(), .host = {}, .port = 0, .terminal = {}, .terminal_type = {}};
  if (message.job() != 0) order.attempt = AttemptId{JobId{message.job()}, message.attempt()};
  if (message.has_connect()) {
    order.host = message.connect().host();
    order.port = message.connect().port();
  }
  if (message.has_terminal()) {
    order.terminal = size_from(message.terminal().size());
    order.terminal_type = message.terminal().type();
  }
  return order;
}

class GrpcExecStream final : public ExecStream, public CallStream<v1::ExecFromAgent, v1::ExecToAgent> {
 public:
  GrpcExecStream(std::shared_ptr<grpc::Channel> channel, std::function<void(std::function<void()>)> post,
                 ExecHandlers handlers)
      : CallStream(std::move(channel), std::move(post)), x_handlers(std::move(handlers)) {}

  void start(const std::string& call_id) {
    stub().async()->ServeExec(&context(), this);
    v1::ExecFromAgent first;
    first.set_call_id(call_id);
    begin(std::move(first));
  }

  void read_next() override { read(); }
  void send_started() override {
    v1::ExecFromAgent message;
    message.mutable_reply()->mutable_started();
    push(std::move(message), {});
  }
  void send_output(bool is_error, std::string data, std::function<void()> sent) override {
    v1::ExecFromAgent message;
    if (is_error) {
      message.mutable_reply()->set_err(std::move(data));
    } else {
      message.mutable_reply()->set_out(std::move(data));
    }
    push(std::move(message), std::move(sent));
  }
  void finish(std::int32_t exit_code) override {
    v1::ExecFromAgent message;
    message.mutable_reply()->mutable_end()->set_exit_code(exit_code);
    push_last(std::move(message));
  }
  void fail(const Error& error) override {
    v1::ExecFromAgent message;
    message.mutable_failure()->set_code(to_grpc(error.code));
    message.mutable_failure()->set_message(valid_utf8(error.message));
    push_last(std::move(message));
  }
  void cancel() override { cancel_call(); }

 private:
  void on_message(v1::ExecToAgent& message) override {
    if (message.has_order()) return x_handlers.on_order(order_from(message.order()));
    v1::ExecRequest& request = *message.mutable_request();
    switch (request.part_case()) {
      case v1::ExecRequest::kData:
        return x_handlers.on_data(std::move(*request.mutable_data()));
      case v1::ExecRequest::kFinish:
        return x_handlers.on_finish();
      case v1::ExecRequest::kResize:
        return x_handlers.on_resize(size_from(request.resize()));
      default:
        return read();
    }
  }
  void on_over() override {
    const auto on_closed = std::exchange(x_handlers.on_closed, nullptr);
    x_handlers = {};
    if (on_closed) on_closed();
  }

  ExecHandlers x_handlers;
};

}  // namespace

std::shared_ptr<ExecStream> open_exec_stream(std::shared_ptr<grpc::Channel> channel, const std::string& call_id,
                                             std::function<void(std::function<void()>)> post, ExecHandlers handlers) {
  auto stream = std::make_shared<GrpcExecStream>(std::move(channel), std::move(post), std::move(handlers));
  stream->start(call_id);
  return stream;
}

}  // namespace trainyard::agent
