// The part of the Jobs service that makes many jobs of one definition.
#include <fmt/format.h>

#include <algorithm>

#include "controller/edge/explain_job.h"
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

constexpr std::int32_t kMostLines = 1'000, kLinesShown = 200;
// Lines that are read for one that is shown: a task's many lines must not keep the loop.
constexpr std::size_t kReadForEach = 10;

// Lines of the array and of its newest tasks, merged.
class ArrayTimeline {
 public:
  ArrayTimeline(storage::Store& store, std::size_t limit) : x_store(store), x_limit(limit) {}

  Status add(const std::string& subject, const std::string& task) {
    const auto lines = x_store.timeline(subject, 0, kMostRead);
    if (!lines) return lines.error();
    for (const core::TimelineLine& line : *lines) x_lines.emplace_back(line, task);
    return {};
  }
  bool read_enough() const { return x_lines.size() >= x_limit * kReadForEach; }

  void show(v1::JobArrayTimeline& message) {
    std::sort(x_lines.begin(), x_lines.end(),
              [](const auto& a, const auto& b) { return a.first.sequence < b.first.sequence; });
    for (std::size_t i = x_lines.size() - std::min(x_lines.size(), x_limit); i < x_lines.size(); ++i) {
      auto& out = *message.add_lines();
      to_proto(x_lines[i].first, *out.mutable_line());
      out.set_task(x_lines[i].second);
    }
  }

 private:
  static constexpr std::uint32_t kMostRead = 10'000;

  storage::Store& x_store;
  const std::size_t x_limit;
  std::vector<std::pair<core::TimelineLine, std::string>> x_lines;
};

Status fill_timeline(storage::Store& store, const core::State& state, JobArrayId id, std::size_t limit,
                     v1::JobArrayTimeline& message) {
  ArrayTimeline timeline(store, limit);
  if (const Status ok = timeline.add(fmt::format("array:{}", id.value), ""); !ok) return ok;
  if (const auto tasks = state.array_tasks.find(id); tasks != state.array_tasks.end()) {
    std::size_t looked_at = 0;
    for (auto task = tasks->second.rbegin(); task != tasks->second.rend(); ++task, ++looked_at) {
      if (looked_at == limit || timeline.read_enough()) break;
      const core::Job& job = state.jobs.at(task->second);
      if (const Status ok = timeline.add(fmt::format("job:{}", job.id.value), job.name); !ok) return ok;
    }
    message.set_tasks_left_out(static_cast<std::uint32_t>(tasks->second.size() - looked_at));
  }
  timeline.show(message);
  return {};
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

grpc::ServerUnaryReactor* JobsService::ExplainJobArray(grpc::CallbackServerContext* context, const v1::JobName* request,
                                                       v1::JobArrayExplanation* response) {
  return x_context.read(context, [this, request, response](const core::State& state, TimeMs now_ms) {
    const auto id = core::find_array(state, job_of(*request));
    if (!id) return to_grpc(id.error());
    return to_grpc(explain(state, state.arrays.at(*id), now_ms, x_context.config.scheduling, *response));
  });
}

grpc::ServerUnaryReactor* JobsService::GetJobArrayTimeline(grpc::CallbackServerContext* context,
                                                           const v1::GetJobArrayTimelineRequest* request,
                                                           v1::JobArrayTimeline* response) {
  return x_context.read(context, [this, request, response](const core::State& state, TimeMs) {
    if (request->limit() < 0 || request->limit() > kMostLines) {
      return to_grpc(
          Error{Code::invalid_argument, fmt::format("limit: must be 1 to {}, got {}", kMostLines, request->limit())});
    }
    const auto id = core::find_array(state, job_of(request->array()));
    if (!id) return to_grpc(id.error());
    const auto limit = static_cast<std::size_t>(request->limit() == 0 ? kLinesShown : request->limit());
    return to_grpc(fill_timeline(x_context.store, state, *id, limit, *response));
  });
}

}  // namespace trainyard::controller
