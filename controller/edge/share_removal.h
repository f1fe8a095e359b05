// The delete of a share, which is more than a row: the core marks it first, so that nothing new can use it; then
// agents' helpers remove its files, some seconds' worth at a time, for as long as the user's call lives; then the core
// forgets it. Broken off anywhere (the call, an agent, the controller), it leaves a share that is being deleted, and
// the next delete goes on. Starts on any thread; all else is on the bridge's strand.
#pragma once

#include <set>

#include "controller/edge/file_bridge.h"
#include "trainyard/v1/volumes.pb.h"

namespace trainyard::controller {

class ShareRemoval : public FileSink, public std::enable_shared_from_this<ShareRemoval> {
 public:
  // `under_way`: the shares that calls are at, used on the strand only; it outlives all calls. A share has one removal
  // at a time: a second one might still remove files when the first is done and a new share has the name.
  ShareRemoval(FileBridge& bridge, std::set<ShareId>& under_way, grpc::CallbackServerContext* context)
      : x_bridge(bridge), x_under_way(under_way), x_context(context), x_reactor(context->DefaultReactor()) {}

  grpc::ServerUnaryReactor* start(const v1::DeleteShareRequest& request);

 private:
  void marked(const Result<core::Subject>& share, const core::State& state);  // loop's thread
  void begin(ShareId share, Volume volume);
  void remove_some();
  void on_done(FileExchange& exchange, const Result<v1::FileDone>& result) override;
  void forget();
  void finish(const grpc::Status& status);
  grpc::Status unfinished(const Error& error) const;

  FileBridge& x_bridge;
  std::set<ShareId>& x_under_way;
  grpc::CallbackServerContext* x_context;
  grpc::ServerUnaryReactor* x_reactor;
  std::string x_who, x_name;
  Volume x_volume;
  ShareId x_share;
  std::shared_ptr<FileExchange> x_exchange;
  std::shared_ptr<ShareRemoval> x_self;
};

}  // namespace trainyard::controller
