// The part of the Nodes service that keeps nodes free for a time.
#include "controller/core/lookup.h"
#include "controller/edge/clusters_service.h"
#include "controller/edge/fill.h"
#include "proto/convert.h"

namespace trainyard::controller {
namespace {

Result<core::CommandBody> creation_from(const v1::Reservation& message) {
  if (Status ok = check_all({check_name("name", message.name()), check_why("why", message.why())}); !ok) {
    return ok.error();
  }
  if (!message.has_from() || !message.has_until()) {
    return Error{Code::invalid_argument, std::string(message.has_from() ? "until" : "from") + ": is missing"};
  }
  core::CreateReservation create;
  create.name = message.name();
  create.nodes.assign(message.nodes().begin(), message.nodes().end());
  create.from_ms = from_proto(message.from());
  create.until_ms = from_proto(message.until());
  create.why = message.why();
  if (message.workspace().empty() != message.resource_group().empty()) {
    return Error{Code::invalid_argument, "workspace: give the resource group and the workspace, or none of them"};
  }
  if (!message.workspace().empty())
    create.workspace = core::WorkspaceRef{message.resource_group(), message.workspace()};
  return core::CommandBody(std::move(create));
}

void to_proto(const core::State& state, const core::Reservation& row, v1::Reservation& message) {
  message.set_name(row.name);
  for (const NodeId node : row.nodes) {
    if (const auto found = state.nodes.find(node); found != state.nodes.end()) message.add_nodes(found->second.name);
  }
  set_time(row.from_ms, *message.mutable_from());
  set_time(row.until_ms, *message.mutable_until());
  if (const auto workspace = row.workspace ? state.workspaces.find(*row.workspace) : state.workspaces.end();
      workspace != state.workspaces.end()) {
    message.set_resource_group(state.groups.at(workspace->second.group).name);
    message.set_workspace(workspace->second.name);
  }
  message.set_why(row.why);
  message.set_who(row.who);
}

}  // namespace

grpc::ServerUnaryReactor* NodesService::CreateReservation(grpc::CallbackServerContext* context,
                                                          const v1::CreateReservationRequest* request,
                                                          v1::Reservation* response) {
  const auto fill = [response](const core::State& state, core::Subject subject, TimeMs) {
    const auto row = state.reservations.find(ReservationId{subject.id});
    if (row != state.reservations.end()) to_proto(state, row->second, *response);
    return grpc::Status::OK;
  };
  return x_context.command(context, request, Context::Work::adds, creation_from(request->reservation()), fill);
}

grpc::ServerUnaryReactor* NodesService::ListReservations(grpc::CallbackServerContext* context,
                                                         const v1::ListReservationsRequest*,
                                                         v1::ListReservationsResponse* response) {
  return x_context.read(context, [response](const core::State& state, TimeMs) {
    for (const auto& [id, row] : state.reservations) to_proto(state, row, *response->add_reservations());
    return grpc::Status::OK;
  });
}

grpc::ServerUnaryReactor* NodesService::DeleteReservation(grpc::CallbackServerContext* context,
                                                          const v1::DeleteReservationRequest* request,
                                                          v1::DeleteReservationResponse*) {
  core::CommandBody body = core::DeleteReservation{request->name()};
  return x_context.command(context, request, Context::Work::ends, std::move(body), fill_nothing());
}

}  // namespace trainyard::controller
