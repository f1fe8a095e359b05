// The part of the Jobs service that submits a job again and again.
#include "controller/edge/jobs_service.h"

namespace trainyard::controller {
namespace {

using Body = Result<core::CommandBody>;

Body creation_from(const v1::CreateJobScheduleRequest& request, const Context& context) {
  auto submit = submission_of(request, context);
  if (!submit) return submit.error();
  const auto overlap = from_proto(request.overlap());
  if (!overlap) return overlap.error();
  core::CreateJobSchedule create{std::move(*submit), request.cron(), request.utc_offset()};
  create.overlap = overlap->value_or(create.overlap);
  if (request.has_keep()) create.keep = request.keep();
  if (request.suspended()) {
    if (const Status ok = check_why("suspendWhy", request.suspend_why()); !ok) return ok.error();
    create.suspended = request.suspend_why();
  }
  return core::CommandBody(std::move(create));
}

Body update_from(const v1::UpdateJobScheduleRequest& request) {
  if (const Status ok = check_why("suspendWhy", request.suspend_why()); !ok) return ok.error();
  const auto overlap = from_proto(request.overlap());
  if (!overlap) return overlap.error();
  core::UpdateJobSchedule update{.ref = job_of(request.schedule()), .overlap = *overlap, .why = request.suspend_why()};
  if (request.has_cron()) update.cron = request.cron();
  if (request.has_utc_offset()) update.utc_offset = request.utc_offset();
  if (request.has_keep()) update.keep = request.keep();
  if (request.has_suspend()) update.suspended = request.suspend();
  return core::CommandBody(std::move(update));
}

}  // namespace

grpc::ServerUnaryReactor* JobsService::CreateJobSchedule(grpc::CallbackServerContext* context,
                                                         const v1::CreateJobScheduleRequest* request,
                                                         v1::JobSchedule* response) {
  return create(x_context, context, request, creation_from(*request, x_context), fill<JobScheduleId>(response));
}

grpc::ServerUnaryReactor* JobsService::GetJobSchedule(grpc::CallbackServerContext* context, const v1::JobName* request,
                                                      v1::JobSchedule* response) {
  return x_context.read(context, [request, response](const core::State& state, TimeMs) {
    return answer(state, core::find_schedule(state, job_of(*request)), *response);
  });
}

grpc::ServerUnaryReactor* JobsService::ListJobSchedules(grpc::CallbackServerContext* context,
                                                        const v1::ListJobSchedulesRequest* request,
                                                        v1::ListJobSchedulesResponse* response) {
  return list_in_experiment(x_context, context, request, response, &core::State::schedule_by_path,
                            [response] { return response->add_job_schedules(); });
}

grpc::ServerUnaryReactor* JobsService::UpdateJobSchedule(grpc::CallbackServerContext* context,
                                                         const v1::UpdateJobScheduleRequest* request,
                                                         v1::JobSchedule* response) {
  return x_context.command(context, request, Context::Work::ends, update_from(*request), fill<JobScheduleId>(response));
}

grpc::ServerUnaryReactor* JobsService::DeleteJobSchedule(grpc::CallbackServerContext* context,
                                                         const v1::DeleteJobScheduleRequest* request,
                                                         v1::DeleteJobScheduleResponse*) {
  core::CommandBody body = core::DeleteJobSchedule{job_of(request->schedule())};
  return x_context.command(context, request, Context::Work::ends, std::move(body), fill_nothing());
}

}  // namespace trainyard::controller
