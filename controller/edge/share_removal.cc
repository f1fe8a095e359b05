#include "controller/edge/share_removal.h"

#include <fmt/format.h>

#include "controller/core/lookup.h"
#include "proto/names.h"

namespace trainyard::controller {

grpc::ServerUnaryReactor* ShareRemoval::start(const v1::DeleteShareRequest& request) {
  x_self = shared_from_this();
  auto* reactor = x_reactor;
  if (const Status status = check_request_id(request.request_id()); !status) {
    finish(to_grpc(status.error()));
    return reactor;
  }
  x_who = principal_of(*x_context);
  x_name = fmt::format("share {} of storage account {}", request.name(), request.account());
  core::Command command{.request_id = request.request_id(),
                        .principal = x_who,
                        .body = core::DeleteShare{request.account(), request.name()}};
  if (!command.request_id.empty()) command.fingerprint = fingerprint_of(x_who, request);
  const Status sent =
      x_bridge.context.send(std::move(command), Context::Work::ends,
                            [self = x_self](const Result<core::Subject>& share, const core::State& state, TimeMs) {
                              self->marked(share, state);
                            });
  if (!sent) finish(to_grpc(sent.error()));
  return reactor;
}

void ShareRemoval::marked(const Result<core::Subject>& share, const core::State& state) {
  if (!share) return finish(to_grpc(share.error()));
  const auto row = state.shares.find(ShareId{share->id});
  // The answer to a request that was sent before, and whose share has gone since.
  if (row == state.shares.end()) return finish(grpc::Status::OK);
  boost::asio::post(x_bridge.strand, [self = x_self, id = row->first, volume = core::volume_of(state, row->second)] {
    self->begin(id, volume);
  });
}

void ShareRemoval::begin(ShareId share, Volume volume) {
  if (!x_under_way.insert(share).second) {
    return finish({grpc::StatusCode::UNAVAILABLE, x_name + " is being deleted by another call: try again later"});
  }
  x_share = share;
  x_volume = std::move(volume);
  remove_some();
}

void ShareRemoval::remove_some() {
  FileTarget target;
  target.operation.set_kind(v1::FileOperation::KIND_DELETE_SHARE);
  put_volume(x_volume, target.operation);
  x_exchange = std::make_shared<FileExchange>(x_bridge, std::move(target), weak_from_this());
  x_exchange->start();
}

void ShareRemoval::on_done(FileExchange&, const Result<v1::FileDone>& result) {
  x_exchange.reset();
  if (!result) return finish(unfinished(result.error()));
  if (!result->more()) return forget();
  if (x_context->IsCancelled()) return finish(grpc::Status::CANCELLED);
  remove_some();
}

void ShareRemoval::forget() {
  core::Command command{.principal = x_who, .body = core::ForgetShare{x_share}};
  const Status sent = x_bridge.context.send(
      std::move(command), Context::Work::ends,
      [self = x_self](const Result<core::Subject>& done, const core::State&, TimeMs) {
        boost::asio::post(self->x_bridge.strand,
                          [self, done] { self->finish(done ? grpc::Status::OK : to_grpc(done.error())); });
      });
  if (!sent) finish(unfinished(sent.error()));
}

grpc::Status ShareRemoval::unfinished(const Error& error) const {
  return to_grpc(Error{error.code, fmt::format("{} (the delete of {} has begun and is not over: nothing can use it any "
                                               "more; delete it again to go on)",
                                               error.message, x_name)});
}

void ShareRemoval::finish(const grpc::Status& status) {
  if (x_share != ShareId{}) x_under_way.erase(x_share);
  x_reactor->Finish(status);
  x_self.reset();
}

}  // namespace trainyard::controller
