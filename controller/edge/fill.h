// Fills an answer's message from a row, as Context::Fill wants it: what was made or found, or NOT_FOUND when the answer
// to a repeated request names something that is gone by now. On the loop's thread.
#pragma once

#include "controller/core/lookup.h"
#include "controller/core/view.h"
#include "controller/edge/context.h"
#include "controller/edge/page.h"
#include "proto/convert.h"

namespace trainyard::controller {

// What a message needs besides its row: names of parents. All are false when the row is gone.
bool show(const core::State& state, GroupId id, v1::Group& message);
bool show(const core::State& state, WorkspaceId id, v1::Workspace& message);
bool show(const core::State& state, ExperimentId id, v1::Experiment& message);
bool show(const core::State& state, ClusterId id, v1::Cluster& message);
bool show(const core::State& state, JobId id, v1::Job& message);
bool show(const core::State& state, JobArrayId id, v1::JobArray& message);
bool show(const core::State& state, JobScheduleId id, v1::JobSchedule& message);
bool show(const core::State& state, AccountId id, v1::Account& message);
bool show(const core::State& state, ShareId id, v1::Share& message);
bool show(const core::State& state, FileServerId id, v1::FileServer& message);
bool show(const core::State& state, NodeId id, TimeMs now_ms, v1::Node& message);

grpc::Status gone();

template <class IdType, class Message>
Context::Fill fill(Message* message) {
  return [message](const core::State& state, core::Subject subject, TimeMs now_ms) {
    if constexpr (std::is_same_v<IdType, NodeId>) {
      return show(state, NodeId{subject.id}, now_ms, *message) ? grpc::Status::OK : gone();
    } else {
      return show(state, IdType{subject.id}, *message) ? grpc::Status::OK : gone();
    }
  };
}

inline Context::Fill fill_nothing() {
  return [](const core::State&, core::Subject, TimeMs) { return grpc::Status::OK; };
}

// The answer of a read: the row that `id` names, or its error.
template <class IdType, class Message>
grpc::Status answer(const core::State& state, const Result<IdType>& id, Message& message) {
  if (!id) return to_grpc(id.error());
  return show(state, *id, message) ? grpc::Status::OK : gone();
}

// The group that a list is narrowed to; none when the request names none.
inline Result<std::optional<GroupId>> wanted_group(const core::State& state, const std::string& name) {
  if (name.empty()) return std::optional<GroupId>();
  const auto group = core::find_group(state, name);
  if (!group) return group.error();
  return std::optional<GroupId>(*group);
}

// A page of what a workspace has of one kind; `add` makes the answer's next item.
template <class Request, class Response, class IdType, class Add>
grpc::ServerUnaryReactor* list_in_workspace(Context& context, grpc::CallbackServerContext* call, const Request* request,
                                            Response* response, std::map<std::string, IdType> core::State::*index,
                                            Add add) {
  return context.read(call, [=](const core::State& state, TimeMs) {
    const auto workspace = core::find_workspace(state, request->resource_group(), request->workspace());
    if (!workspace) return to_grpc(workspace.error());
    const std::string prefix = core::path_key({request->resource_group(), request->workspace()}) + "/";
    return to_grpc(
        fill_page(*request, *response, state.*index, prefix, [&](IdType id) { return show(state, id, *add()); }));
  });
}

// The same of what an experiment has.
template <class Request, class Response, class IdType, class Add>
grpc::ServerUnaryReactor* list_in_experiment(Context& context, grpc::CallbackServerContext* call,
                                             const Request* request, Response* response,
                                             std::map<std::string, IdType> core::State::*index, Add add) {
  return context.read(call, [=](const core::State& state, TimeMs) {
    const core::ExperimentRef ref{request->resource_group(), request->workspace(), request->experiment()};
    const auto experiment = core::find_experiment(state, ref);
    if (!experiment) return to_grpc(experiment.error());
    const std::string prefix = core::path_key({ref.group, ref.workspace, ref.experiment}) + "/";
    return to_grpc(
        fill_page(*request, *response, state.*index, prefix, [&](IdType id) { return show(state, id, *add()); }));
  });
}

// Checks the names of a path in order; the first mistake is the answer.
inline Status check_all(std::initializer_list<Status> checks) {
  for (const Status& status : checks) {
    if (!status) return status;
  }
  return {};
}

template <class Request>
core::WorkspaceRef home_of(const Request& request) {
  return {request.resource_group(), request.workspace()};
}

}  // namespace trainyard::controller
