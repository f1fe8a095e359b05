#include "controller/core/accounting.h"

#include <algorithm>

#include "common/check.h"

namespace trainyard::core {

GpuTime& GpuTime::operator+=(const GpuTime& other) {
  preparing_ms += other.preparing_ms;
  running_ms += other.running_ms;
  lost_ms += other.lost_ms;
  requeued_ms += other.requeued_ms;
  stopping_ms += other.stopping_ms;
  return *this;
}

std::int64_t allocated_ms(const Holding& holding, TimeMs now_ms) {
  return gpus_of(holding) * std::max<TimeMs>(0, now_ms - holding.since_ms);
}

TimeMs work_since(const Job& job, TimeMs now_ms) {
  // The newest change of state is the one to running.
  return job.state == JobState::running ? job.state_changed_ms : now_ms;
}

Work work_after(const Job& job) {
  if (job.cause.infrastructure) return Work::lost;
  return job.verdict == Verdict::requeue ? Work::requeued : Work::kept;
}

Usage usage_of(const State& state, const Holding& holding, TimeMs to_ms) {
  Usage usage{holding.id,          holding.node,         holding.job_path,
              holding.payer.owner, holding.cluster_path, state.nodes.at(holding.node).name,
              gpus_of(holding),    holding.gpu_uuids,    holding.since_ms,
              holding.running_ms,  holding.stopped_ms,   to_ms,
              holding.work};
  if (holding.stopped_ms == 0) {
    const auto job = state.jobs.find(holding.id.job);  // not there if its row was damaged
    usage.running_ms = job == state.jobs.end() ? to_ms : work_since(job->second, to_ms);
    usage.stopped_ms = to_ms;
  }
  return usage;
}

GpuTime gpu_time(const Usage& usage, TimeMs from_ms, TimeMs to_ms) {
  const auto within = [&](TimeMs begin, TimeMs end) {
    return usage.units * std::max<TimeMs>(0, std::min(end, to_ms) - std::max(begin, from_ms));
  };
  GpuTime time;
  time.preparing_ms = within(usage.from_ms, usage.running_ms);
  const std::int64_t work_ms = within(usage.running_ms, usage.stopped_ms);
  switch (usage.work) {
    case Work::kept:
      time.running_ms = work_ms;
      break;
    case Work::lost:
      time.lost_ms = work_ms;
      break;
    case Work::requeued:
      time.requeued_ms = work_ms;
      break;
  }
  time.stopping_ms = within(usage.stopped_ms, usage.to_ms);
  return time;
}

void check_usage(const Usage& usage) {
  TY_CHECK(gpu_time(usage).sum() == usage.units * (usage.to_ms - usage.from_ms));
}

}  // namespace trainyard::core
