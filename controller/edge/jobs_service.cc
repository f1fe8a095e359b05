#include "controller/edge/jobs_service.h"

#include <fmt/format.h>
#include <strings.h>

#include <algorithm>

#include "controller/core/lookup.h"
#include "controller/edge/explain_job.h"
#include "controller/edge/file_users.h"
#include "controller/edge/fill.h"
#include "controller/edge/page.h"
#include "controller/edge/secret_values.h"
#include "controller/edge/watch_stream.h"

namespace trainyard::controller {
namespace {

using Body = Result<core::CommandBody>;

constexpr std::uint32_t kMaxTimeline = 10'000;

grpc::Status add_timeline(storage::Store& store, JobId job,
                          google::protobuf::RepeatedPtrField<v1::TimelineLine>& message) {
  const auto lines = store.timeline(fmt::format("job:{}", job.value), 0, kMaxTimeline);
  if (!lines) return to_grpc(lines.error());
  for (const core::TimelineLine& line : *lines) to_proto(line, *message.Add());
  return grpc::Status::OK;
}

// File operations below one of the job's output directories.
FindBelow find_in_job(const v1::JobName& name, const std::string& output_id) {
  return [ref = job_of(name), output_id](const core::State& state, const std::string& path,
                                         v1::FileOperation::Kind kind) -> Result<FileTarget> {
    const auto id = core::find_job(state, ref);
    if (!id) return id.error();
    const core::Job& job = state.jobs.at(*id);
    const auto cluster = state.clusters.find(job.cluster);
    const auto place = job_directory(job, cluster == state.clusters.end() ? nullptr : &cluster->second, output_id);
    if (!place) return place.error();
    FileTarget target = target_below({core::with_addresses(state, {place->volume})[0], place->path}, path, kind);
    // Of the job's volume, or of one of its cluster's.
    const bool own = std::find(job.volumes.begin(), job.volumes.end(), place->volume) != job.volumes.end();
    const auto& credentials = own ? job.spec->credentials : cluster->second.spec.node_setup.credentials;
    add_credential(credentials, place->volume, ref.group + "/" + ref.workspace, target);
    // The head wrote them: what it wrote last is seen there first.
    if (!job.last_nodes.empty()) target.preferred_node = job.last_nodes.front();
    return target;
  };
}

}  // namespace

grpc::ServerUnaryReactor* JobsService::CreateJob(grpc::CallbackServerContext* context,
                                                 const v1::CreateJobRequest* request, v1::Job* response) {
  auto submit = submission_of(*request, x_context);
  Body body = submit ? Body(core::CommandBody(std::move(*submit))) : Body(submit.error());
  return create(x_context, context, request, std::move(body), fill<JobId>(response));
}

grpc::ServerUnaryReactor* JobsService::RerunJob(grpc::CallbackServerContext* context,
                                                const v1::RerunJobRequest* request, v1::Job* response) {
  const auto body = [&]() -> Body {
    if (!request->new_name().empty()) {
      if (const Status ok = check_name("newName", request->new_name()); !ok) return ok.error();
    }
    const core::JobRef job = job_of(request->job());
    auto run_as = user_of(x_context.config, job.group, job.workspace);
    return core::CommandBody(core::RerunJob{job, request->new_name(), random_uuid(), std::move(run_as)});
  };
  return x_context.command(context, request, Context::Work::adds, body(), fill<JobId>(response));
}

grpc::ServerUnaryReactor* JobsService::GetJob(grpc::CallbackServerContext* context, const v1::JobName* request,
                                              v1::Job* response) {
  return x_context.read(context, [request, response](const core::State& state, TimeMs) {
    return answer(state, core::find_job(state, job_of(*request)), *response);
  });
}

grpc::ServerUnaryReactor* JobsService::ListJobs(grpc::CallbackServerContext* context,
                                                const v1::ListJobsRequest* request, v1::ListJobsResponse* response) {
  return x_context.read_list(
      context, [request, response](const core::State& state, TimeMs) -> Result<std::function<void()>> {
        const auto experiment =
            core::find_experiment(state, {request->resource_group(), request->workspace(), request->experiment()});
        if (!experiment) return experiment.error();
        auto views = std::make_shared<std::vector<core::JobView>>();
        std::string prefix =
            core::path_key({request->resource_group(), request->workspace(), request->experiment()}) + "/";
        JobArrayId array;
        if (!request->array().empty()) {
          const auto found = core::find_array(
              state, {request->resource_group(), request->workspace(), request->experiment(), request->array()});
          if (!found) return found.error();
          array = *found;
          prefix += core::path_key({request->array()}) + "_";
        }
        const Status filled = fill_page(*request, *response, state.job_by_path, prefix, [&](JobId id) {
          if (array && state.jobs.at(id).array != array) return false;
          views->push_back(core::view(state, state.jobs.at(id)));
          return true;
        });
        if (!filled) return filled.error();
        return std::function<void()>([views, response] {
          for (const core::JobView& view : *views) to_proto(view, *response->add_jobs());
        });
      });
}

grpc::ServerUnaryReactor* JobsService::TerminateJob(grpc::CallbackServerContext* context,
                                                    const v1::TerminateJobRequest* request, v1::Job* response) {
  core::CommandBody body = core::TerminateJob{job_of(request->job())};
  return x_context.command(context, request, Context::Work::ends, std::move(body), fill<JobId>(response));
}

grpc::ServerUnaryReactor* JobsService::DeleteJob(grpc::CallbackServerContext* context,
                                                 const v1::DeleteJobRequest* request, v1::DeleteJobResponse*) {
  core::CommandBody body = core::DeleteJob{job_of(request->job())};
  return x_context.command(context, request, Context::Work::ends, std::move(body), fill_nothing());
}

grpc::ServerUnaryReactor* JobsService::HoldJob(grpc::CallbackServerContext* context, const v1::HoldJobRequest* request,
                                               v1::Job* response) {
  const auto body = [&]() -> Body {
    if (const Status ok = check_why("why", request->why()); !ok) return ok.error();
    return core::CommandBody(core::HoldJob{job_of(request->job()), request->why()});
  };
  return x_context.command(context, request, Context::Work::ends, body(), fill<JobId>(response));
}

grpc::ServerUnaryReactor* JobsService::ReleaseJob(grpc::CallbackServerContext* context,
                                                  const v1::ReleaseJobRequest* request, v1::Job* response) {
  core::CommandBody body = core::ReleaseJob{job_of(request->job())};
  return x_context.command(context, request, Context::Work::ends, std::move(body), fill<JobId>(response));
}

grpc::ServerUnaryReactor* JobsService::PrioritizeJob(grpc::CallbackServerContext* context,
                                                     const v1::PrioritizeJobRequest* request, v1::Job* response) {
  const auto body = [&]() -> Body {
    const auto priority = priority_from_proto(request->scheduling_priority());
    if (!priority) return priority.error();
    core::PrioritizeJob change{job_of(request->job()), *priority};
    const Status known = read_class(x_context.config, request->priority_class(), change.priority);
    if (!known) return known.error();
    return core::CommandBody(std::move(change));
  };
  return x_context.command(context, request, Context::Work::ends, body(), fill<JobId>(response));
}

grpc::ServerWriteReactor<v1::Job>* JobsService::WatchJob(grpc::CallbackServerContext*, const v1::JobName* request) {
  const auto stream = std::make_shared<WatchStream>(x_context);
  stream->start(x_watch, job_of(*request));
  return stream.get();
}

grpc::ServerUnaryReactor* JobsService::ExplainJob(grpc::CallbackServerContext* context, const v1::JobName* request,
                                                  v1::JobExplanation* response) {
  return x_context.read(context, [this, request, response](const core::State& state, TimeMs now_ms) {
    const auto id = core::find_job(state, job_of(*request));
    if (!id) return to_grpc(id.error());
    if (const Status explained = explain(state, state.jobs.at(*id), now_ms, x_context.config.scheduling, *response);
        !explained) {
      return to_grpc(explained.error());
    }
    return add_timeline(x_context.store, *id, *response->mutable_history());
  });
}

grpc::ServerUnaryReactor* JobsService::GetJobTimeline(grpc::CallbackServerContext* context, const v1::JobName* request,
                                                      v1::JobTimeline* response) {
  return x_context.read(context, [this, request, response](const core::State& state, TimeMs) {
    const auto id = core::find_job(state, job_of(*request));
    if (!id) return to_grpc(id.error());
    return add_timeline(x_context.store, *id, *response->mutable_lines());
  });
}

Status read_class(const Config& config, const std::string& name, Priority& priority) {
  if (name.empty()) return {};
  const PriorityClasses& classes = config.timing.classes;
  std::string known = "low, normal, high";
  for (const auto& [other, value] : classes) {
    if (strcasecmp(other.c_str(), name.c_str()) == 0) {
      priority = value;
      return {};
    }
    known += ", " + other;
  }
  return Error{Code::invalid_argument,
               "properties.schedulingPriority: '" + name + "' is no class here: use one of " + known};
}

// ---- Files ----

grpc::ServerUnaryReactor* JobsService::ListJobFiles(grpc::CallbackServerContext* context,
                                                    const v1::ListJobFilesRequest* request,
                                                    v1::ListJobFilesResponse* response) {
  return list_below(x_bridge, context, request->path(), find_in_job(request->job(), request->output_directory_id()),
                    response->mutable_files());
}

grpc::ServerWriteReactor<v1::FileChunk>* JobsService::ReadJobFile(grpc::CallbackServerContext*,
                                                                  const v1::ReadJobFileRequest* request) {
  std::function<Result<JobId>(const core::State&)> followed;
  if (request->follow()) {
    followed = [ref = job_of(request->job())](const core::State& state) { return core::find_job(state, ref); };
  }
  return read_below(x_bridge, x_watch, request->path(), request->offset(),
                    find_in_job(request->job(), request->output_directory_id()), std::move(followed));
}

}  // namespace trainyard::controller
