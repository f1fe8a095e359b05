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
