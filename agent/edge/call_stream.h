// One call that the agent opens for the controller's asking (ServeFile, ServeExec): its gRPC side. gRPC's threads post,
// everything else is the loop's. Back-pressure both ways: the next message is read only when asked for, one is written
// at a time.
#pragma once

#include <grpcpp/grpcpp.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "common/result.h"
#include "trainyard/v1/agent.grpc.pb.h"

namespace trainyard::agent {

grpc::StatusCode to_grpc(Code code);

template <class Reply, class Request>
class CallStream : public grpc::ClientBidiReactor<Reply, Request>,
                   public std::enable_shared_from_this<CallStream<Reply, Request>> {
 protected:
  CallStream(std::shared_ptr<grpc::Channel> channel, std::function<void(std::function<void()>)> post)
      : x_channel(std::move(channel)), x_stub(v1::Agents::NewStub(x_channel)), x_post(std::move(post)) {}

  v1::Agents::Stub& stub() { return *x_stub; }
  grpc::ClientContext& context() { return x_context; }

  // After the stub was told of this reactor. Lives from here until on_over().
  void begin(Reply first) {
    x_self = this->shared_from_this();
    this->AddHold();
    push(std::move(first), {});
    this->StartRead(&x_incoming);  // the first message comes without being asked for
    this->StartCall();
  }
  void read() {
    if (x_closed || x_reading) return;
    x_reading = true;
    this->StartRead(&x_incoming);
  }
  // `sent`: the message left this process's buffers as far as gRPC says; then the next may be pushed.
  void push(Reply reply, std::function<void()> sent) {
    if (x_closed || x_finishing) return;
    x_outbox.push_back({std::move(reply), std::move(sent)});
    write_next();
  }
  void push_last(Reply reply) {
    push(std::move(reply), {});
    x_finishing = true;
    write_next();
  }
  void cancel_call() {
    x_context.TryCancel();
    close();
  }

  virtual void on_message(Request& request) = 0;  // answers one read()
  virtual void on_over() = 0;                     // last

 private:
  struct Piece {
    Reply reply;
    std::function<void()> sent;
  };

  void OnReadDone(bool ok) override {
    x_post([this, ok] {
      x_reading = false;
      if (!ok) {
        // The controller's side ended: unless our last word is out, nobody wants the rest.
        if (!x_writes_done) x_context.TryCancel();
        return close();
      }
      if (x_closed) return;
      // A call ends only when the other side was read to its end.
      if (x_finishing) return read();
      Request request;
      request.Swap(&x_incoming);
      on_message(request);
    });
  }
  void OnWriteDone(bool ok) override {
    x_post([this, ok] {
      x_writing = false;
      auto sent = std::exchange(x_sent, nullptr);
      if (!ok) return close();
      if (sent && !x_closed) sent();
      write_next();
    });
  }
  void OnDone(const grpc::Status&) override {
    x_post([this] {
      const auto self = std::exchange(x_self, nullptr);
      on_over();
    });
  }

  void write_next() {
    if (x_writing || x_closed) return;
    if (x_outbox.empty()) {
      if (x_finishing && !std::exchange(x_writes_done, true)) {
        this->StartWritesDone();
        read();
      }
      return;
    }
    x_outgoing = std::move(x_outbox.front().reply);
    x_sent = std::move(x_outbox.front().sent);
    x_outbox.pop_front();
    x_writing = true;
    this->StartWrite(&x_outgoing);
  }
  void close() {
    if (std::exchange(x_closed, true)) return;
    x_outbox.clear();
    this->RemoveHold();
  }

  std::shared_ptr<grpc::Channel> x_channel;
  std::unique_ptr<v1::Agents::Stub> x_stub;
  std::function<void(std::function<void()>)> x_post;
  grpc::ClientContext x_context;
  Request x_incoming;
  Reply x_outgoing;
  std::deque<Piece> x_outbox;
  std::function<void()> x_sent;
  bool x_reading = true, x_writing = false;
  bool x_finishing = false, x_writes_done = false, x_closed = false;
  std::shared_ptr<CallStream> x_self;
};

}  // namespace trainyard::agent
