#include <grpcpp/grpcpp.h>

#include <deque>

#include "agent/edge/file_stream_impl.h"
#include "proto/agent_convert.h"
#include "trainyard/v1/agent.grpc.pb.h"

namespace trainyard::agent {
namespace {

grpc::StatusCode to_grpc(Code code) {
  switch (code) {
    case Code::ok:
      return grpc::StatusCode::OK;
    case Code::invalid_argument:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case Code::not_found:
      return grpc::StatusCode::NOT_FOUND;
    case Code::already_exists:
      return grpc::StatusCode::ALREADY_EXISTS;
    case Code::permission_denied:
      return grpc::StatusCode::PERMISSION_DENIED;
    case Code::unauthenticated:
      return grpc::StatusCode::UNAUTHENTICATED;
    case Code::resource_exhausted:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case Code::failed_precondition:
      return grpc::StatusCode::FAILED_PRECONDITION;
    case Code::aborted:
      return grpc::StatusCode::ABORTED;
    case Code::unavailable:
      return grpc::StatusCode::UNAVAILABLE;
    case Code::deadline_exceeded:
      return grpc::StatusCode::DEADLINE_EXCEEDED;
    case Code::unimplemented:
      return grpc::StatusCode::UNIMPLEMENTED;
    case Code::data_loss:
      return grpc::StatusCode::DATA_LOSS;
    case Code::internal:
      break;
  }
  return grpc::StatusCode::INTERNAL;
}

FileOperation operation_from(const v1::FileOperation& message) {
  FileOperation operation{.kind = FileOperation::Kind::none,
                          .volume_kind = message.volume_kind(),
                          .root = message.root(),
                          .path = message.path(),
                          .offset = message.offset(),
                          .follow = message.follow()};
  switch (message.kind()) {
    case v1::FileOperation::KIND_LIST:
      operation.kind = FileOperation::Kind::list;
      break;
    case v1::FileOperation::KIND_READ:
      operation.kind = FileOperation::Kind::read;
      break;
    case v1::FileOperation::KIND_WRITE:
      operation.kind = FileOperation::Kind::write;
      break;
    case v1::FileOperation::KIND_MKDIR:
      operation.kind = FileOperation::Kind::mkdir;
      break;
    case v1::FileOperation::KIND_DELETE:
      operation.kind = FileOperation::Kind::remove;
      break;
    default:
      break;
  }
  return operation;
}

// As Stream in controller_link.cc: gRPC's threads post, everything else is the loop's.
class GrpcFileStream : public grpc::ClientBidiReactor<v1::FileReply, v1::FileRequest>,
                       public FileStream,
                       public std::enable_shared_from_this<GrpcFileStream> {
 public:
  GrpcFileStream(std::shared_ptr<grpc::Channel> channel, std::function<void(std::function<void()>)> post,
                 FileHandlers handlers)
      : x_channel(std::move(channel)),
        x_stub(v1::Agents::NewStub(x_channel)),
        x_post(std::move(post)),
        x_handlers(std::move(handlers)) {}

  void start(const std::string& call_id) {
    x_self = shared_from_this();
    x_stub->async()->ServeFile(&x_context, this);
    AddHold();
    v1::FileReply first;
    first.set_call_id(call_id);
    push(std::move(first), {});
    StartRead(&x_incoming);  // the operation comes without being asked for
    StartCall();
  }

  void read_next() override {
    if (x_closed || x_reading) return;
    x_reading = true;
    StartRead(&x_incoming);
  }
  void send_data(std::string data, std::function<void()> sent) override {
    v1::FileReply reply;
    reply.set_data(std::move(data));
    push(std::move(reply), std::move(sent));
  }
  void send_listing(const std::vector<ListedFile>& files) override {
    v1::FileReply reply;
    auto* listing = reply.mutable_listing();
    for (const ListedFile& file : files) {
      auto* listed = listing->add_files();
      listed->set_name(valid_utf8(file.name));
      listed->set_is_directory(file.is_directory);
      listed->set_size(file.size);
      listed->set_modified_ms(file.modified_ms);
    }
    push(std::move(reply), {});
  }
  void finish(const FileDone& done) override {
    v1::FileReply reply;
    auto* last = reply.mutable_done();
    last->set_code(done.status.ok() ? grpc::StatusCode::OK : to_grpc(done.status.error().code));
    if (!done.status.ok()) last->set_message(valid_utf8(done.status.error().message));
    last->set_size(done.size);
    last->set_created(done.created);
    x_finishing = true;
    push(std::move(reply), {});
  }
  void cancel() override {
    x_context.TryCancel();
    close();
  }

  void OnReadDone(bool ok) override {
    x_post([this, ok] {
      x_reading = false;
      if (!ok) {
        x_read_ended = true;
        // The controller's side ended: unless our last word is out, nobody wants the rest.
        if (!x_writes_done) x_context.TryCancel();
        return close();
      }
      if (x_closed) return;
      // A call ends only when the other side was read to its end.
      if (x_finishing) return read_next();
      v1::FileRequest request;
      request.Swap(&x_incoming);
      dispatch(request);
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
      close_handlers();
    });
  }

 private:
  struct Piece {
    v1::FileReply reply;
    std::function<void()> sent;
  };

  void dispatch(v1::FileRequest& request) {
    switch (request.part_case()) {
      case v1::FileRequest::kOperation:
        return x_handlers.on_operation(operation_from(request.operation()));
      case v1::FileRequest::kData:
        return x_handlers.on_data(std::move(*request.mutable_data()));
      case v1::FileRequest::kFinish:
        return x_handlers.on_finish();
      case v1::FileRequest::PART_NOT_SET:
        return read_next();
    }
  }
  void push(v1::FileReply reply, std::function<void()> sent) {
    if (x_closed) return;
    x_outbox.push_back({std::move(reply), std::move(sent)});
    write_next();
  }
  void write_next() {
    if (x_writing || x_closed) return;
    if (x_outbox.empty()) {
      if (x_finishing && !std::exchange(x_writes_done, true)) {
        StartWritesDone();
        read_next();
      }
      return;
    }
    x_outgoing = std::move(x_outbox.front().reply);
    x_sent = std::move(x_outbox.front().sent);
    x_outbox.pop_front();
    x_writing = true;
    StartWrite(&x_outgoing);
  }
  void close() {
    if (std::exchange(x_closed, true)) return;
    x_outbox.clear();
    RemoveHold();
  }
  void close_handlers() {
    const auto on_closed = std::exchange(x_handlers.on_closed, nullptr);
    x_handlers = {};
    if (on_closed) on_closed();
  }

  std::shared_ptr<grpc::Channel> x_channel;
  std::unique_ptr<v1::Agents::Stub> x_stub;
  std::function<void(std::function<void()>)> x_post;
  FileHandlers x_handlers;
  grpc::ClientContext x_context;
  v1::FileRequest x_incoming;
  v1::FileReply x_outgoing;
  std::deque<Piece> x_outbox;
  std::function<void()> x_sent;
  bool x_reading = true, x_writing = false, x_read_ended = false;
  bool x_finishing = false, x_writes_done = false, x_closed = false;
  std::shared_ptr<GrpcFileStream> x_self;
};

}  // namespace

std::shared_ptr<FileStream> open_file_stream(std::shared_ptr<grpc::Channel> channel, const std::string& call_id,
                                             std::function<void(std::function<void()>)> post, FileHandlers handlers) {
  auto stream = std::make_shared<GrpcFileStream>(std::move(channel), std::move(post), std::move(handlers));
  stream->start(call_id);
  return stream;
}

}  // namespace trainyard::agent
