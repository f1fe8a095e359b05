// The services of the containers: Groups, Workspaces, Experiments. Handlers convert and post; any thread.
#pragma once

#include "controller/edge/context.h"
#include "trainyard/v1/experiments.grpc.pb.h"
#include "trainyard/v1/groups.grpc.pb.h"
#include "trainyard/v1/workspaces.grpc.pb.h"

namespace trainyard::controller {

class GroupsService final : public v1::Groups::CallbackService {
 public:
  explicit GroupsService(Context& context) : x_context(context) {}
  grpc::ServerUnaryReactor* CreateGroup(grpc::CallbackServerContext*, const v1::CreateGroupRequest*,
                                        v1::Group*) override;
  grpc::ServerUnaryReactor* GetGroup(grpc::CallbackServerContext*, const v1::GetGroupRequest*, v1::Group*) override;
  grpc::ServerUnaryReactor* ListGroups(grpc::CallbackServerContext*, const v1::ListGroupsRequest*,
                                       v1::ListGroupsResponse*) override;
  grpc::ServerUnaryReactor* DeleteGroup(grpc::CallbackServerContext*, const v1::DeleteGroupRequest*,
                                        v1::DeleteGroupResponse*) override;
  grpc::ServerUnaryReactor* UpdateGroup(grpc::CallbackServerContext*, const v1::UpdateGroupRequest*,
                                        v1::Group*) override;

 private:
  Context& x_context;
};

class WorkspacesService final : public v1::Workspaces::CallbackService {
 public:
  explicit WorkspacesService(Context& context) : x_context(context) {}
  grpc::ServerUnaryReactor* CreateWorkspace(grpc::CallbackServerContext*, const v1::CreateWorkspaceRequest*,
                                            v1::Workspace*) override;
  grpc::ServerUnaryReactor* GetWorkspace(grpc::CallbackServerContext*, const v1::GetWorkspaceRequest*,
                                         v1::Workspace*) override;
  grpc::ServerUnaryReactor* ListWorkspaces(grpc::CallbackServerContext*, const v1::ListWorkspacesRequest*,
                                           v1::ListWorkspacesResponse*) override;
  grpc::ServerUnaryReactor* DeleteWorkspace(grpc::CallbackServerContext*, const v1::DeleteWorkspaceRequest*,
                                            v1::DeleteWorkspaceResponse*) override;
  grpc::ServerUnaryReactor* SetWorkspaceQuota(grpc::CallbackServerContext*, const v1::SetWorkspaceQuotaRequest*,
                                              v1::Workspace*) override;
  grpc::ServerUnaryReactor* UpdateWorkspace(grpc::CallbackServerContext*, const v1::UpdateWorkspaceRequest*,
                                            v1::Workspace*) override;

 private:
  Context& x_context;
};

class ExperimentsService final : public v1::Experiments::CallbackService {
 public:
  explicit ExperimentsService(Context& context) : x_context(context) {}
  grpc::ServerUnaryReactor* CreateExperiment(grpc::CallbackServerContext*, const v1::CreateExperimentRequest*,
                                             v1::Experiment*) override;
  grpc::ServerUnaryReactor* GetExperiment(grpc::CallbackServerContext*, const v1::GetExperimentRequest*,
                                          v1::Experiment*) override;
  grpc::ServerUnaryReactor* ListExperiments(grpc::CallbackServerContext*, const v1::ListExperimentsRequest*,
                                            v1::ListExperimentsResponse*) override;
  grpc::ServerUnaryReactor* DeleteExperiment(grpc::CallbackServerContext*, const v1::DeleteExperimentRequest*,
                                             v1::DeleteExperimentResponse*) override;

 private:
  Context& x_context;
};

}  // namespace trainyard::controller
