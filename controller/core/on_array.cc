// Job arrays: one record until its tasks come near. A task that came is a job like others; what its array needs to know
// of it are its beginning, its way out of the queue and its end.
#include <algorithm>
#include <charconv>
#include <utility>

#include "common/check.h"
#include "common/variables.h"
#include "controller/core/engine.h"

namespace trainyard::core {

namespace {

constexpr std::uint32_t kMostTasks = 1'000'000;
constexpr std::size_t kLongestName = 64;  // of a job, as the edge checks it
constexpr const char* kTerminated = "Terminated";

std::string subject_of(const State& state, const JobArray& array) {
  return "array:" + std::to_string(array.id.value) + " " + path_of(state, array);
}

std::string name_of_task(const std::string& array, std::uint32_t task) {
  return array + "_" + std::to_string(task);
}

// The index in the name of a task; none: it cannot be one's.
std::optional<std::uint32_t> task_in(std::string_view name) {
  const std::size_t at = name.rfind('_');
  if (at == std::string_view::npos || at + 1 == name.size()) return std::nullopt;
  const std::string_view digits = name.substr(at + 1);
  if (digits.size() > 1 && digits.front() == '0') return std::nullopt;
  std::uint32_t task = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), task);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return task;
}

void forget_dependencies(Engine& e, const JobArray& array) {
  for (const Dependency& dependency : array.dependencies) {
    if (!dependency.met) erase_from(e.state.waiting_arrays, dependency.awaited(), array.id);
  }
}

JobSpec spec_of(const ArrayBody& body, std::uint32_t task) {
  JobSpec spec = body.spec;
  for (NamedValue& parameter : parameters_of(body.sweep, task)) spec.environment.push_back(std::move(parameter));
  spec.environment.push_back({kTaskIndexVariable, std::to_string(task)});
  spec.environment.push_back({kTaskCountVariable, std::to_string(body.tasks)});
  return spec;
}

void make_task(Engine& e, JobArrayId id) {
  JobArray& array = e.edit(id);
  const ArrayBody& body = *array.body;
  const std::uint32_t task = array.next++;
  Job job;
  job.experiment = array.experiment;
  job.cluster = array.cluster;
  job.name = name_of_task(array.name, task);
  job.spec = std::make_shared<const JobSpec>(spec_of(body, task));
  job.mapping = body.mapping;
  job.volumes = body.volumes;
  job.run_as = body.run_as;
  job.warnings = body.warnings;
  job.owner = body.owner;
  job.array = id;
  job.task = task;
  TaskCounts& counts = e.state.task_counts.at(id);
  ++counts.live, ++counts.queued;
  // Whoever made room for it did not submit it.
  const std::string who = std::exchange(e.who, "controller");
  e.state.array_tasks[id][task] =
      enqueue(e, std::move(job), body.unique,
              "task " + std::to_string(task) + " of " + std::to_string(body.tasks) + " of job array " + array.name);
  e.who = who;
  e.fed = true;
}

// From now on no task is made, and those that have not ended are ended.
void close(Engine& e, JobArrayId id, EndCause cause) {
  JobArray& array = e.edit(id);
  forget_dependencies(e, array);
  e.note(subject_of(e.state, array), "no more tasks", cause.message);
  const EndCause of_tasks{cause.code, "job array " + array.name + ": " + cause.message};
  array.cause = std::move(cause);
  std::map<std::uint32_t, JobId> tasks;
  if (const auto found = e.state.array_tasks.find(id); found != e.state.array_tasks.end()) tasks = found->second;
  for (const auto& [task, job] : tasks) {
    if (e.state.jobs.contains(job)) end(e, job, Verdict::cancel, of_tasks);
  }
  e.stirred.insert(id);
}

void finish(Engine& e, JobArrayId id) {
  JobArray& array = e.edit(id);
  if (array.cause.code.empty() && array.failed > 0) {
    array.cause = {"TasksFailed", std::to_string(array.failed) + " of " + std::to_string(array.body->tasks) +
                                      (array.failed == 1 ? " tasks has failed" : " tasks have failed")};
  }
  array.state = array.cause.code.empty()          ? ArrayState::succeeded
                : array.cause.code == kTerminated ? ArrayState::terminated
                                                  : ArrayState::failed;
  array.state_changed_ms = e.now;
  e.ended.emplace_back(Awaited{{}, id}, array.state == ArrayState::succeeded);
  e.note(subject_of(e.state, array), name_of(array.state), array.cause.message);
}

void erase(Engine& e, JobArrayId id) {
  const JobArray& array = e.state.arrays.at(id);
  const ExperimentId experiment = array.experiment;
  e.note(subject_of(e.state, array), "deleted", "its tasks are gone");
  if (goes_on(array)) forget_dependencies(e, array);
  // Deleted before its end: as with a job, that is no success.
  if (array.state == ArrayState::running) e.ended.emplace_back(Awaited{{}, id}, false);
  e.state.array_by_path.erase(lower(path_of(e.state, array)));
  e.state.task_counts.erase(id);
  e.state.arrays.erase(id);
  e.arrays.erase(id);
  vanish_if_empty(e, experiment);
}

}  // namespace

const char* name_of(ArrayState state) {
  switch (state) {
    case ArrayState::running:
      return "running";
    case ArrayState::succeeded:
      return "succeeded";
    case ArrayState::failed:
      return "failed";
    case ArrayState::terminated:
      return "terminated";
  }
  return "?";
}

bool goes_on(const JobArray& array) {
  return array.state == ArrayState::running && array.cause.code.empty();
}

bool tasks_to_come(const JobArray& array) {
  return goes_on(array) && !array.deleting && array.next < array.body->tasks;
}

std::uint32_t tasks_left(const JobArray& array) {
  return array.body->tasks - array.succeeded - array.failed;
}

bool wants_task(const State& state, const JobArray& array) {
  if (!tasks_to_come(array) || array.hold || !all_met(array.dependencies)) return false;
  const TaskCounts& counts = state.task_counts.at(array.id);
  return counts.queued < kMostQueuedTasks && (array.parallel == 0 || counts.live < array.parallel);
}

const JobArray* array_of_task(const State& state, const JobRef& ref) {
  const auto task = task_in(ref.job);
  if (!task) return nullptr;
  const std::string name = ref.job.substr(0, ref.job.rfind('_'));
  const auto found = state.array_by_path.find(path_key({ref.group, ref.workspace, ref.experiment, name}));
  if (found == state.array_by_path.end()) return nullptr;
  const JobArray& array = state.arrays.at(found->second);
  return *task < array.body->tasks ? &array : nullptr;
}

void task_moved(Engine& e, const Job& task, JobState from, JobState to) {
  TaskCounts& counts = e.state.task_counts.at(task.array);
  if (from == JobState::queued) --counts.queued;
  if (to == JobState::queued) ++counts.queued;
  if (terminal(to)) {
    --counts.live;
    JobArray& array = e.edit(task.array);
    ++(to == JobState::succeeded ? array.succeeded : array.failed);
  }
  e.stirred.insert(task.array);
}

void task_erased(Engine& e, const Job& task) {
  erase_from(e.state.array_tasks, task.array, task.task);
  ++e.edit(task.array).removed;
  e.stirred.insert(task.array);
}

void consider(Engine& e, JobArrayId id) {
  const auto found = e.state.arrays.find(id);
  if (found == e.state.arrays.end()) return;
  const JobArray& array = found->second;
  if (array.deleting) {
    if (!e.state.array_tasks.contains(id)) erase(e, id);
    return;
  }
  if (array.state != ArrayState::running) return;
  if (goes_on(array) && cluster_is_going(e.state, array.cluster)) {
    close(e, id, {"ClusterDeleted", "its cluster " + array.body->cluster_path + " was deleted"});
  }
  while (wants_task(e.state, array)) make_task(e, id);
  const bool none_to_come = !array.cause.code.empty() || array.next == array.body->tasks;
  if (none_to_come && e.state.task_counts.at(id).live == 0) finish(e, id);
}

void consider_waiting_arrays(Engine& e, Awaited ended, bool succeeded) {
  const auto found = e.state.waiting_arrays.find(ended);
  if (found == e.state.waiting_arrays.end()) return;
  const std::set<JobArrayId> waiting = found->second;
  e.state.waiting_arrays.erase(found);
  for (const JobArrayId id : waiting) {
    auto broken = settle_dependencies(e.edit(id).dependencies, ended, succeeded);
    if (broken) close(e, id, std::move(*broken));
    e.stirred.insert(id);
  }
}

void delete_array(Engine& e, JobArrayId id, const std::string& why) {
  JobArray& array = e.edit(id);
  if (array.deleting) return;
  array.deleting = true;
  e.note(subject_of(e.state, array), "deleting", why);
  std::map<std::uint32_t, JobId> tasks;
  if (const auto found = e.state.array_tasks.find(id); found != e.state.array_tasks.end()) tasks = found->second;
  for (const auto& [task, job] : tasks) delete_job(e, job, why);
  e.stirred.insert(id);
}

void mend_arrays(Engine& e) {
  for (const auto& [id, array] : e.state.arrays) {
    if (array.state == ArrayState::running || array.deleting) e.stirred.insert(id);
    std::uint32_t made = array.next, rows = 0, succeeded = 0;
    if (const auto tasks = e.state.array_tasks.find(id); tasks != e.state.array_tasks.end()) {
      rows = static_cast<std::uint32_t>(tasks->second.size());
      made = std::max(made, tasks->second.rbegin()->first + 1);
      for (const auto& [task, job] : tasks->second) {
        succeeded += e.state.jobs.at(job).state == JobState::succeeded ? 1 : 0;
      }
    }
    const std::uint32_t ended = made - e.state.task_counts.at(id).live;
    succeeded = std::clamp(array.succeeded, succeeded, ended);
    const bool fits = array.next == made && array.removed == made - rows && array.succeeded == succeeded &&
                      array.failed == ended - succeeded;
    if (fits) continue;
    JobArray& mended = e.edit(id);
    mended.next = made, mended.removed = made - rows;
    mended.succeeded = succeeded, mended.failed = ended - succeeded;
    e.note(subject_of(e.state, mended), "counts mended", "rows of its tasks were damaged");
  }
}

// ---- Commands ----

namespace {

Result<Subject> existing_array(const State& state, const JobArray& array, const CreateJobArray& c,
                               std::uint32_t tasks) {
  const ArrayBody& body = *array.body;
  if (array.deleting) {
    return Error{Code::already_exists,
                 "job array " + array.name + " is being deleted; wait until it is gone or choose another name"};
  }
  const ClusterRef& cluster = c.job.cluster;
  const bool same = body.spec == c.job.spec && body.mapping == c.job.mapping && body.tasks == tasks &&
                    array.parallel == c.parallel && body.sweep == c.sweep &&
                    same_dependencies(state, array.experiment, array.dependencies, c.job.dependencies) &&
                    lower(body.cluster_path) == path_key({cluster.group, cluster.workspace, cluster.cluster});
  if (same) return Subject{Subject::Kind::job_array, array.id.value};
  return Error{Code::already_exists, "job array " + array.name +
                                         " exists already with another definition; choose another name or delete it "
                                         "first"};
}

// The job that has the name of a task already; empty: there is none.
std::string job_in_the_way(const State& state, const JobRef& ref, std::uint32_t tasks) {
  const std::string prefix = path_key({ref.group, ref.workspace, ref.experiment, ref.job}) + "_";
  for (auto it = state.job_by_path.lower_bound(prefix); it != state.job_by_path.end() && it->first.starts_with(prefix);
       ++it) {
    const std::string& name = state.jobs.at(it->second).name;
    const auto task = task_in(name);
    if (task && *task < tasks && name.rfind('_') == ref.job.size()) return name;
  }
  return {};
}

// With its tasks counted: as many as the sweep makes, or as are asked for.
Result<std::uint32_t> count_tasks(const CreateJobArray& c) {
  const std::uint64_t made = tasks_of(c.sweep);
  if (made != 0 && c.tasks != 0 && c.tasks != made) {
    return Error{Code::invalid_argument, "tasks: the parameters make " + std::to_string(made) + " tasks, not " +
                                             std::to_string(c.tasks) + "; leave it away"};
  }
  const std::uint64_t tasks = made != 0 ? made : c.tasks;
  if (tasks == 0) return Error{Code::invalid_argument, "tasks: must be at least 1"};
  if (tasks > kMostTasks) {
    return Error{Code::invalid_argument, "tasks: must be at most " + std::to_string(kMostTasks)};
  }
  const std::string last = name_of_task(c.job.ref.job, static_cast<std::uint32_t>(tasks - 1));
  if (last.size() > kLongestName) {
    return Error{Code::invalid_argument, "name: that of its last task, " + last + ", is longer than " +
                                             std::to_string(kLongestName) + " characters"};
  }
  return static_cast<std::uint32_t>(tasks);
}

}  // namespace

Result<Subject> apply(Engine& e, const CreateJobArray& c) {
  const JobRef& ref = c.job.ref;
  const auto experiment = find_experiment(e.state, {ref.group, ref.workspace, ref.experiment});
  if (!experiment.ok()) return experiment.error();
  const auto tasks = count_tasks(c);
  if (!tasks.ok()) return tasks.error();
  const std::string key = path_key({ref.group, ref.workspace, ref.experiment, ref.job});
  if (const auto existing = e.state.array_by_path.find(key); existing != e.state.array_by_path.end()) {
    return existing_array(e.state, e.state.arrays.at(existing->second), c, *tasks);
  }
  if (const std::string job = job_in_the_way(e.state, ref, *tasks); !job.empty()) {
    return Error{Code::already_exists, "job " + job + " exists already, and a task of job array " + ref.job +
                                           " would have its name; choose another name"};
  }
  auto submission = resolve(e, c.job);
  if (!submission.ok()) return submission.error();
  JobArray array;
  const JobArrayId id{e.next_id()};
  array.id = id;
  array.experiment = submission->experiment;
  array.cluster = submission->cluster;
  array.dependencies = std::move(submission->dependencies);
  array.name = ref.job;
  array.body =
      std::make_shared<const ArrayBody>(ArrayBody{template_of(e, c.job, std::move(*submission)), *tasks, c.sweep});
  array.parallel = c.parallel;
  if (c.job.hold) array.hold = Hold{*c.job.hold, e.who, e.now};
  array.created_ms = array.state_changed_ms = e.now;
  for (const Dependency& dependency : array.dependencies) {
    if (!dependency.met) e.state.waiting_arrays[dependency.awaited()].insert(id);
  }
  e.note(subject_of(e.state, array), "created",
         std::to_string(*tasks) + " tasks" + (c.parallel == 0 ? "" : ", " + std::to_string(c.parallel) + " at once"));
  e.state.array_by_path.emplace(key, id);
  e.state.task_counts[id] = {};
  e.state.arrays.emplace(id, std::move(array));
  e.arrays.change(id);
  e.stirred.insert(id);
  return Subject{Subject::Kind::job_array, id.value};
}

Result<Subject> apply(Engine& e, const UpdateJobArray& c) {
  const auto id = find_array(e.state, c.ref);
  if (!id.ok()) return id.error();
  const JobArray& array = e.state.arrays.at(*id);
  if (!goes_on(array) || array.deleting) {
    return Error{Code::failed_precondition,
                 "job array " + array.name + " makes no more tasks: there is nothing to change"};
  }
  const std::string subject = subject_of(e.state, array);
  if (c.parallel && *c.parallel != array.parallel) {
    JobArray& row = e.edit(*id);
    e.note(subject, "parallel " + std::to_string(*c.parallel), "was " + std::to_string(row.parallel));
    row.parallel = *c.parallel;
    row.parallel_changed_ms = e.now;
  }
  if (c.held && *c.held) {
    e.edit(*id).hold = Hold{c.why, e.who, e.now};
    e.note(subject, "held", c.why);
  } else if (c.held && array.hold) {
    e.edit(*id).hold.reset();
    e.note(subject, "released", "");
  }
  e.stirred.insert(*id);
  return Subject{Subject::Kind::job_array, id->value};
}

Result<Subject> apply(Engine& e, const TerminateJobArray& c) {
  const auto id = find_array(e.state, c.ref);
  if (!id.ok()) return id.error();
  const JobArray& array = e.state.arrays.at(*id);
  if (goes_on(array) && !array.deleting) {
    close(e, *id, {kTerminated, "terminated by " + e.who});
  }
  return Subject{Subject::Kind::job_array, id->value};
}

Result<Subject> apply(Engine& e, const DeleteJobArray& c) {
  const auto id = find_array(e.state, c.ref);
  if (!id.ok()) return id.error();
  delete_array(e, *id, "its job array was deleted by " + e.who);
  return Subject{};
}

}  // namespace trainyard::core
