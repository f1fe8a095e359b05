#include "controller/edge/explain_job.h"

#include <fmt/format.h>

#include "controller/core/view.h"
#include "proto/convert.h"

namespace trainyard::controller {
namespace {

using Kind = plan::Relaxation::Kind;

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::fewer_nodes:
      return "fewerNodes";
    case Kind::fewer_gpus:
      return "fewerGpus";
    case Kind::shorter_limit:
      return "shorterLimit";
    case Kind::higher_priority:
      return "higherPriority";
    case Kind::larger_cluster:
      return "largerCluster";
    case Kind::larger_quota:
      return "largerQuota";
    case Kind::any_topology:
      return "anyTopology";
    case Kind::release:
      return "release";
  }
  return "";
}

void to_proto(const plan::Relaxation& relaxation, v1::Relaxation& message) {
  message.set_kind(name_of(relaxation.kind));
  message.set_text(relaxation.text);
  message.set_node_count(relaxation.node_count);
  message.set_gpus_per_node(relaxation.gpus_per_node);
  message.set_gpus(relaxation.gpus);
  if (relaxation.kind == Kind::shorter_limit) set_duration(relaxation.limit_ms, *message.mutable_time_limit());
  if (relaxation.kind == Kind::higher_priority) {
    message.set_scheduling_priority(to_proto(relaxation.priority));
    message.set_priority_class(relaxation.priority_class);
  }
}

}  // namespace

Status explain(const core::State& state, const core::Job& job, TimeMs now_ms, const plan::Settings& settings,
               v1::JobExplanation& message) {
  const core::JobView view = core::view(state, job);
  if (job.state != core::JobState::queued) {
    return Error{Code::failed_precondition, fmt::format("job {} does not wait for nodes: it is {}{}{}", job.name,
                                                        view.phase, view.reason.empty() ? "" : ": ", view.reason)};
  }
  const plan::Why why = plan::why(state, job, now_ms, settings);
  message.set_name(job.name);
  message.set_reason(view.reason);
  message.set_possible(why.possible);
  message.set_needs(why.needs);
  message.set_fits(why.fits);
  for (const plan::Obstacle& obstacle : why.obstacles) {
    auto& out = *message.add_obstacles();
    out.set_code(obstacle.code);
    out.set_nodes(obstacle.nodes);
    out.set_text(obstacle.text);
  }
  for (const plan::Relaxation& relaxation : why.relaxations) to_proto(relaxation, *message.add_relaxations());
  message.set_position(why.position);
  message.set_queued(why.queued);
  if (why.best.start_ms != plan::Future::kNever) set_time(why.best.start_ms, *message.mutable_earliest_start());
  if (why.worst.start_ms != plan::Future::kNever) set_time(why.worst.start_ms, *message.mutable_latest_start());
  message.set_start_basis(why.forecast_basis);
  return {};
}

Status explain(const core::State& state, const core::JobArray& array, TimeMs now_ms, const plan::Settings& settings,
               v1::JobArrayExplanation& message) {
  const core::ArrayView view = core::view(state, array);
  const bool to_come = core::tasks_to_come(array);
  const auto queued = core::first_queued_task(state, array);
  if (!to_come && !queued) {
    return Error{Code::failed_precondition,
                 fmt::format("no task of job array {} waits: it is {}{}{}", array.name, view.execution_state,
                             view.reason.empty() ? "" : ": ", view.reason)};
  }
  message.set_name(array.name);
  message.set_reason(view.reason);
  if (to_come) {
    message.set_next_task(array.next);
    for (const core::TaskObstacle& obstacle : core::why_no_task(state, array)) {
      auto& out = *message.add_obstacles();
      out.set_code(obstacle.code);
      out.set_text(obstacle.text);
    }
  }
  return queued ? explain(state, state.jobs.at(*queued), now_ms, settings, *message.mutable_task()) : Status{};
}

}  // namespace trainyard::controller
