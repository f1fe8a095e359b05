// Job schedules as users are shown them.
#include "controller/core/engine.h"
#include "controller/core/view.h"

namespace trainyard::core {

namespace {

constexpr std::size_t kNextShown = 3;

std::string minute_text(TimeMs time_ms) {
  return iso8601(time_ms).substr(0, 16) + "Z";
}

std::string reason_of(const JobSchedule& schedule) {
  if (const auto& hold = schedule.suspended) {
    return "suspended by " + hold->who + " since " + minute_text(hold->since_ms) +
           (hold->why.empty() ? "" : ": " + hold->why) + ", until `trainyard job schedule resume`";
  }
  const std::string next = "the next job is due at " + minute_text(schedule.next_ms);
  return schedule.error.empty() ? next : "the last job was refused: " + schedule.error + "; " + next;
}

}  // namespace

ScheduleView view(const State& state, const JobSchedule& schedule) {
  ScheduleView out;
  out.row = schedule;
  name_home(state, schedule.experiment, out);
  out.utc_offset = offset_text(schedule.cron);
  out.reason = reason_of(schedule);
  out.priority_class = class_of(state, schedule.body->spec.priority);
  for (auto next = schedule.next_ms; next != 0 && out.next.size() < kNextShown;
       next = next_after(schedule.cron, next).value_or(0)) {
    out.next.push_back(next);
  }
  const auto jobs = state.schedule_jobs.find(schedule.id);
  for (const DueRun& run : schedule.recent) {
    std::string& shown = out.states.emplace_back();
    if (jobs == state.schedule_jobs.end()) continue;
    const auto job = jobs->second.find(run.due_ms);
    if (job != jobs->second.end()) shown = view(state, state.jobs.at(job->second)).execution_state;
  }
  if (jobs == state.schedule_jobs.end()) return out;
  for (const auto& [due_ms, job] : jobs->second) {
    ++(terminal(state.jobs.at(job).state) ? out.kept : out.live);
  }
  return out;
}

}  // namespace trainyard::core
