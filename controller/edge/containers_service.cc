#include "controller/edge/containers_service.h"

#include "controller/core/lookup.h"
#include "controller/edge/fill.h"
#include "controller/edge/page.h"

namespace trainyard::controller {
namespace {

using Body = Result<core::CommandBody>;

template <class Request>
Status check_home(const Request& request) {
  return check_all(
      {check_group_name("resourceGroup", request.resource_group()), check_name("workspace", request.workspace())});
}

}  // namespace

// ---- Groups ----

grpc::ServerUnaryReactor* GroupsService::CreateGroup(grpc::CallbackServerContext* context,
                                                     const v1::CreateGroupRequest* request, v1::Group* response) {
  const auto body = [&]() -> Body {
    if (auto ok = check_all({check_group_name("name", request->name()), check_location(request->location())}); !ok) {
      return ok.error();
    }
    auto tags = tags_from_proto(request->tags());
    if (!tags) return tags.error();
    return core::CommandBody(core::CreateGroup{request->name(), request->location(), std::move(tags).value()});
  };
  return x_context.command(context, request, Context::Work::adds, body(), fill<GroupId>(response));
}

grpc::ServerUnaryReactor* GroupsService::GetGroup(grpc::CallbackServerContext* context,
                                                  const v1::GetGroupRequest* request, v1::Group* response) {
  return x_context.read(context, [request, response](const core::State& state, TimeMs) {
    return answer(state, core::find_group(state, request->name()), *response);
  });
}

grpc::ServerUnaryReactor* GroupsService::ListGroups(grpc::CallbackServerContext* context,
                                                    const v1::ListGroupsRequest* request,
                                                    v1::ListGroupsResponse* response) {
  return x_context.read(context, [request, response](const core::State& state, TimeMs) {
    return to_grpc(fill_page(*request, *response, state.group_by_path, "",
                             [&](GroupId id) { return show(state, id, *response->add_groups()); }));
  });
}

grpc::ServerUnaryReactor* GroupsService::UpdateGroup(grpc::CallbackServerContext* context,
                                                     const v1::UpdateGroupRequest* request, v1::Group* response) {
  const auto body = [&]() -> Body {
    auto tags = tags_from_proto(request->tags());
    if (!tags) return tags.error();
    return core::CommandBody(core::UpdateGroup{request->name(), std::move(tags).value()});
  };
  return x_context.command(context, request, Context::Work::adds, body(), fill<GroupId>(response));
}

grpc::ServerUnaryReactor* GroupsService::DeleteGroup(grpc::CallbackServerContext* context,
                                                     const v1::DeleteGroupRequest* request, v1::DeleteGroupResponse*) {
  return x_context.command(context, request, Context::Work::ends, core::CommandBody(core::DeleteGroup{request->name()}),
                           fill_nothing());
}

// ---- Workspaces ----

grpc::ServerUnaryReactor* WorkspacesService::CreateWorkspace(grpc::CallbackServerContext* context,
                                                             const v1::CreateWorkspaceRequest* request,
                                                             v1::Workspace* response) {
  const auto body = [&]() -> Body {
    if (auto ok = check_all({check_group_name("resourceGroup", request->resource_group()),
                             check_name("name", request->name()), check_location(request->location())});
        !ok) {
      return ok.error();
    }
    auto tags = tags_from_proto(request->tags());
    if (!tags) return tags.error();
    return core::CommandBody(core::CreateWorkspace{
        {request->resource_group(), request->name()}, request->location(), std::move(tags).value()});
  };
  return x_context.command(context, request, Context::Work::adds, body(), fill<WorkspaceId>(response));
}

grpc::ServerUnaryReactor* WorkspacesService::GetWorkspace(grpc::CallbackServerContext* context,
                                                          const v1::GetWorkspaceRequest* request,
                                                          v1::Workspace* response) {
  return x_context.read(context, [request, response](const core::State& state, TimeMs) {
    return answer(state, core::find_workspace(state, request->resource_group(), request->name()), *response);
  });
}

grpc::ServerUnaryReactor* WorkspacesService::ListWorkspaces(grpc::CallbackServerContext* context,
                                                            const v1::ListWorkspacesRequest* request,
                                                            v1::ListWorkspacesResponse* response) {
  return x_context.read(context, [request, response](const core::State& state, TimeMs) {
    const auto only = wanted_group(state, request->resource_group());
    if (!only) return to_grpc(only.error());
    const std::string prefix = *only ? core::path_key({request->resource_group()}) + "/" : "";
    return to_grpc(fill_page(*request, *response, state.workspace_by_path, prefix,
                             [&](WorkspaceId id) { return show(state, id, *response->add_workspaces()); }));
  });
}

grpc::ServerUnaryReactor* WorkspacesService::UpdateWorkspace(grpc::CallbackServerContext* context,
                                                             const v1::UpdateWorkspaceRequest* request,
                                                             v1::Workspace* response) {
  const auto body = [&]() -> Body {
    auto tags = tags_from_proto(request->tags());
    if (!tags) return tags.error();
    return core::CommandBody(
        core::UpdateWorkspace{{request->resource_group(), request->name()}, std::move(tags).value()});
  };
  return x_context.command(context, request, Context::Work::adds, body(), fill<WorkspaceId>(response));
}

grpc::ServerUnaryReactor* WorkspacesService::SetWorkspaceQuota(grpc::CallbackServerContext* context,
                                                               const v1::SetWorkspaceQuotaRequest* request,
                                                               v1::Workspace* response) {
  const v1::Quota& quota = request->quota();
  core::CommandBody body =
      core::SetQuota{{request->resource_group(), request->name()},
                     {quota.limit(), quota.guaranteed(), quota.weight() == 0 ? 1 : quota.weight()}};
  return x_context.command(context, request, Context::Work::adds, std::move(body), fill<WorkspaceId>(response));
}

grpc::ServerUnaryReactor* WorkspacesService::DeleteWorkspace(grpc::CallbackServerContext* context,
                                                             const v1::DeleteWorkspaceRequest* request,
                                                             v1::DeleteWorkspaceResponse*) {
  core::CommandBody body = core::DeleteWorkspace{{request->resource_group(), request->name()}};
  return x_context.command(context, request, Context::Work::ends, std::move(body), fill_nothing());
}

// ---- Experiments ----

grpc::ServerUnaryReactor* ExperimentsService::CreateExperiment(grpc::CallbackServerContext* context,
                                                               const v1::CreateExperimentRequest* request,
                                                               v1::Experiment* response) {
  const auto body = [&]() -> Body {
    if (auto ok = check_all({check_home(*request), check_name("name", request->name())}); !ok) return ok.error();
    return core::CommandBody(
        core::CreateExperiment{{request->resource_group(), request->workspace(), request->name()}});
  };
  return x_context.command(context, request, Context::Work::adds, body(), fill<ExperimentId>(response));
}

grpc::ServerUnaryReactor* ExperimentsService::GetExperiment(grpc::CallbackServerContext* context,
                                                            const v1::GetExperimentRequest* request,
                                                            v1::Experiment* response) {
  return x_context.read(context, [request, response](const core::State& state, TimeMs) {
    return answer(state,
                  core::find_experiment(state, {request->resource_group(), request->workspace(), request->name()}),
                  *response);
  });
}

grpc::ServerUnaryReactor* ExperimentsService::ListExperiments(grpc::CallbackServerContext* context,
                                                              const v1::ListExperimentsRequest* request,
                                                              v1::ListExperimentsResponse* response) {
  return list_in_workspace(x_context, context, request, response, &core::State::experiment_by_path,
                           [response] { return response->add_experiments(); });
}

grpc::ServerUnaryReactor* ExperimentsService::DeleteExperiment(grpc::CallbackServerContext* context,
                                                               const v1::DeleteExperimentRequest* request,
                                                               v1::DeleteExperimentResponse*) {
  core::CommandBody body = core::DeleteExperiment{{request->resource_group(), request->workspace(), request->name()}};
  return x_context.command(context, request, Context::Work::ends, std::move(body), fill_nothing());
}

}  // namespace trainyard::controller
