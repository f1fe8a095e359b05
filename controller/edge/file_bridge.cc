#include "controller/edge/file_bridge.h"

#include <fmt/format.h>

#include "common/model_json.h"
#include "controller/edge/secret_values.h"

namespace trainyard::controller {
namespace {

constexpr std::chrono::seconds kAnswerWithin(10);  // from the file call to the agent's stream

Error no_node() {
  return {Code::unavailable,
          "no reachable node to read the share with: start an agent, or wait until one is reachable"};
}

Code code_of(int grpc_code) {
  using G = grpc::StatusCode;
  switch (grpc_code) {
    case G::OK:
      return Code::ok;
    case G::INVALID_ARGUMENT:
      return Code::invalid_argument;
    case G::NOT_FOUND:
      return Code::not_found;
    case G::ALREADY_EXISTS:
      return Code::already_exists;
    case G::PERMISSION_DENIED:
      return Code::permission_denied;
    case G::RESOURCE_EXHAUSTED:
      return Code::resource_exhausted;
    case G::FAILED_PRECONDITION:
      return Code::failed_precondition;
    case G::ABORTED:
      return Code::aborted;
    case G::UNAVAILABLE:
      return Code::unavailable;
    case G::DEADLINE_EXCEEDED:
      return Code::deadline_exceeded;
    case G::UNIMPLEMENTED:
      return Code::unimplemented;
    case G::DATA_LOSS:
      return Code::data_loss;
    default:
      return Code::internal;
  }
}

bool repeatable(v1::FileOperation::Kind kind) {
  return kind == v1::FileOperation::KIND_LIST || kind == v1::FileOperation::KIND_MKDIR ||
         kind == v1::FileOperation::KIND_DELETE_SHARE;
}

}  // namespace

void put_volume(const Volume& volume, v1::FileOperation& operation) {
  operation.set_volume_kind(name_of(volume.kind));
  operation.set_root(volume.source);
  if (volume.kind != Volume::Kind::local) operation.set_volume_json(nlohmann::json(volume).dump());
}

std::shared_ptr<FileExchange> FileBridge::take(const std::string& call_id) {
  const auto found = x_expected.find(call_id);
  if (found == x_expected.end()) return nullptr;
  auto exchange = found->second.lock();
  x_expected.erase(found);
  return exchange;
}

// ---- AgentFile ----

template <class Task>
void AgentFile::on_strand(Task task) {
  boost::asio::post(x_bridge.strand, [self = shared_from_this(), task = std::move(task)]() mutable { task(*self); });
}

void AgentFile::start() {
  x_self = shared_from_this();
  x_reading = true;
  StartRead(&x_in);
}

void AgentFile::attach(std::shared_ptr<FileExchange> exchange) {
  x_exchange = std::move(exchange);
}

void AgentFile::read() {
  if (x_reading || x_ended) return;
  x_reading = true;
  x_in.Clear();
  StartRead(&x_in);
}

void AgentFile::OnReadDone(bool ok) {
  on_strand([ok](AgentFile& self) { self.on_read(ok); });
}

void AgentFile::on_read(bool ok) {
  x_reading = false;
  if (x_ended) return;
  if (!ok) {
    if (const auto exchange = std::exchange(x_exchange, nullptr)) exchange->on_broken();
    return end(grpc::Status::OK);
  }
  if (x_exchange) return x_exchange->on_reply(std::move(x_in));
  const auto exchange = x_bridge.take(x_in.call_id());
  if (!exchange) return end({grpc::StatusCode::NOT_FOUND, "nobody waits for this file call any more"});
  if (const auto error = check_node(x_identity, exchange->node())) return end(to_grpc(*error));
  x_exchange = exchange;
  exchange->attached(shared_from_this());
}

void AgentFile::send(v1::FileRequest request) {
  if (x_ended) return;
  x_unsent.push_back(std::move(request));
  pump();
}

void AgentFile::pump() {
  if (x_writing || x_ended || x_unsent.empty()) return;
  x_out = std::move(x_unsent.front());
  x_unsent.pop_front();
  x_writing = true;
  StartWrite(&x_out);
}

void AgentFile::OnWriteDone(bool ok) {
  on_strand([ok](AgentFile& self) {
    self.x_writing = false;
    if (!ok || self.x_ended) return;  // the read ends too, and says it
    self.pump();
    if (self.x_exchange) self.x_exchange->on_agent_sent();
  });
}

void AgentFile::end(grpc::Status status) {
  x_exchange = nullptr;
  x_unsent.clear();
  if (x_ended) return;
  x_ended = true;
  Finish(std::move(status));
}

void AgentFile::OnCancel() {
  on_strand([](AgentFile& self) {
    if (const auto exchange = std::exchange(self.x_exchange, nullptr)) exchange->on_broken();
    self.end(grpc::Status::CANCELLED);
  });
}

void AgentFile::OnDone() {
  on_strand([](AgentFile& self) { self.x_self.reset(); });
}

// ---- FileExchange ----

FileExchange::FileExchange(FileBridge& bridge, FileTarget target, std::weak_ptr<FileSink> sink)
    : x_bridge(bridge), x_target(std::move(target)), x_sink(std::move(sink)), x_timer(bridge.strand) {}

void FileExchange::start() {
  ++x_tries;
  auto self = shared_from_this();
  const bool taken = x_bridge.context.loop.query([self](const core::State& state, TimeMs) {
    auto streams = self->x_bridge.registry.reachable(state, self->x_target.preferred_node);
    std::map<std::string, std::string> keys;
    for (const auto& stream : streams) {
      const auto node = state.node_by_name.find(stream->node());
      if (self->x_target.credential && node != state.node_by_name.end()) {
        keys[stream->node()] = state.nodes.at(node->second).inventory.sealing_key;
      }
    }
    boost::asio::post(self->x_bridge.strand,
                      [self, streams = std::move(streams), keys = std::move(keys)] { self->choose(streams, keys); });
  });
  // Not from within the caller's own call.
  if (!taken) boost::asio::post(x_bridge.strand, [self] { self->finish(inbox_full()); });
}

void FileExchange::choose(const std::vector<std::shared_ptr<AgentStream>>& streams,
                          const std::map<std::string, std::string>& keys) {
  if (x_done) return;
  const auto chosen =
      std::find_if(streams.begin(), streams.end(), [&](const auto& stream) { return stream->node() != x_tried; });
  if (chosen == streams.end()) return finish(no_node());
  x_node = (*chosen)->node();
  x_call_id = random_hex(16);
  if (const auto key = keys.find(x_node); x_target.credential && key != keys.end()) {
    auto sealed =
        seal_for_call(x_bridge.context.vault, key->second, x_target.workspace, x_call_id, *x_target.credential);
    if (!sealed) return finish(sealed.error());
    x_target.operation.mutable_credential()->set_name(sealed->name);
    x_target.operation.mutable_credential()->set_sealed(sealed->sealed);
  }
  x_bridge.expect(x_call_id, shared_from_this());
  v1::ToAgent message;
  message.mutable_file_call()->set_call_id(x_call_id);
  (*chosen)->send(std::move(message));
  x_timer.expires_after(kAnswerWithin);
  x_timer.async_wait([self = shared_from_this(), call = x_call_id](boost::system::error_code error) {
    if (error || self->x_done || self->x_agent || self->x_call_id != call) return;
    self->x_bridge.forget(call);
    self->try_another({Code::unavailable, fmt::format("node {} did not open the file within {} s: try again",
                                                      self->x_node, kAnswerWithin.count())});
  });
}

void FileExchange::try_another(const Error& error) {
  if (x_tries >= 2) return finish(error);
  x_tried = x_node;
  start();
}

void FileExchange::attached(std::shared_ptr<AgentFile> agent) {
  if (x_done) return agent->end({grpc::StatusCode::CANCELLED, "the user has gone"});
  x_timer.cancel();
  x_agent = std::move(agent);
  v1::FileRequest request;
  *request.mutable_operation() = x_target.operation;
  x_agent->send(std::move(request));
  if (x_finish_wanted) {
    v1::FileRequest finish;
    finish.set_finish(true);
    x_agent->send(std::move(finish));
  }
  x_agent->read();
  if (const auto sink = x_sink.lock()) sink->on_ready(*this);
}

void FileExchange::on_reply(v1::FileReply reply) {
  if (x_done) return;
  const auto sink = x_sink.lock();
  if (!sink) return cancel();
  switch (reply.part_case()) {
    case v1::FileReply::kData:
      return sink->on_data(*this, std::move(*reply.mutable_data()));
    case v1::FileReply::kListing:
      sink->on_listing(*this, std::move(*reply.mutable_listing()));
      return resume();
    case v1::FileReply::kDone:
      if (reply.done().code() == grpc::StatusCode::OK) return finish(std::move(*reply.mutable_done()));
      return finish(Error{code_of(reply.done().code()), reply.done().message()});
    case v1::FileReply::PART_NOT_SET:
      return resume();
  }
}

void FileExchange::on_agent_sent() {
  const auto sink = x_sink.lock();
  if (sink && !x_done) sink->on_sent(*this);
}

void FileExchange::on_broken() {
  x_agent = nullptr;
  if (x_done) return;
  const Error error{Code::unavailable, fmt::format("node {}, which had the file open, went away: try again", x_node)};
  if (repeatable(x_target.operation.kind())) return try_another(error);
  finish(error);
}

void FileExchange::resume() {
  if (x_agent) x_agent->read();
}

void FileExchange::send_data(std::string data) {
  if (!x_agent) return;
  v1::FileRequest request;
  request.set_data(std::move(data));
  x_agent->send(std::move(request));
}

void FileExchange::send_finish() {
  if (std::exchange(x_finish_wanted, true) || !x_agent) return;
  v1::FileRequest request;
  request.set_finish(true);
  x_agent->send(std::move(request));
}

void FileExchange::cancel() {
  x_sink.reset();
  finish(Error{Code::aborted, "the user has gone"});
}

void FileExchange::finish(const Result<v1::FileDone>& result) {
  if (x_done) return;
  const auto self = shared_from_this();  // both sides let go of this exchange below
  x_done = true;
  x_timer.cancel();
  x_bridge.forget(x_call_id);
  if (const auto agent = std::exchange(x_agent, nullptr)) {
    agent->end(result ? grpc::Status::OK : grpc::Status(grpc::StatusCode::CANCELLED, "the call has ended"));
  }
  if (const auto sink = x_sink.lock()) sink->on_done(*this, result);
}

}  // namespace trainyard::controller
