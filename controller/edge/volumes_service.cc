#include "controller/edge/volumes_service.h"

#include "controller/core/lookup.h"
#include "controller/edge/file_users.h"
#include "controller/edge/fill.h"

namespace trainyard::controller {
namespace {

using Body = Result<core::CommandBody>;

Result<FileTarget> find_in_share(const core::State& state, const v1::SharePath& at, v1::FileOperation::Kind kind,
                                 bool may_be_root) {
  auto path = clean_path("path", at.path(), may_be_root);
  if (!path) return path.error();
  const auto id = core::find_share(state, at.account(), at.share());
  if (!id) return id.error();
  const core::Share& share = state.shares.at(*id);
  if (share.deleting) {
    return Error{Code::failed_precondition,
                 "share " + share.name + " of storage account " + at.account() + " is being deleted"};
  }
  FileTarget target;
  target.operation.set_kind(kind);
  put_volume(core::volume_of(state, share), target.operation);
  target.operation.set_path(std::move(path).value());
  return target;
}

grpc::ServerUnaryReactor* refuse(grpc::CallbackServerContext* context, const Error& error) {
  auto* reactor = context->DefaultReactor();
  reactor->Finish(to_grpc(error));
  return reactor;
}

}  // namespace

grpc::ServerUnaryReactor* VolumesService::CreateAccount(grpc::CallbackServerContext* context,
                                                        const v1::CreateAccountRequest* request,
                                                        v1::Account* response) {
  const auto body = [&]() -> Body {
    if (auto ok = check_all({check_group_name("resourceGroup", request->resource_group()),
                             check_name("name", request->name()), check_location(request->location())});
        !ok) {
      return ok.error();
    }
    if (request->sku().size() > 64) return Error{Code::invalid_argument, "sku: is longer than 64 characters"};
    auto place = place_of(x_context.config, request->name());
    if (!place) return place.error();
    return core::CommandBody(core::CreateAccount{request->resource_group(), request->name(), request->location(),
                                                 request->sku(), std::move(place).value()});
  };
  return x_context.command(context, request, Context::Work::adds, body(), fill<AccountId>(response));
}

grpc::ServerUnaryReactor* VolumesService::ListAccounts(grpc::CallbackServerContext* context,
                                                       const v1::ListAccountsRequest* request,
                                                       v1::ListAccountsResponse* response) {
  return x_context.read(context, [request, response](const core::State& state, TimeMs) {
    const auto only = wanted_group(state, request->resource_group());
    if (!only) return to_grpc(only.error());
    for (const auto& [name, id] : state.account_by_name) {
      if (!*only || state.accounts.at(id).group == **only) show(state, id, *response->add_accounts());
    }
    return grpc::Status::OK;
  });
}

grpc::ServerUnaryReactor* VolumesService::CreateShare(grpc::CallbackServerContext* context,
                                                      const v1::CreateShareRequest* request, v1::Share* response) {
  const auto body = [&]() -> Body {
    if (auto ok = check_all({check_name("account", request->account()), check_name("name", request->name())}); !ok) {
      return ok.error();
    }
    return core::CommandBody(core::CreateShare{request->account(), request->name()});
  };
  return x_context.command(context, request, Context::Work::adds, body(), fill<ShareId>(response));
}

grpc::ServerUnaryReactor* VolumesService::ListShares(grpc::CallbackServerContext* context,
                                                     const v1::ListSharesRequest* request,
                                                     v1::ListSharesResponse* response) {
  return x_context.read(context, [request, response](const core::State& state, TimeMs) {
    const auto account = core::find_account(state, request->account());
    if (!account) return to_grpc(account.error());
    for (const auto& [path, id] : state.share_by_path) {
      if (state.shares.at(id).account == *account) show(state, id, *response->add_shares());
    }
    return grpc::Status::OK;
  });
}

grpc::ServerUnaryReactor* VolumesService::DeleteShare(grpc::CallbackServerContext* context,
                                                      const v1::DeleteShareRequest* request, v1::DeleteShareResponse*) {
  return std::make_shared<ShareRemoval>(x_bridge, x_shares_removed, context)->start(*request);
}

// ---- Files ----

grpc::ServerUnaryReactor* VolumesService::CreateDirectory(grpc::CallbackServerContext* context,
                                                          const v1::CreateDirectoryRequest* request,
                                                          v1::CreateDirectoryResponse* response) {
  // Repeating it is harmless by itself: the answer says whether it was there.
  if (const Status status = check_request_id(request->request_id()); !status) return refuse(context, status.error());
  return start_file_operation(
      x_bridge, context,
      [request](const core::State& state) {
        return find_in_share(state, request->directory(), v1::FileOperation::KIND_MKDIR, false);
      },
      [response](const Result<v1::FileDone>& done, const v1::FileListing&) {
        if (!done) return to_grpc(done.error());
        response->set_created(done->created());
        return grpc::Status::OK;
      });
}

grpc::ServerUnaryReactor* VolumesService::ListFiles(grpc::CallbackServerContext* context,
                                                    const v1::ListFilesRequest* request,
                                                    v1::ListFilesResponse* response) {
  return start_file_operation(
      x_bridge, context,
      [request](const core::State& state) {
        return find_in_share(state, request->directory(), v1::FileOperation::KIND_LIST, true);
      },
      [response](const Result<v1::FileDone>& done, const v1::FileListing& listing) {
        if (!done) return to_grpc(done.error());
        add_files(listing, *response->mutable_files());
        return grpc::Status::OK;
      });
}

grpc::ServerUnaryReactor* VolumesService::DeleteFile(grpc::CallbackServerContext* context,
                                                     const v1::DeleteFileRequest* request, v1::DeleteFileResponse*) {
  if (const Status status = check_request_id(request->request_id()); !status) return refuse(context, status.error());
  return start_file_operation(
      x_bridge, context,
      [request](const core::State& state) {
        return find_in_share(state, request->file(), v1::FileOperation::KIND_DELETE, false);
      },
      [](const Result<v1::FileDone>& done, const v1::FileListing&) {
        return done ? grpc::Status::OK : to_grpc(done.error());
      });
}

grpc::ServerReadReactor<v1::UploadFileRequest>* VolumesService::UploadFile(grpc::CallbackServerContext* context,
                                                                           v1::UploadFileResponse* response) {
  const auto writer = std::make_shared<FileWriter>(
      x_bridge, context, response, [](const core::State& state, const v1::SharePath& target) {
        return find_in_share(state, target, v1::FileOperation::KIND_WRITE, false);
      });
  writer->start();
  return writer.get();
}

grpc::ServerWriteReactor<v1::FileChunk>* VolumesService::DownloadFile(grpc::CallbackServerContext*,
                                                                      const v1::DownloadFileRequest* request) {
  const auto reader = std::make_shared<FileReader>(x_bridge, x_watch);
  reader->start(
      [request = *request](const core::State& state) {
        auto target = find_in_share(state, request.file(), v1::FileOperation::KIND_READ, false);
        if (target) target->operation.set_offset(request.offset());
        return target;
      },
      {});
  return reader.get();
}

}  // namespace trainyard::controller
