#include "agent/edge/call_stream.h"
#include "agent/edge/stream_impl.h"
#include "proto/agent_convert.h"

namespace trainyard::agent {
namespace {

FileOperation operation_from(const v1::FileOperation& message) {
  FileOperation operation{.kind = FileOperation::Kind::none,
                          .volume_kind = message.volume_kind(),
                          .root = message.root(),
                          .path = message.path(),
                          .offset = message.offset(),
                          .follow = message.follow(),
                          .volume_json = message.volume_json(),
                          .credential = std::nullopt};
  if (message.has_credential()) {
    operation.credential = SealedValue{message.credential().name(), message.credential().sealed()};
  }
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
    case v1::FileOperation::KIND_DELETE_SHARE:
      operation.kind = FileOperation::Kind::remove_share;
      break;
    default:
      break;
  }
  return operation;
}

class GrpcFileStream final : public FileStream, public CallStream<v1::FileReply, v1::FileRequest> {
 public:
  GrpcFileStream(std::shared_ptr<grpc::Channel> channel, std::function<void(std::function<void()>)> post,
                 FileHandlers handlers)
      : CallStream(std::move(channel), std::move(post)), x_handlers(std::move(handlers)) {}

  void start(const std::string& call_id) {
    stub().async()->ServeFile(&context(), this);
    v1::FileReply first;
    first.set_call_id(call_id);
    begin(std::move(first));
  }

  void read_next() override { read(); }
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
    last->set_more(done.more);
    push_last(std::move(reply));
  }
  void cancel() override { cancel_call(); }

 private:
  void on_message(v1::FileRequest& request) override {
    switch (request.part_case()) {
      case v1::FileRequest::kOperation:
        return x_handlers.on_operation(operation_from(request.operation()));
      case v1::FileRequest::kData:
        return x_handlers.on_data(std::move(*request.mutable_data()));
      case v1::FileRequest::kFinish:
        return x_handlers.on_finish();
      case v1::FileRequest::PART_NOT_SET:
        return read();
    }
  }
  void on_over() override {
    const auto on_closed = std::exchange(x_handlers.on_closed, nullptr);
    x_handlers = {};
    if (on_closed) on_closed();
  }

  FileHandlers x_handlers;
};

}  // namespace

std::shared_ptr<FileStream> open_file_stream(std::shared_ptr<grpc::Channel> channel, const std::string& call_id,
                                             std::function<void(std::function<void()>)> post, FileHandlers handlers) {
  auto stream = std::make_shared<GrpcFileStream>(std::move(channel), std::move(post), std::move(handlers));
  stream->start(call_id);
  return stream;
}

}  // namespace trainyard::agent
