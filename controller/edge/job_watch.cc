#include "controller/edge/job_watch.h"

#include <charconv>

namespace trainyard::controller {

void JobWatch::add(const core::State& state, JobId job, const std::shared_ptr<JobWatcher>& watcher) {
  x_watchers[job].push_back(watcher);
  tell(state, job);
}

void JobWatch::changed(const core::TimelineLine& line) {
  constexpr std::string_view kPrefix = "job:";
  if (x_watchers.empty() || !line.subject.starts_with(kPrefix)) return;
  JobId job;
  std::from_chars(line.subject.data() + kPrefix.size(), line.subject.data() + line.subject.size(), job.value);
  if (!x_watchers.contains(job)) return;
  x_changed.insert(job);
  if (x_changed.size() > 1) return;  // a query is on its way, or refused: then the tick does it
  (void)x_context.loop.query([this](const core::State& state, TimeMs) {
    const std::set<JobId> jobs = std::exchange(x_changed, {});
    for (const JobId id : jobs) tell(state, id);
  });
}

// Reasons change without a line of the timeline, and a query may have been refused.
void JobWatch::tick() {
  x_timer.expires_after(std::chrono::seconds(1));
  x_timer.async_wait([this](boost::system::error_code error) {
    if (error) return;
    (void)x_context.loop.query([this](const core::State& state, TimeMs) {
      x_changed.clear();
      std::vector<JobId> jobs;
      for (const auto& [job, unused] : x_watchers) jobs.push_back(job);
      for (const JobId job : jobs) tell(state, job);
    });
    tick();
  });
}

void JobWatch::tell(const core::State& state, JobId job) {
  const auto found = x_watchers.find(job);
  if (found == x_watchers.end()) return;
  std::optional<core::JobView> view;
  if (const auto row = state.jobs.find(job); row != state.jobs.end()) view = core::view(state, row->second);
  std::erase_if(found->second, [&](const std::weak_ptr<JobWatcher>& weak) {
    const auto watcher = weak.lock();
    return !watcher || !watcher->on_job(view ? &*view : nullptr);
  });
  if (found->second.empty()) x_watchers.erase(found);
}

}  // namespace trainyard::controller
