// Job schedules: when one is due it submits a job, as its user would have done then. That the time has come and the job
// are one change, so no time gives two.
#include <algorithm>
#include <utility>

#include "controller/core/engine.h"

namespace trainyard::core {

namespace {

constexpr std::size_t kLongestName = 64;    // of a job, as the edge checks it
constexpr std::size_t kLongestEnding = 18;  // "-20261128-0330", and "-999" where that is taken
constexpr std::uint32_t kMostKept = 10'000;
constexpr std::size_t kRecent = 10;

std::string subject_of(const State& state, const JobSchedule& schedule) {
  return "schedule:" + std::to_string(schedule.id.value) + " " + path_of(state, schedule);
}

// When it is due next, from now on.
void reckon(Engine& e, JobSchedule& row) {
  row.next_ms = row.suspended ? 0 : next_after(row.cron, e.now).value_or(0);
  e.schedule_deadlines.set(row.id, row.next_ms);
}

// A job of it that has not ended; null: there is none.
const Job* going_on(const State& state, JobScheduleId id) {
  const auto jobs = state.schedule_jobs.find(id);
  if (jobs == state.schedule_jobs.end()) return nullptr;
  for (const auto& [due_ms, job] : jobs->second) {
    if (const Job& row = state.jobs.at(job); !terminal(row.state)) return &row;
  }
  return nullptr;
}

// The same minute may come again when the offset was changed.
std::string free_name(const State& state, const ExperimentRef& home, const std::string& name) {
  std::string free = name;
  for (std::uint32_t number = 2;
       state.job_by_path.contains(path_key({home.group, home.workspace, home.experiment, free})); ++number) {
    free = name + "-" + std::to_string(number);
  }
  return free;
}

Result<JobId> make_job(Engine& e, const JobSchedule& schedule, TimeMs due_ms) {
  const State& state = e.state;
  const JobTemplate& body = *schedule.body;
  const Experiment& experiment = state.experiments.at(schedule.experiment);
  const Workspace& workspace = state.workspaces.at(experiment.workspace);
  const ExperimentRef home{state.groups.at(workspace.group).name, workspace.name, experiment.name};
  const std::string name = free_name(state, home, schedule.name + "-" + stamp(schedule.cron, due_ms));
  const SubmitJob submit{{home.group, home.workspace, home.experiment, name},
                         cluster_ref(body.cluster_path),
                         body.spec,
                         body.mapping,
                         body.unique,
                         body.run_as};
  Job job;
  job.owner = body.owner;
  job.schedule = schedule.id;
  job.due_ms = due_ms;
  auto made = add_job(e, submit, std::move(job), "submitted by job schedule " + schedule.name);
  if (made.ok()) e.state.schedule_jobs[schedule.id].emplace(due_ms, *made);
  return made;
}

// What becomes of a time that has come.
DueRun run(Engine& e, JobSchedule& row, TimeMs due_ms) {
  const std::string subject = subject_of(e.state, row), time = stamp(row.cron, due_ms);
  const Job* other = row.overlap == Overlap::skip ? going_on(e.state, row.id) : nullptr;
  if (other != nullptr) {
    ++row.skipped;
    std::string why = "job " + other->name + " has not ended";
    e.note(subject, time + " skipped", why);
    return {due_ms, DueOutcome::skipped, {}, std::move(why)};
  }
  const auto made = make_job(e, row, due_ms);
  if (!made.ok()) {
    ++row.refused;
    row.error = made.error().message;
    e.note(subject, time + " refused", row.error);
    return {due_ms, DueOutcome::refused, {}, row.error};
  }
  ++row.made;
  row.error.clear();
  const std::string& name = e.state.jobs.at(*made).name;
  e.note(subject, time + " made", "job " + name);
  return {due_ms, DueOutcome::made, name, {}};
}

}  // namespace

void on_due(Engine& e, JobScheduleId id) {
  JobSchedule& row = e.edit(id);
  const Passed passed = passed_between(row.cron, row.next_ms - 1, e.now);
  reckon(e, row);
  if (passed.times > 1) {
    const auto missed = static_cast<std::uint32_t>(passed.times - 1);
    row.missed += missed;
    e.note(subject_of(e.state, row), std::to_string(missed) + " missed",
           "no controller ran when they were due; " + stamp(row.cron, passed.newest_ms) + " is made up for");
  }
  row.recent.push_back(run(e, row, passed.newest_ms));
  if (row.recent.size() > kRecent) row.recent.erase(row.recent.begin());
}

void thin_out(Engine& e, JobScheduleId id) {
  const auto schedule = e.state.schedules.find(id);
  const auto jobs = e.state.schedule_jobs.find(id);
  if (schedule == e.state.schedules.end() || jobs == e.state.schedule_jobs.end()) return;
  const std::uint32_t keep = schedule->second.keep;
  std::vector<std::pair<TimeMs, JobId>> ended;
  for (const auto& [due_ms, job] : jobs->second) {
    if (const Job& row = e.state.jobs.at(job); terminal(row.state)) ended.emplace_back(row.ended_ms, job);
  }
  if (keep == 0 || ended.size() <= keep) return;
  std::sort(ended.begin(), ended.end());
  ended.resize(ended.size() - keep);
  const std::string who = std::exchange(e.who, "controller");
  const std::string why = "job schedule " + schedule->second.name + " keeps " + std::to_string(keep);
  for (const auto& [ended_ms, job] : ended) delete_job(e, job, why);
  e.who = who;
}

void run_erased(Engine& e, const Job& job) {
  erase_from(e.state.schedule_jobs, job.schedule, job.due_ms);
}

void erase_schedule(Engine& e, JobScheduleId id, const std::string& why) {
  const JobSchedule& row = e.state.schedules.at(id);
  e.note(subject_of(e.state, row), "deleted", why);
  e.schedule_deadlines.set(id, 0);
  e.state.schedule_by_path.erase(lower(path_of(e.state, row)));
  e.state.schedule_jobs.erase(id);
  e.state.schedules.erase(id);
  e.schedules.erase(id);
}

// ---- Commands ----

namespace {

Result<Cron> cron_that_comes(const std::string& text, const std::string& utc_offset, TimeMs now_ms) {
  auto cron = parse_cron(text, utc_offset);
  if (cron.ok() && !next_after(*cron, now_ms)) {
    return Error{Code::invalid_argument, "cron: \"" + text + "\" never comes: no month that it names has such a day"};
  }
  return cron;
}

Status check_keep(std::uint32_t keep) {
  if (keep <= kMostKept) return {};
  return Error{Code::invalid_argument, "keep: must be at most " + std::to_string(kMostKept) + ", or 0 for all"};
}

Result<Subject> existing_schedule(const JobSchedule& schedule, const CreateJobSchedule& c, const Cron& cron) {
  const JobTemplate& body = *schedule.body;
  const ClusterRef& cluster = c.job.cluster;
  const bool same = body.spec == c.job.spec && body.mapping == c.job.mapping && schedule.cron == cron &&
                    schedule.overlap == c.overlap && schedule.keep == c.keep &&
                    lower(body.cluster_path) == path_key({cluster.group, cluster.workspace, cluster.cluster});
  if (same) return Subject{Subject::Kind::job_schedule, schedule.id.value};
  return Error{Code::already_exists, "job schedule " + schedule.name +
                                         " exists already with another definition; choose another name or delete it "
                                         "first"};
}

Status check_creation(const CreateJobSchedule& c) {
  if (const std::size_t most = kLongestName - kLongestEnding; c.job.ref.job.size() > most) {
    return Error{Code::invalid_argument, "name: has more than " + std::to_string(most) +
                                             " characters: when they are due is added for its jobs"};
  }
  if (!c.job.dependencies.empty()) {
    return Error{Code::invalid_argument, "dependencies: jobs of a schedule come at their times and wait for no others"};
  }
  return check_keep(c.keep);
}

void suspend(Engine& e, JobSchedule& row, const std::optional<std::string>& why) {
  if (why) {
    row.suspended = Hold{*why, e.who, e.now};
  } else {
    row.suspended.reset();
  }
  e.note(subject_of(e.state, row), why ? "suspended" : "resumed", why.value_or(""));
}

}  // namespace

Result<Subject> apply(Engine& e, const CreateJobSchedule& c) {
  const JobRef& ref = c.job.ref;
  const auto experiment = find_experiment(e.state, {ref.group, ref.workspace, ref.experiment});
  if (!experiment.ok()) return experiment.error();
  auto cron = cron_that_comes(c.cron, c.utc_offset, e.now);
  if (!cron.ok()) return cron.error();
  const std::string key = path_key({ref.group, ref.workspace, ref.experiment, ref.job});
  if (const auto existing = e.state.schedule_by_path.find(key); existing != e.state.schedule_by_path.end()) {
    return existing_schedule(e.state.schedules.at(existing->second), c, *cron);
  }
  if (const Status ok = check_creation(c); !ok) return ok.error();
  auto submission = resolve(e, c.job);
  if (!submission.ok()) return submission.error();
  const JobScheduleId id{e.next_id()};
  e.state.schedule_by_path.emplace(key, id);
  e.state.schedules.emplace(id, JobSchedule{.id = id, .experiment = *experiment, .name = ref.job});
  JobSchedule& row = e.edit(id);
  row.body = std::make_shared<const JobTemplate>(template_of(e, c.job, std::move(*submission)));
  row.cron = std::move(*cron);
  row.overlap = c.overlap;
  row.keep = c.keep;
  row.created_ms = row.changed_ms = e.now;
  e.note(subject_of(e.state, row), "created", row.cron.text + " " + offset_text(row.cron));
  if (c.suspended) suspend(e, row, c.suspended);
  reckon(e, row);
  return Subject{Subject::Kind::job_schedule, id.value};
}

Result<Subject> apply(Engine& e, const UpdateJobSchedule& c) {
  const auto id = find_schedule(e.state, c.ref);
  if (!id.ok()) return id.error();
  const JobSchedule& before = e.state.schedules.at(*id);
  auto cron =
      cron_that_comes(c.cron.value_or(before.cron.text), c.utc_offset.value_or(offset_text(before.cron)), e.now);
  if (!cron.ok()) return cron.error();
  if (const Status ok = check_keep(c.keep.value_or(0)); !ok) return ok.error();
  JobSchedule& row = e.edit(*id);
  if (row.next_ms != 0 && row.next_ms <= e.now) on_due(e, *id);  // before anything else is true
  const std::string subject = subject_of(e.state, row);
  row.changed_ms = e.now;
  if (*cron != row.cron) {
    e.note(subject, "cron " + cron->text + " " + offset_text(*cron),
           "was " + row.cron.text + " " + offset_text(row.cron));
    row.cron = std::move(*cron);
  }
  if (c.overlap && *c.overlap != row.overlap) {
    row.overlap = *c.overlap;
    e.note(subject, row.overlap == Overlap::skip ? "overlap skip" : "overlap allow", "");
  }
  if (c.keep && *c.keep != row.keep) {
    e.note(subject, "keep " + std::to_string(*c.keep), "was " + std::to_string(row.keep));
    row.keep = *c.keep;
    e.crowded.insert(*id);
  }
  if (c.suspended && *c.suspended) suspend(e, row, c.why);
  if (c.suspended && !*c.suspended && row.suspended) suspend(e, row, std::nullopt);
  reckon(e, row);
  return Subject{Subject::Kind::job_schedule, id->value};
}

Result<Subject> apply(Engine& e, const DeleteJobSchedule& c) {
  const auto id = find_schedule(e.state, c.ref);
  if (!id.ok()) return id.error();
  erase_schedule(e, *id, "deleted by " + e.who + "; its jobs stay");
  return Subject{};
}

}  // namespace trainyard::core
