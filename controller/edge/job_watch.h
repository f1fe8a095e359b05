// Tells watchers how a job stands, on the loop's thread: at once when they start, after each change of the job, and in
// any case within a second. Watchers leave by dying. `changed` and `add` are called on the loop's thread.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "controller/core/view.h"
#include "controller/edge/context.h"

namespace trainyard::controller {

class JobWatcher {
 public:
  virtual ~JobWatcher() = default;
  // `view` is null when the job is gone. Return false to leave.
  virtual bool on_job(const core::JobView* view) = 0;
};

class JobWatch {
 public:
  explicit JobWatch(Context& context) : x_context(context), x_timer(context.workers) {}
  void start() { tick(); }

  void add(const core::State& state, JobId job, const std::shared_ptr<JobWatcher>& watcher);
  // A line was committed about "job:N ..." or something else.
  void changed(const core::TimelineLine& line);

 private:
  void tick();
  void tell(const core::State& state, JobId job);

  Context& x_context;
  boost::asio::steady_timer x_timer;
  std::map<JobId, std::vector<std::weak_ptr<JobWatcher>>> x_watchers;
  std::set<JobId> x_changed;
};

}  // namespace trainyard::controller
