// The Volumes service: accounts and shares are rows; files go through an agent. Any thread.
#pragma once

#include "controller/edge/file_bridge.h"
#include "controller/edge/job_watch.h"
#include "controller/edge/share_removal.h"
#include "trainyard/v1/volumes.grpc.pb.h"

namespace trainyard::controller {

class VolumesService final : public v1::Volumes::CallbackService {
 public:
  VolumesService(Context& context, JobWatch& watch, FileBridge& bridge)
      : x_context(context), x_watch(watch), x_bridge(bridge) {}
  grpc::ServerUnaryReactor* CreateAccount(grpc::CallbackServerContext*, const v1::CreateAccountRequest*,
                                          v1::Account*) override;
  grpc::ServerUnaryReactor* ListAccounts(grpc::CallbackServerContext*, const v1::ListAccountsRequest*,
                                         v1::ListAccountsResponse*) override;
  grpc::ServerUnaryReactor* CreateShare(grpc::CallbackServerContext*, const v1::CreateShareRequest*,
                                        v1::Share*) override;
  grpc::ServerUnaryReactor* ListShares(grpc::CallbackServerContext*, const v1::ListSharesRequest*,
                                       v1::ListSharesResponse*) override;
  grpc::ServerUnaryReactor* DeleteShare(grpc::CallbackServerContext*, const v1::DeleteShareRequest*,
                                        v1::DeleteShareResponse*) override;
  grpc::ServerUnaryReactor* CreateDirectory(grpc::CallbackServerContext*, const v1::CreateDirectoryRequest*,
                                            v1::CreateDirectoryResponse*) override;
  grpc::ServerUnaryReactor* ListFiles(grpc::CallbackServerContext*, const v1::ListFilesRequest*,
                                      v1::ListFilesResponse*) override;
  grpc::ServerReadReactor<v1::UploadFileRequest>* UploadFile(grpc::CallbackServerContext*,
                                                             v1::UploadFileResponse*) override;
  grpc::ServerWriteReactor<v1::FileChunk>* DownloadFile(grpc::CallbackServerContext*,
                                                        const v1::DownloadFileRequest*) override;
  grpc::ServerUnaryReactor* DeleteFile(grpc::CallbackServerContext*, const v1::DeleteFileRequest*,
                                       v1::DeleteFileResponse*) override;

 private:
  Context& x_context;
  JobWatch& x_watch;
  FileBridge& x_bridge;
  std::set<ShareId> x_shares_removed;  // see ShareRemoval
};

}  // namespace trainyard::controller
