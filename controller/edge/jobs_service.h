// The Jobs service: handlers convert and post; the streams are a job's changes and its files. Any thread.
#pragma once

#include "controller/edge/file_bridge.h"
#include "controller/edge/job_watch.h"
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

 private:
  Context& x_context;
  JobWatch& x_watch;
  FileBridge& x_bridge;
};

}  // namespace trainyard::controller
