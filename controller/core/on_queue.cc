// What keeps a job out of its cluster's queue: somebody holds it, or it waits for the ends of other jobs or of arrays.
#include <algorithm>

#include "common/model_json.h"
#include "controller/core/engine.h"

namespace trainyard::core {

namespace {

bool satisfies(After after, bool succeeded) {
  return after == After::any || succeeded == (after == After::ok);
}

const char* name_of(After after) {
  return after == After::ok ? "afterOk" : after == After::any ? "afterAny" : "afterNotOk";
}

// For people: that what waits for `dependency` can never start, now that it has ended.
EndCause never_met(const Dependency& dependency, bool succeeded) {
  return {"DependencyNeverMet", std::string("it waited for ") + (dependency.array ? "job array " : "") +
                                    dependency.job + " (" + name_of(dependency.after) + "), which has " +
                                    (succeeded ? "succeeded" : "failed") + ": it can never start"};
}

// What a dependency names.
struct Other {
  Awaited id;
  std::string path, name;  // "experiment/name" and "name", as created
  bool ended = false, succeeded = false;
  const char* end = "";  // how, for people
};

// The job of that name, or the array if there is no such job or an array is asked for.
Result<Other> find_other(const State& state, const JobRef& ref, bool array) {
  const auto path = [&](const auto& row) { return state.experiments.at(row.experiment).name + "/" + row.name; };
  const auto job = find_job(state, ref);
  if (job.ok() && !array) {
    const Job& row = state.jobs.at(*job);
    return Other{
        {*job}, path(row), row.name, terminal(row.state), row.state == JobState::succeeded, name_of(row.state)};
  }
  const auto found = find_array(state, ref);
  if (!found.ok()) return array ? found.error() : job.error();
  const JobArray& row = state.arrays.at(*found);
  const bool ended = row.state != ArrayState::running;
  // "has terminated" would say that it did so itself.
  const char* end = row.state == ArrayState::terminated ? "been terminated" : name_of(row.state);
  return Other{{{}, *found}, path(row), row.name, ended, row.state == ArrayState::succeeded, end};
}

// Changes what the job's place in the queue depends on, wherever it is.
template <class Change>
Job& reorder(Engine& e, JobId id, Change change) {
  Job& job = e.edit(id);
  if (job.state == JobState::queued) leave_queue(e, job);
  change(job);
  if (job.state == JobState::queued) enter_queue(e, job);
  return job;
}

}  // namespace

std::optional<EndCause> settle_dependencies(std::vector<Dependency>& dependencies, Awaited ended, bool succeeded) {
  std::optional<EndCause> broken;
  for (Dependency& dependency : dependencies) {
    if (dependency.awaited() != ended || dependency.met) continue;
    dependency.met = satisfies(dependency.after, succeeded);
    if (!dependency.met) broken = never_met(dependency, succeeded);
  }
  return broken;
}

void enter_queue(Engine& e, const Job& job) {
  index_queued(e.state, job);
  if (may_start(job)) e.wake_plan = true;
}

void leave_queue(Engine& e, const Job& job) {
  for (const Dependency& dependency : job.dependencies) {
    if (!dependency.met) erase_from(e.state.dependents, dependency.awaited(), job.id);
  }
  if (may_start(job)) {
    Queue& queue = e.state.queues.at(job.cluster);
    erase_from(queue, queue_group(e.state, job), job.id);
    if (queue.empty()) e.state.queues.erase(job.cluster);
    e.wake_plan = true;
  } else {
    erase_from(e.state.held_back, job.cluster, job.id);
  }
}

void consider_dependents(Engine& e, Awaited ended, bool succeeded) {
  const auto found = e.state.dependents.find(ended);
  if (found == e.state.dependents.end()) return;
  const std::set<JobId> waiting = found->second;
  for (const JobId id : waiting) {
    std::optional<EndCause> broken;
    const Job& job =
        reorder(e, id, [&](Job& waits) { broken = settle_dependencies(waits.dependencies, ended, succeeded); });
    if (broken) {
      end(e, id, Verdict::cancel, std::move(*broken));
    } else if (may_start(job)) {
      e.note(subject_of(e.state, job), "may start", "what it waited for has ended");
    }
  }
  e.state.dependents.erase(ended);
}

// Like a resize, it does not use the job's budget of requeues.
void preempt(Engine& e, const Preemption& preemption) {
  const Job& winner = e.state.jobs.at(preemption.gives_way_to);
  const std::string to =
      winner.name + " of workspace " + e.state.workspaces.at(payer_of(e.state, winner).workspace).name;
  const std::string why = preemption.cause == PreemptionCause::guaranteed
                              ? to + " takes back GPUs that its workspace is guaranteed"
                              : to + " has a higher priority";
  e.note(subject_of(e.state, winner), "takes the GPUs of " + e.state.jobs.at(preemption.job).name, why);
  end(e, preemption.job, Verdict::requeue, {"Preempted", why});
}

Result<std::vector<Dependency>> resolve_dependencies(const Engine& e, const SubmitJob& c) {
  std::vector<Dependency> dependencies;
  for (std::size_t i = 0; i < c.dependencies.size(); ++i) {
    const DependsOn& asked = c.dependencies[i];
    const std::string field = "properties.dependencies[" + std::to_string(i) + "]: ";
    const std::string& experiment = asked.experiment.empty() ? c.ref.experiment : asked.experiment;
    const auto found = find_other(e.state, {c.ref.group, c.ref.workspace, experiment, asked.job}, asked.array);
    if (!found.ok()) return Error{found.error().code, field + found.error().message};
    Dependency dependency{found->path, found->id.job, asked.after, false, found->id.array};
    if (found->ended) {
      dependency.met = satisfies(asked.after, found->succeeded);
      if (!dependency.met) {
        return Error{Code::failed_precondition, field + (dependency.array ? "job array " : "job ") + found->name +
                                                    " has " + found->end + ": " + name_of(asked.after) +
                                                    " can never be met"};
      }
    }
    dependencies.push_back(std::move(dependency));
  }
  return dependencies;
}

Result<Subject> apply(Engine& e, const HoldJob& c) {
  const auto id = find_job(e.state, c.ref);
  if (!id.ok()) return id.error();
  Job& job = e.state.jobs.at(*id);
  const bool comes_back = job.state == JobState::stopping && job.verdict == Verdict::requeue;
  if (job.state != JobState::queued && !comes_back) {
    return Error{Code::failed_precondition, "job " + job.name + (terminal(job.state) ? " has ended" : " runs already") +
                                                ": only a queued job can be held" +
                                                (terminal(job.state) ? "" : "; terminate it to stop it")};
  }
  reorder(e, *id, [&](Job& held) { held.hold = Hold{c.why, e.who, e.now}; });
  e.note(subject_of(e.state, job), "held", c.why);
  return Subject{Subject::Kind::job, id->value};
}

Result<Subject> apply(Engine& e, const ReleaseJob& c) {
  const auto id = find_job(e.state, c.ref);
  if (!id.ok()) return id.error();
  Job& job = e.state.jobs.at(*id);
  const Subject subject{Subject::Kind::job, id->value};
  if (!job.hold) return subject;
  reorder(e, *id, [](Job& held) { held.hold.reset(); });
  e.note(subject_of(e.state, job), "released", "");
  return subject;
}

Result<Subject> apply(Engine& e, const PrioritizeJob& c) {
  const auto id = find_job(e.state, c.ref);
  if (!id.ok()) return id.error();
  Job& job = e.state.jobs.at(*id);
  if (terminal(job.state)) {
    return Error{Code::failed_precondition, "job " + job.name + " has ended: its priority means nothing any more"};
  }
  const Subject subject{Subject::Kind::job, id->value};
  const Priority before = priority_of(job);
  if (before == c.priority) return subject;
  reorder(e, *id, [&](Job& waiting) { waiting.new_priority = c.priority; });
  const auto word = [&](Priority priority) {
    const std::string name = class_of(e.state, priority);
    return name.empty() ? trainyard::name_of(priority) : name;
  };
  e.note(subject_of(e.state, job), "priority " + word(c.priority), "was " + word(before));
  return subject;
}

}  // namespace trainyard::core
