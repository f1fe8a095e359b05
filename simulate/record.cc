#include "simulate/record.h"

#include "common/check.h"

namespace trainyard::simulate {

Recorder::Recorder(const Trace& trace, std::uint32_t gpus) : x_trace(trace) {
  x_record.gpus = gpus;
  x_record.jobs.resize(trace.size());
  for (const TraceJob& job : trace) {
    x_users[job.user].party.name = job.user;
    x_workspaces[job.workspace].party.name = job.workspace;
  }
}

// Everything was as it is since the last time.
void Recorder::advance(TimeMs now_ms) {
  TY_CHECK(now_ms >= x_now_ms);
  const DurationMs passed_ms = now_ms - x_now_ms;
  x_now_ms = now_ms;
  x_record.gpu_ms += passed_ms * x_held;
  if (x_waiting.empty()) return;
  x_record.contended_ms += passed_ms;
  x_record.contended_gpu_ms += passed_ms * x_held;
}

void Recorder::settle_account(Account& account) {
  const DurationMs passed_ms = x_record.contended_ms - account.since_contended_ms;
  account.since_contended_ms = x_record.contended_ms;
  account.party.contended_held_gpu_ms += passed_ms * account.held;
  account.party.contended_wanted_gpu_ms += passed_ms * account.wanted;
}

void Recorder::book(std::size_t index, std::int64_t held, std::int64_t wanted) {
  for (Account* account : {&x_users.at(x_trace[index].user), &x_workspaces.at(x_trace[index].workspace)}) {
    settle_account(*account);
    account->held = static_cast<std::uint32_t>(account->held + held);
    account->wanted = static_cast<std::uint32_t>(account->wanted + wanted);
  }
}

void Recorder::wait(std::size_t index, bool waits) {
  const std::int64_t gpus = x_record.jobs[index].gpus;
  if (waits == x_waiting.contains(index)) return;
  book(index, 0, waits ? gpus : -gpus);
  if (waits) {
    x_waiting.insert(index);
  } else {
    x_waiting.erase(index);
  }
}

void Recorder::submitted(std::size_t index, JobId id, std::uint32_t gpus, TimeMs now_ms) {
  advance(now_ms);
  JobRecord& job = x_record.jobs[index];
  job.submit_ms = now_ms;
  job.gpus = gpus;
  x_indexes[id] = index;
}

void Recorder::impossible(std::size_t index, std::uint32_t gpus, TimeMs now_ms) {
  JobRecord& job = x_record.jobs[index];
  job.submit_ms = now_ms;
  job.gpus = gpus;
  job.fate = Fate::impossible;
}

void Recorder::take_job(const core::Job& row, TimeMs now_ms) {
  const auto known = x_indexes.find(row.id);
  if (known == x_indexes.end()) return;
  JobRecord& job = x_record.jobs[known->second];
  if (row.attempt > 0 && job.attempts == 0) job.start_ms = now_ms;
  job.attempts = row.attempt;
  wait(known->second, row.state == core::JobState::queued);
  if (!core::terminal(row.state)) return;
  job.end_ms = now_ms;
  job.fate = row.state == core::JobState::succeeded ? Fate::ended : Fate::limited;
}

void Recorder::take_holding(const core::Holding& row, TimeMs now_ms) {
  if (x_holdings.contains(key_of(row))) return;
  const std::size_t index = x_indexes.at(row.id.job);
  const auto gpus = static_cast<std::uint32_t>(row.gpu_uuids.size());
  x_holdings[key_of(row)] = {index, gpus, now_ms};
  x_held += gpus;
  book(index, gpus, gpus);
}

void Recorder::give_back(const core::HoldingKey& key, TimeMs now_ms) {
  const auto found = x_holdings.find(key);
  if (found == x_holdings.end()) return;
  const Held held = found->second;
  x_holdings.erase(found);
  x_held -= held.gpus;
  book(held.job, -std::int64_t{held.gpus}, -std::int64_t{held.gpus});
  const DurationMs gpu_ms = (now_ms - held.since_ms) * held.gpus;
  x_record.jobs[held.job].gpu_ms += gpu_ms;
  x_users.at(x_trace[held.job].user).party.gpu_ms += gpu_ms;
  x_workspaces.at(x_trace[held.job].workspace).party.gpu_ms += gpu_ms;
  x_record.end_ms = now_ms;
}

void Recorder::take(const core::Changes& changes, TimeMs now_ms) {
  advance(now_ms);
  for (const core::HoldingKey& key : changes.erased_holdings) give_back(key, now_ms);
  for (const core::Holding& row : changes.holdings) take_holding(row, now_ms);
  for (const core::Job& row : changes.jobs) take_job(row, now_ms);
}

void Recorder::settled(TimeMs now_ms) {
  advance(now_ms);
  const Step step{now_ms, x_held, static_cast<std::uint32_t>(x_waiting.size())};
  if (!x_record.steps.empty()) {
    const Step& last = x_record.steps.back();
    if (last.gpus_held == step.gpus_held && last.jobs_waiting == step.jobs_waiting) return;
  }
  x_record.steps.push_back(step);
}

Record Recorder::finish(std::uint64_t events, std::uint64_t plans) {
  for (auto* accounts : {&x_users, &x_workspaces}) {
    for (auto& [name, account] : *accounts) {
      settle_account(account);
      (accounts == &x_users ? x_record.users : x_record.workspaces).push_back(std::move(account.party));
    }
  }
  x_record.events = events;
  x_record.plans = plans;
  return std::move(x_record);
}

}  // namespace trainyard::simulate
