#include "controller/edge/file_servers_service.h"

#include "controller/core/lookup.h"
#include "controller/edge/fill.h"
#include "controller/edge/page.h"

namespace trainyard::controller {
namespace {

template <class Request>
core::FileServerRef ref_of(const Request& request) {
  return {request.resource_group(), request.workspace(), request.name()};
}

}  // namespace

grpc::ServerUnaryReactor* FileServersService::CreateFileServer(grpc::CallbackServerContext* context,
                                                               const v1::CreateFileServerRequest* request,
                                                               v1::FileServer* response) {
  const auto body = [&]() -> Result<core::CommandBody> {
    if (auto ok = check_all({check_group_name("resourceGroup", request->resource_group()),
                             check_name("workspace", request->workspace()), check_name("name", request->name())});
        !ok) {
      return ok.error();
    }
    auto spec = from_proto(request->spec());
    if (!spec) return spec.error();
    core::CreateFileServer creation{ref_of(*request), std::move(spec).value(), {}, {}};
    if (const auto place = export_of(x_context.config, request->name())) {
      creation.address = place->address;
      creation.export_path = place->path;
    }
    return core::CommandBody(std::move(creation));
  };
  return x_context.command(context, request, Context::Work::adds, body(), fill<FileServerId>(response));
}

grpc::ServerUnaryReactor* FileServersService::GetFileServer(grpc::CallbackServerContext* context,
                                                            const v1::GetFileServerRequest* request,
                                                            v1::FileServer* response) {
  return x_context.read(context, [request, response](const core::State& state, TimeMs) {
    return answer(state, core::find_file_server(state, ref_of(*request)), *response);
  });
}

grpc::ServerUnaryReactor* FileServersService::ListFileServers(grpc::CallbackServerContext* context,
                                                              const v1::ListFileServersRequest* request,
                                                              v1::ListFileServersResponse* response) {
  return x_context.read(context, [request, response](const core::State& state, TimeMs) {
    const auto workspace = core::find_workspace(state, request->resource_group(), request->workspace());
    if (!workspace) return to_grpc(workspace.error());
    const std::string prefix = core::path_key({request->resource_group(), request->workspace()}) + "/";
    return to_grpc(fill_page(*request, *response, state.file_server_by_path, prefix,
                             [&](FileServerId id) { return show(state, id, *response->add_file_servers()); }));
  });
}

grpc::ServerUnaryReactor* FileServersService::DeleteFileServer(grpc::CallbackServerContext* context,
                                                               const v1::DeleteFileServerRequest* request,
                                                               v1::DeleteFileServerResponse*) {
  return x_context.command(context, request, Context::Work::ends,
                           core::CommandBody(core::DeleteFileServer{ref_of(*request)}), fill_nothing());
}

}  // namespace trainyard::controller
