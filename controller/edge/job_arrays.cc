// The part of the Jobs service that makes many jobs of one definition.
#include "controller/edge/jobs_service.h"

namespace trainyard::controller {
namespace {

using Body = Result<core::CommandBody>;

Body creation_from(const v1::CreateJobArrayRequest& request, const Context& context) {
  auto submit = submission_of(request, context);
  if (!submit) return submit.error();
  auto sweep = from_proto(request.parameters(), submit->spec);
  if (!sweep) return sweep.error();
  return core::CommandBody(
      core::CreateJobArray{std::move(*submit), request.tasks(), request.parallel(), std::move(*sweep)});
}

Body update_from(const v1::UpdateJobArrayRequest& request) {
  if (const Status ok = check_why("holdWhy", request.hold_why()); !ok) return ok.error();
  core::UpdateJobArray update{.ref = job_of(request.array()), .why = request.hold_why()};
  if (request.has_parallel()) update.parallel = request.parallel();
  if (request.has_hold()) update.held = request.hold();
  return core::CommandBody(std::move(update));
}

}  // namespace

grpc::ServerUnaryReactor* JobsService::CreateJobArray(grpc::CallbackServerContext* context,
                                                      const v1::CreateJobArrayRequest* request,
                                                      v1::JobArray* response) {
  return create(x_context, context, request, creation_from(*request, x_context), fill<JobArrayId>(response));
}

grpc::ServerUnaryReactor* JobsService::GetJobArray(grpc::CallbackServerContext* context, const v1::JobName* request,
                                                   v1::JobArray* response) {
  return x_context.read(context, [request, response](const core::State& state, TimeMs) {
    return answer(state, core::find_array(state, job_of(*request)), *response);
  });
}

grpc::ServerUnaryReactor* JobsService::ListJobArrays(grpc::CallbackServerContext* context,
                                                     const v1::ListJobArraysRequest* request,
                                                     v1::ListJobArraysResponse* response) {
  return list_in_experiment(x_context, context, request, response, &core::State::array_by_path,
                            [response] { return response->add_job_arrays(); });
}

grpc::ServerUnaryReactor* JobsService::UpdateJobArray(grpc::CallbackServerContext* context,
                                                      const v1::UpdateJobArrayRequest* request,
                                                      v1::JobArray* response) {
  return x_context.command(context, request, Context::Work::ends, update_from(*request), fill<JobArrayId>(response));
}

grpc::ServerUnaryReactor* JobsService::TerminateJobArray(grpc::CallbackServerContext* context,
                                                         const v1::TerminateJobArrayRequest* request,
                                                         v1::JobArray* response) {
  core::CommandBody body = core::TerminateJobArray{job_of(request->array())};
  return x_context.command(context, request, Context::Work::ends, std::move(body), fill<JobArrayId>(response));
}

grpc::ServerUnaryReactor* JobsService::DeleteJobArray(grpc::CallbackServerContext* context,
                                                      const v1::DeleteJobArrayRequest* request,
                                                      v1::DeleteJobArrayResponse*) {
  core::CommandBody body = core::DeleteJobArray{job_of(request->array())};
  return x_context.command(context, request, Context::Work::ends, std::move(body), fill_nothing());
}

}  // namespace trainyard::controller
