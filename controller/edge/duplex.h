// One end of a bidirectional call, on a strand: one read and one write under way at a time, each only when asked for,
// so that whoever passes messages on between two of them keeps one message per direction. Handlers run on the strand
// and are let go of at the end.
#pragma once

#include <grpcpp/grpcpp.h>

#include <boost/asio/post.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

namespace trainyard::controller {

template <class In, class Out>
class Duplex final : public grpc::ServerBidiReactor<In, Out>, public std::enable_shared_from_this<Duplex<In, Out>> {
 public:
  using Strand = boost::asio::strand<boost::asio::thread_pool::executor_type>;
  struct Handlers {
    std::function<void(In)> on_message;  // answers one read()
    std::function<void()> on_written;    // all that was written is on its way
    std::function<void()> on_end;        // the other side sends no more
    std::function<void()> on_gone;       // the other side is away; the last call
  };

  explicit Duplex(Strand strand) : x_strand(std::move(strand)) {}
  // Any thread, once. Lives from here until gRPC is done with it. The first read is asked for at once.
  void start(Handlers handlers) {
    x_self = this->shared_from_this();
    x_handlers = std::move(handlers);
    x_reading = true;
    this->StartRead(&x_in);
  }
  void set_handlers(Handlers handlers) {
    if (!x_ended) x_handlers = std::move(handlers);
  }

  void read() {
    if (x_reading || x_ended || x_read_all) return;
    x_reading = true;
    x_in.Clear();
    this->StartRead(&x_in);
  }
  void write(Out message) {
    if (x_ended || x_status) return;
    x_unsent.push_back(std::move(message));
    pump();
  }
  // After what was written. Nothing is heard of this side any more.
  void end(grpc::Status status) {
    x_handlers = {};
    if (x_ended || x_status) return;
    x_status = std::move(status);
    pump();
  }

 private:
  template <class Task>
  void on_strand(Task task) {
    boost::asio::post(x_strand, [self = this->shared_from_this(), task = std::move(task)]() mutable { task(*self); });
  }
  void pump() {
    if (x_writing || x_ended) return;
    if (!x_unsent.empty()) {
      x_out = std::move(x_unsent.front());
      x_unsent.pop_front();
      x_writing = true;
      return this->StartWrite(&x_out);
    }
    if (!x_status) return;
    x_ended = true;
    this->Finish(*x_status);
  }
  // A copy: what it does may end this side, and with it the handlers.
  template <class Handler, class... Arguments>
  static void call(const Handler& handler, Arguments&&... arguments) {
    const Handler copy = handler;
    if (copy) copy(std::forward<Arguments>(arguments)...);
  }

  void OnReadDone(bool ok) override {
    on_strand([ok](Duplex& self) {
      self.x_reading = false;
      if (ok) return call(self.x_handlers.on_message, std::move(self.x_in));
      self.x_read_all = true;
      call(self.x_handlers.on_end);
    });
  }
  void OnWriteDone(bool ok) override {
    on_strand([ok](Duplex& self) {
      self.x_writing = false;
      if (!ok) self.x_unsent.clear();  // its OnCancel says it
      self.pump();
      if (ok && self.x_unsent.empty()) call(self.x_handlers.on_written);
    });
  }
  void OnCancel() override {
    on_strand([](Duplex& self) {
      self.x_unsent.clear();
      const auto on_gone = self.x_handlers.on_gone;
      self.end(grpc::Status::CANCELLED);
      if (on_gone) on_gone();
    });
  }
  void OnDone() override {
    on_strand([](Duplex& self) {
      self.x_handlers = {};
      self.x_self.reset();
    });
  }

  Strand x_strand;
  Handlers x_handlers;
  In x_in;
  Out x_out;
  std::deque<Out> x_unsent;
  std::optional<grpc::Status> x_status;  // to finish with
  bool x_reading = false, x_writing = false, x_read_all = false, x_ended = false;
  std::shared_ptr<Duplex> x_self;
};

}  // namespace trainyard::controller
