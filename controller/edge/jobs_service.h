// The Jobs service: handlers convert and post; the streams are a job's changes and its files. Any thread.
#pragma once

#include "controller/core/lookup.h"
#include "controller/edge/file_bridge.h"
#include "controller/edge/fill.h"
#include "controller/edge/job_watch.h"
#include "controller/edge/secret_values.h"
#include "trainyard/v1/jobs.grpc.pb.h"

namespace trainyard::controller {

class JobsService final : public v1::Jobs::CallbackService {
 public:
  JobsService(Context& context, JobWatch& watch, FileBridge& bridge)
      : x_context(context), x_watch(watch), x_bridge(bridge) {}
  grpc::ServerUnaryReactor* CreateJob(grpc::CallbackServerContext*, const v1::CreateJobRequest*, v1::Job*) override;
  grpc::ServerUnaryReactor* RerunJob(grpc::CallbackServerContext*, const v1::RerunJobRequest*, v1::Job*) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext*, const v1::JobName*, v1::Job*) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext*, const v1::ListJobsRequest*,
                                     v1::ListJobsResponse*) override;
  grpc::ServerUnaryReactor* TerminateJob(grpc::CallbackServerContext*, const v1::TerminateJobRequest*,
                                         v1::Job*) override;
  grpc::ServerUnaryReactor* DeleteJob(grpc::CallbackServerContext*, const v1::DeleteJobRequest*,
                                      v1::DeleteJobResponse*) override;
  grpc::ServerUnaryReactor* HoldJob(grpc::CallbackServerContext*, const v1::HoldJobRequest*, v1::Job*) override;
  grpc::ServerUnaryReactor* ReleaseJob(grpc::CallbackServerContext*, const v1::ReleaseJobRequest*, v1::Job*) override;
  grpc::ServerUnaryReactor* PrioritizeJob(grpc::CallbackServerContext*, const v1::PrioritizeJobRequest*,
                                          v1::Job*) override;
  grpc::ServerWriteReactor<v1::Job>* WatchJob(grpc::CallbackServerContext*, const v1::JobName*) override;
  grpc::ServerUnaryReactor* ListJobFiles(grpc::CallbackServerContext*, const v1::ListJobFilesRequest*,
                                         v1::ListJobFilesResponse*) override;
  grpc::ServerWriteReactor<v1::FileChunk>* ReadJobFile(grpc::CallbackServerContext*,
                                                       const v1::ReadJobFileRequest*) override;
  grpc::ServerUnaryReactor* ExplainJob(grpc::CallbackServerContext*, const v1::JobName*, v1::JobExplanation*) override;
  grpc::ServerUnaryReactor* GetJobTimeline(grpc::CallbackServerContext*, const v1::JobName*, v1::JobTimeline*) override;
  // job_arrays.cc
  grpc::ServerUnaryReactor* CreateJobArray(grpc::CallbackServerContext*, const v1::CreateJobArrayRequest*,
                                           v1::JobArray*) override;
  grpc::ServerUnaryReactor* GetJobArray(grpc::CallbackServerContext*, const v1::JobName*, v1::JobArray*) override;
  grpc::ServerUnaryReactor* ListJobArrays(grpc::CallbackServerContext*, const v1::ListJobArraysRequest*,
                                          v1::ListJobArraysResponse*) override;
  grpc::ServerUnaryReactor* UpdateJobArray(grpc::CallbackServerContext*, const v1::UpdateJobArrayRequest*,
                                           v1::JobArray*) override;
  grpc::ServerUnaryReactor* TerminateJobArray(grpc::CallbackServerContext*, const v1::TerminateJobArrayRequest*,
                                              v1::JobArray*) override;
  grpc::ServerUnaryReactor* DeleteJobArray(grpc::CallbackServerContext*, const v1::DeleteJobArrayRequest*,
                                           v1::DeleteJobArrayResponse*) override;
  grpc::ServerUnaryReactor* ExplainJobArray(grpc::CallbackServerContext*, const v1::JobName*,
                                            v1::JobArrayExplanation*) override;
  grpc::ServerUnaryReactor* GetJobArrayTimeline(grpc::CallbackServerContext*, const v1::GetJobArrayTimelineRequest*,
                                                v1::JobArrayTimeline*) override;
  // job_schedules.cc
  grpc::ServerUnaryReactor* CreateJobSchedule(grpc::CallbackServerContext*, const v1::CreateJobScheduleRequest*,
                                              v1::JobSchedule*) override;
  grpc::ServerUnaryReactor* GetJobSchedule(grpc::CallbackServerContext*, const v1::JobName*, v1::JobSchedule*) override;
  grpc::ServerUnaryReactor* ListJobSchedules(grpc::CallbackServerContext*, const v1::ListJobSchedulesRequest*,
                                             v1::ListJobSchedulesResponse*) override;
  grpc::ServerUnaryReactor* UpdateJobSchedule(grpc::CallbackServerContext*, const v1::UpdateJobScheduleRequest*,
                                              v1::JobSchedule*) override;
  grpc::ServerUnaryReactor* DeleteJobSchedule(grpc::CallbackServerContext*, const v1::DeleteJobScheduleRequest*,
                                              v1::DeleteJobScheduleResponse*) override;

 private:
  Context& x_context;
  JobWatch& x_watch;
  FileBridge& x_bridge;
};

// ---- Details, for the files of this service ----

inline core::JobRef job_of(const v1::JobName& name) {
  return {name.resource_group(), name.workspace(), name.experiment(), name.name()};
}

// The operator's class of that name into `priority`; empty: it stays as it is.
Status read_class(const Config& config, const std::string& name, Priority& priority);

// The checked submission of a job, of an array's tasks or of a schedule's jobs: the requests have the same fields for
// it.
template <class Request>
Result<core::SubmitJob> submission_of(const Request& request, const Context& context) {
  const core::WorkspaceRef home{request.resource_group(), request.workspace()};
  if (auto ok = check_all({check_group_name("resourceGroup", home.group), check_name("workspace", home.workspace),
                           check_name("experiment", request.experiment()), check_name("name", request.name())});
      !ok) {
    return ok.error();
  }
  auto job = from_proto(request.spec(), home);
  if (!job) return job.error();
  if (const Status allowed = check_unmanaged(context.config, "", job->spec.unmanaged_mounts.empty()); !allowed) {
    return allowed.error();
  }
  auto mapping = mapping_of(context.config, job->spec.image, job->spec.container.server_url);
  if (!mapping) return mapping.error();
  core::SubmitJob submit;
  submit.ref = {home.group, home.workspace, request.experiment(), request.name()};
  submit.cluster = std::move(job->cluster);
  submit.spec = std::move(job->spec);
  if (const Status known = read_class(context.config, request.spec().priority_class(), submit.spec.priority); !known) {
    return known.error();
  }
  seal(context.vault, home.group + "/" + home.workspace, request.spec(), submit.spec);
  submit.mapping = std::move(mapping).value();
  submit.unique = random_uuid();
  submit.run_as = user_of(context.config, home.group, home.workspace);
  submit.dependencies = std::move(job->dependencies);
  if constexpr (requires { request.hold(); }) {
    if (!request.hold()) return submit;
    if (const Status ok = check_why("holdWhy", request.hold_why()); !ok) return ok.error();
    submit.hold = request.hold_why();
  }
  return submit;
}

// Posts the creation; where the request has secrets, its record is made without their values.
template <class Request>
grpc::ServerUnaryReactor* create(Context& context, grpc::CallbackServerContext* call, const Request* request,
                                 Result<core::CommandBody> body, Context::Fill fill) {
  if (!has_secrets(request->spec())) {
    return context.command(call, request, Context::Work::adds, std::move(body), std::move(fill));
  }
  Request kept = *request;
  redact(context.vault, request->resource_group() + "/" + request->workspace(), *kept.mutable_spec());
  return context.command(call, &kept, Context::Work::adds, std::move(body), std::move(fill));
}

}  // namespace trainyard::controller
