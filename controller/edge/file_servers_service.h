// The service of file servers. Handlers convert and post; any thread.
#pragma once

#include "controller/edge/context.h"
#include "trainyard/v1/file_servers.grpc.pb.h"

namespace trainyard::controller {

class FileServersService final : public v1::FileServers::CallbackService {
 public:
  explicit FileServersService(Context& context) : x_context(context) {}
  grpc::ServerUnaryReactor* CreateFileServer(grpc::CallbackServerContext*, const v1::CreateFileServerRequest*,
                                             v1::FileServer*) override;
  grpc::ServerUnaryReactor* GetFileServer(grpc::CallbackServerContext*, const v1::GetFileServerRequest*,
                                          v1::FileServer*) override;
  grpc::ServerUnaryReactor* ListFileServers(grpc::CallbackServerContext*, const v1::ListFileServersRequest*,
                                            v1::ListFileServersResponse*) override;
  grpc::ServerUnaryReactor* DeleteFileServer(grpc::CallbackServerContext*, const v1::DeleteFileServerRequest*,
                                             v1::DeleteFileServerResponse*) override;

 private:
  Context& x_context;
};

}  // namespace trainyard::controller
