// Job arrays as users are shown them.
#include "controller/core/engine.h"
#include "controller/core/view.h"

namespace trainyard::core {

namespace {

std::string reason_of(const State& state, const JobArray& array) {
  if (!goes_on(array)) return array.cause.message;
  std::string text = array.hold ? held_text(*array.hold, "job array") : "";
  if (const std::string others = waits_for(state, array.dependencies); !others.empty()) {
    text += (text.empty() ? "" : "; ") + others;
  }
  if (!text.empty()) return text;
  const TaskCounts& counts = state.task_counts.at(array.id);
  const std::uint32_t to_come = array.body->tasks - array.next;
  text =
      std::to_string(array.succeeded + array.failed) + " of " + std::to_string(array.body->tasks) + " tasks have ended";
  if (counts.live > counts.queued) text += ", " + std::to_string(counts.live - counts.queued) + " running";
  if (counts.queued > 0) text += ", " + std::to_string(counts.queued) + " queued";
  if (to_come > 0) text += ", " + std::to_string(to_come) + " to come";
  return text;
}

}  // namespace

std::vector<TaskObstacle> why_no_task(const State& state, const JobArray& array) {
  std::vector<TaskObstacle> obstacles;
  if (array.hold) obstacles.push_back({"held", held_text(*array.hold, "job array")});
  if (std::string others = waits_for(state, array.dependencies); !others.empty()) {
    obstacles.push_back({"dependency", std::move(others)});
  }
  const TaskCounts& counts = state.task_counts.at(array.id);
  if (array.parallel != 0 && counts.live >= array.parallel) {
    obstacles.push_back({"parallel", std::to_string(counts.live) + " of its tasks have not ended, and " +
                                         std::to_string(array.parallel) + " may go on at once"});
  }
  if (counts.queued >= kMostQueuedTasks) {
    obstacles.push_back({"queued", std::to_string(counts.queued) +
                                       " of its tasks are queued: more come when some of them have started"});
  }
  return obstacles;
}

std::optional<JobId> first_queued_task(const State& state, const JobArray& array) {
  std::optional<JobId> first;
  const auto tasks = state.array_tasks.find(array.id);
  if (tasks == state.array_tasks.end()) return first;
  // Mostly the last ones: not all that have ended are looked at.
  std::uint32_t unseen = state.task_counts.at(array.id).queued;
  for (auto task = tasks->second.rbegin(); unseen > 0 && task != tasks->second.rend(); ++task) {
    if (state.jobs.at(task->second).state != JobState::queued) continue;
    first = task->second;
    --unseen;
  }
  return first;
}

ArrayView view(const State& state, const JobArray& array) {
  ArrayView out;
  out.row = array;
  name_home(state, array.experiment, out);
  const bool closing = array.state == ArrayState::running && !array.cause.code.empty();
  out.execution_state = closing ? "terminating" : name_of(array.state);
  out.reason = reason_of(state, array);
  out.counts = state.task_counts.at(array.id);
  out.priority_class = class_of(state, array.body->spec.priority);
  return out;
}

}  // namespace trainyard::core
