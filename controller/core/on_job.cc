// Jobs: submit, terminate, delete; placement and the end of attempts.
#include <algorithm>

#include "common/check.h"
#include "controller/core/accounting.h"
#include "controller/core/engine.h"
#include "controller/core/volumes.h"

namespace trainyard::core {

std::string subject_of(const State& state, const Job& job) {
  return "job:" + std::to_string(job.id.value) + " " + path_of(state, job);
}

void move(Engine& e, Job& job, JobEvent event, const std::string& why) {
  const JobState from = job.state;
  const std::optional<JobState> to = next(from, event, job.verdict);
  TY_CHECK(to.has_value());
  e.edit(job.id);
  if (from == JobState::queued) leave_queue(e, job);
  job.state = *to;
  job.state_changed_ms = e.now;
  if (*to == JobState::queued) enter_queue(e, job);
  if (active(*to)) {
    e.state.active_jobs[job.cluster].insert(job.id);
  } else if (active(from)) {
    auto jobs = e.state.active_jobs.find(job.cluster);
    jobs->second.erase(job.id);
    if (jobs->second.empty()) e.state.active_jobs.erase(jobs);
    e.state.launches.erase(job.id);
  }
  if (terminal(*to)) {
    job.ended_ms = e.now;
    e.ended.emplace_back(Awaited{job.id}, *to == JobState::succeeded);
  }
  if (job.array) task_moved(e, job, from, *to);
  if (job.schedule && terminal(*to)) e.crowded.insert(job.schedule);
  if (*to == JobState::succeeded) learn_run_time(e.state, job);
  if (from == JobState::queued || *to == JobState::queued) e.wake_plan = true;
  e.note(subject_of(e.state, job), std::string(name_of(from)) + " -> " + name_of(*to), why);
}

namespace {

const char* word_for(Verdict verdict) {
  switch (verdict) {
    case Verdict::none:
      return "";
    case Verdict::success:
      return "succeeded";
    case Verdict::failure:
      return "failed";
    case Verdict::cancel:
      return "cancelled";
    case Verdict::requeue:
      return "to be queued again";
  }
  return "";
}

constexpr const char* kJobFailed = "JobFailed";

void set_verdict(Job& job, Verdict verdict, EndCause cause) {
  job.verdict = verdict;
  // What the head made of its end was not the cause then: a rank that failed because its peers' node went.
  if (cause.code != kJobFailed)
    std::erase_if(job.errors, [](const NodeError& error) { return error.code == kJobFailed; });
  if (verdict == Verdict::failure || verdict == Verdict::cancel) {
    const auto same = [&cause](const NodeError& error) { return error.code == cause.code; };
    if (std::none_of(job.errors.begin(), job.errors.end(), same)) {
      job.errors.push_back({cause.code, cause.message, {}, cause.infrastructure});
    }
  }
  job.cause = std::move(cause);
}

}  // namespace

ClusterRef cluster_ref(const std::string& path) {
  const auto first = path.find('/'), second = path.find('/', first + 1);
  return {path.substr(0, first), path.substr(first + 1, second - first - 1), path.substr(second + 1)};
}

bool cluster_is_going(const State& state, ClusterId id) {
  auto cluster = state.clusters.find(id);
  return cluster == state.clusters.end() || cluster->second.deleting;
}

// The first verdict of an attempt wins, except that a cancel replaces a requeue. The job's row may be gone afterwards,
// when it is being deleted and nothing reachable is left.
void end(Engine& e, JobId id, Verdict verdict, EndCause cause) {
  TY_CHECK(verdict != Verdict::none);
  Job& job = e.state.jobs.at(id);
  if (terminal(job.state)) return;
  if (job.state == JobState::stopping) {
    if (verdict != Verdict::cancel || job.verdict != Verdict::requeue) return;
    e.note(subject_of(e.state, job), "cancelled instead of queued again", cause.message);
    set_verdict(e.edit(id), verdict, std::move(cause));
    return check_gone(e, id);
  }
  if (job.state == JobState::queued && verdict != Verdict::cancel) return;
  const std::string why = cause.message;
  const TimeMs running_ms = work_since(job, e.now);
  set_verdict(e.edit(id), verdict, std::move(cause));
  move(e, job, JobEvent::end, std::string(word_for(verdict)) + ": " + why);
  if (job.state != JobState::stopping) return;  // it was queued: nothing to stop
  for (const HoldingKey& key : e.state.job_holdings.at(id)) {
    if (e.state.holdings.at(key).stop_ordered) continue;
    Holding& holding = e.edit(key);
    holding.stop_ordered = true;
    holding.confirm_revision = 0;
    holding.running_ms = running_ms;
    holding.stopped_ms = e.now;
    holding.work = work_after(job);
    e.bump(key.first);
  }
  check_gone(e, id);
}

void end_infrastructure(Engine& e, JobId id, EndCause cause) {
  Job& job = e.state.jobs.at(id);
  if (job.state == JobState::queued || job.state == JobState::stopping || terminal(job.state)) return;
  cause.infrastructure = true;
  const Recovery& recovery = job.spec->recovery;
  if (recovery.on_node_loss == OnNodeLoss::fail) {
    cause.message += " (the job's recovery says: fail)";
    return end(e, id, Verdict::failure, std::move(cause));
  }
  if (job.requeues >= recovery.max_requeues) {
    cause.message +=
        " (" + std::to_string(job.requeues) + " of " + std::to_string(recovery.max_requeues) + " requeues were used)";
    return end(e, id, Verdict::failure, std::move(cause));
  }
  ++e.edit(id).requeues;
  end(e, id, Verdict::requeue, std::move(cause));
}

namespace {

void erase_job(Engine& e, JobId id) {
  const Job& job = e.state.jobs.at(id);
  TY_CHECK(terminal(job.state));
  const ExperimentId experiment = job.experiment;
  e.note(subject_of(e.state, job), "deleted", "nothing of it is left on a reachable node");
  e.state.job_by_path.erase(lower(path_of(e.state, job)));
  auto held = e.state.job_holdings.find(id);
  if (held != e.state.job_holdings.end()) {
    for (const HoldingKey& key : held->second) e.touched_nodes.insert(key.first);
  }
  if (job.array) task_erased(e, job);
  if (job.schedule) run_erased(e, job);
  e.state.jobs.erase(id);
  e.jobs.erase(id);
  e.touched_jobs.insert(id);
  vanish_if_empty(e, experiment);
}

}  // namespace

void check_gone(Engine& e, JobId id) {
  auto found = e.state.jobs.find(id);
  if (found == e.state.jobs.end() || found->second.state != JobState::stopping) return;
  Job& job = found->second;
  const bool waive_unreachable =
      job.deleting || (job.verdict == Verdict::requeue && job.spec->recovery.rerun_after == RerunAfter::gang_broken);
  std::uint32_t orphans = 0;
  auto held = e.state.job_holdings.find(id);
  if (held != e.state.job_holdings.end()) {
    for (const HoldingKey& key : held->second) {
      if (key.second.attempt != job.attempt) continue;
      if (!waive_unreachable || e.state.nodes.at(key.first).live.reachable) return;
      ++orphans;
    }
  }
  std::string why = "nothing of attempt " + std::to_string(job.attempt) + " is left";
  if (orphans != 0) why += " but on " + std::to_string(orphans) + " unreachable node(s)";
  move(e, job, JobEvent::gone, why);
  if (job.state == JobState::queued) {
    job.verdict = Verdict::none;
    job.head_exited_ms = 0;
    job.exit_code.reset();
    if (cluster_is_going(e.state, job.cluster)) {
      end(e, id, Verdict::cancel, {"ClusterDeleted", "its cluster " + job.cluster_path + " was deleted"});
    }
  }
  if (job.deleting) erase_job(e, id);
}

void delete_job(Engine& e, JobId id, const std::string& why) {
  e.edit(id).deleting = true;
  end(e, id, Verdict::cancel, {"Deleted", why});
  check_gone(e, id);
  auto job = e.state.jobs.find(id);
  if (job != e.state.jobs.end() && terminal(job->second.state)) erase_job(e, id);
}

void all_ready(Engine& e, JobId id) {
  Job& job = e.state.jobs.at(id);
  if (job.state != JobState::preparing) return;
  const std::set<HoldingKey>& held = e.state.job_holdings.at(id);
  for (const HoldingKey& key : held) {
    if (key.second.attempt == job.attempt && e.state.holdings.at(key).reported != HoldingState::ready) return;
  }
  move(e, job, JobEvent::all_ready, "every node is prepared");
  for (const HoldingKey& key : held) {
    if (key.second.attempt == job.attempt) e.bump(key.first);
  }
}

namespace {

// As the head's node describes it, with its details on the job already; else by the code alone.
EndCause failed_with(const Job& job) {
  for (const NodeError& error : job.errors) {
    if (!error.infrastructure) return {error.code, error.message};
  }
  return {kJobFailed, "the job's command ended with exit code " + std::to_string(job.exit_code.value_or(-1))};
}

}  // namespace

void head_exited(Engine& e, JobId id, std::optional<std::int32_t> exit_code, const NodeError& error) {
  Job& job = e.state.jobs.at(id);
  if (job.state == JobState::starting) move(e, job, JobEvent::launched, "the head's process ran");
  if (!exit_code) {
    return end_infrastructure(e, id, {"NodeLost", "the head's process was lost: " + error.message});
  }
  if (job.head_exited_ms != 0) return;
  e.edit(id).exit_code = exit_code;
  job.head_exited_ms = e.now;
  if (*exit_code == 0) return end(e, id, Verdict::success, {"Succeeded", "exited 0"});
  if (!error.code.empty() && !error.infrastructure) job.errors.push_back(error);
  e.note(subject_of(e.state, job), "exited " + std::to_string(*exit_code),
         "the verdict waits for every node's report after it");
  const std::set<HoldingKey> held = e.state.job_holdings.at(id);
  for (const HoldingKey& key : held) {
    if (key.second.attempt != job.attempt || e.state.holdings.at(key).member == 0) continue;
    const Node& node = e.state.nodes.at(key.first);
    if (!node.live.reachable) {
      return end_infrastructure(e, id,
                                {"NodeLost", "the head exited " + std::to_string(*exit_code) + " while node " +
                                                 node.name + " is unreachable"});
    }
  }
  for (const HoldingKey& key : held) {
    if (key.second.attempt != job.attempt || e.state.holdings.at(key).member == 0) continue;
    e.edit(key).confirm_revision = e.bump(key.first);
  }
  check_confirmed(e, id);
}

void check_confirmed(Engine& e, JobId id) {
  const Job& job = e.state.jobs.at(id);
  if (job.head_exited_ms == 0 || (job.state != JobState::running && job.state != JobState::starting)) return;
  for (const HoldingKey& key : e.state.job_holdings.at(id)) {
    if (key.second.attempt == job.attempt && e.state.holdings.at(key).confirm_revision != 0) return;
  }
  end(e, id, Verdict::failure, failed_with(job));
}

// ---- Commands ----

bool same_dependencies(const State& state, ExperimentId home, const std::vector<Dependency>& dependencies,
                       const std::vector<DependsOn>& wanted) {
  const std::string own = lower(state.experiments.at(home).name);
  return std::equal(dependencies.begin(), dependencies.end(), wanted.begin(), wanted.end(),
                    [&](const Dependency& is, const DependsOn& asked) {
                      const std::string& experiment = asked.experiment.empty() ? own : asked.experiment;
                      return is.after == asked.after && lower(is.job) == path_key({experiment, asked.job}) &&
                             (is.array || !asked.array);
                    });
}

namespace {

Result<Subject> existing_job(const State& state, const Job& job, const SubmitJob& c) {
  const Subject subject{Subject::Kind::job, job.id.value};
  if (job.deleting) {
    return Error{Code::already_exists,
                 "job " + job.name + " is being deleted; wait until it is gone or choose another name"};
  }
  const bool same = *job.spec == c.spec && job.mapping == c.mapping &&
                    same_dependencies(state, job.experiment, job.dependencies, c.dependencies) &&
                    lower(job.cluster_path) == path_key({c.cluster.group, c.cluster.workspace, c.cluster.cluster});
  if (same) return subject;
  return Error{Code::already_exists, "job " + job.name + " exists already in experiment " +
                                         state.experiments.at(job.experiment).name + " with another definition; " +
                                         "choose another name or delete it first"};
}

// Whether the user's own words refer to the variable; what their scripts read cannot be seen.
bool mentions(const JobSpec& spec, const std::string& variable) {
  std::vector<const std::string*> texts{&spec.command_line,
                                        &spec.command_line_args,
                                        &spec.master_command_line_args,
                                        &spec.worker_command_line_args,
                                        &spec.parameter_server_command_line_args,
                                        &spec.preparation_command_line};
  for (const NamedValue& item : spec.environment) texts.push_back(&item.value);
  return std::any_of(texts.begin(), texts.end(),
                     [&](const std::string* text) { return text->find(variable) != std::string::npos; });
}

std::vector<std::string> warnings_for(const JobSpec& spec, const Cluster& cluster) {
  std::vector<std::string> warnings;
  if (const std::uint32_t most = capacity_of(cluster.spec); most < least_nodes(spec)) {
    warnings.push_back("the job needs " + std::to_string(least_nodes(spec)) + " nodes; " + cluster.name + "'s " +
                       (cluster.spec.auto_scale ? "maximum" : "target") + " is " + std::to_string(most) +
                       ": it waits until the cluster is resized");
  }
  const std::string shared_temp = "AZ_BATCHAI_SHARED_JOB_TEMP";
  const bool on_cluster_volume = spec.std_out_err_path_prefix.find("AZ_BATCHAI_MOUNT_ROOT") != std::string::npos;
  if (spec.node_count > 1 && spec.file_shares.empty() && spec.blob_file_systems.empty() &&
      spec.file_server_mounts.empty() && !on_cluster_volume && mentions(spec, shared_temp)) {
    warnings.push_back("$" + shared_temp +
                       " will be empty: it is a directory on one of the job's shares, and the job "
                       "mounts none; add one to mountVolumes");
  }
  return warnings;
}

// A user id of the workspace's own: its jobs share files, others do not meet them.
RunAs user_of(const Workspace& workspace) {
  constexpr std::uint64_t kFirst = 20'000, kCount = 40'000;
  const auto uid = static_cast<std::uint32_t>(kFirst + workspace.id.value % kCount);
  return {uid, uid, {}};
}

Error being_deleted(const std::string& what) {
  return {Code::failed_precondition, what + " is being deleted"};
}

}  // namespace

Result<Submission> resolve(Engine& e, const SubmitJob& c) {
  const State& state = e.state;
  auto experiment = find_experiment(state, {c.ref.group, c.ref.workspace, c.ref.experiment});
  if (!experiment.ok()) return experiment.error();
  if (state.experiments.at(*experiment).deleting) return being_deleted("experiment " + c.ref.experiment);
  auto cluster_id = find_cluster(state, c.cluster);
  if (!cluster_id.ok()) return cluster_id.error();
  const Cluster& cluster = state.clusters.at(*cluster_id);
  if (cluster.deleting) return being_deleted("cluster " + cluster.name);
  if (c.spec.node_count == 0) return Error{Code::invalid_argument, "properties.nodeCount must be at least 1"};
  if (const std::string why = why_no_containers(state, cluster); !c.mapping.container_image.empty() && !why.empty()) {
    return Error{Code::failed_precondition, "image " + c.spec.image +
                                                " would run in a container, but no node of cluster " + cluster.name +
                                                " runs containers (" + why +
                                                "): the operator must install docker or podman there, or map the image "
                                                "to the host"};
  }
  auto volumes = resolve_volumes(state, "properties.mountVolumes.", {c.ref.group, c.ref.workspace}, c.spec);
  if (!volumes.ok()) return volumes.error();
  auto dependencies = resolve_dependencies(e, c);
  if (!dependencies.ok()) return dependencies.error();
  const Workspace& workspace = state.workspaces.at(state.experiments.at(*experiment).workspace);
  return Submission{*experiment,
                    *cluster_id,
                    std::move(*volumes),
                    c.run_as.value_or(user_of(workspace)),
                    warnings_for(c.spec, cluster),
                    std::move(*dependencies)};
}

JobId enqueue(Engine& e, Job job, const std::string& unique, const std::string& why) {
  const State& state = e.state;
  const Experiment& experiment = state.experiments.at(job.experiment);
  const Workspace& workspace = state.workspaces.at(experiment.workspace);
  const JobId id{e.next_id()};
  job.id = id;
  job.cluster_path = path_of(state, state.clusters.at(job.cluster));
  job.segment = "trainyard/" + state.groups.at(workspace.group).name + "/workspaces/" + workspace.name +
                "/experiments/" + experiment.name + "/jobs/" + job.name + "/" + unique;
  job.created_ms = job.state_changed_ms = e.now;
  e.state.job_by_path.emplace(lower(path_of(state, job)), id);
  e.state.jobs.emplace(id, std::move(job));
  enter_queue(e, e.edit(id));
  e.note(subject_of(state, state.jobs.at(id)), "queued", why);
  return id;
}

JobTemplate template_of(const Engine& e, const SubmitJob& c, Submission submission) {
  return {path_of(e.state, e.state.clusters.at(submission.cluster)),
          c.spec,
          c.mapping,
          std::move(submission.volumes),
          c.unique,
          std::move(submission.run_as),
          e.who,
          std::move(submission.warnings)};
}

Result<JobId> add_job(Engine& e, const SubmitJob& c, Job job, const std::string& why) {
  auto submission = resolve(e, c);
  if (!submission.ok()) return submission.error();
  job.experiment = submission->experiment;
  job.cluster = submission->cluster;
  job.name = c.ref.job;
  job.spec = std::make_shared<const JobSpec>(c.spec);
  job.mapping = c.mapping;
  job.volumes = std::move(submission->volumes);
  job.run_as = std::move(submission->run_as);
  job.warnings = std::move(submission->warnings);
  job.dependencies = std::move(submission->dependencies);
  return enqueue(e, std::move(job), c.unique, why);
}

Result<Subject> apply(Engine& e, const SubmitJob& c) {
  const State& state = e.state;
  auto experiment = find_experiment(state, {c.ref.group, c.ref.workspace, c.ref.experiment});
  if (!experiment.ok()) return experiment.error();
  const std::string key = path_key({c.ref.group, c.ref.workspace, c.ref.experiment, c.ref.job});
  auto existing = state.job_by_path.find(key);
  if (existing != state.job_by_path.end()) return existing_job(state, state.jobs.at(existing->second), c);
  if (const JobArray* array = array_of_task(state, c.ref); array != nullptr) {
    return Error{Code::already_exists,
                 "job " + c.ref.job + " is the name of a task of job array " + array->name + "; choose another name"};
  }
  Job job;
  job.owner = e.who;
  if (c.hold) job.hold = Hold{*c.hold, e.who, e.now};
  const auto id = add_job(e, c, std::move(job), c.hold ? "submitted, held: " + *c.hold : "submitted");
  if (!id.ok()) return id.error();
  return Subject{Subject::Kind::job, id->value};
}

namespace {

constexpr std::size_t kLongestName = 64;  // as the edge checks it

// "train" and "train-2" both give "train-3", when that is free.
std::string next_name(const State& state, const JobRef& ref, const Job& job) {
  std::string base = job.name;
  if (!job.rerun_of.empty()) {
    const auto dash = base.find_last_not_of("0123456789");
    if (dash != std::string::npos && dash + 1 < base.size() && base[dash] == '-') base.resize(dash);
  }
  for (std::uint64_t number = 2;; ++number) {
    const std::string ending = "-" + std::to_string(number);
    const std::string name = base.substr(0, kLongestName - ending.size()) + ending;
    if (!state.job_by_path.contains(path_key({ref.group, ref.workspace, ref.experiment, name}))) return name;
  }
}

}  // namespace

Result<Subject> apply(Engine& e, const RerunJob& c) {
  const auto id = find_job(e.state, c.ref);
  if (!id.ok()) return id.error();
  const Job& job = e.state.jobs.at(*id);
  if (!terminal(job.state)) {
    return Error{Code::failed_precondition,
                 "job " + job.name + " has not ended: wait for its end, or terminate it first"};
  }
  SubmitJob again{c.ref, {}, *job.spec, job.mapping, c.unique, c.run_as};
  again.ref.job = c.new_name.empty() ? next_name(e.state, c.ref, job) : c.new_name;
  if (e.state.job_by_path.contains(path_key({c.ref.group, c.ref.workspace, c.ref.experiment, again.ref.job}))) {
    return Error{Code::already_exists, "job " + again.ref.job + " exists already; choose another name"};
  }
  again.cluster = cluster_ref(job.cluster_path);
  const std::string name = job.name;  // `job` may move
  auto made = apply(e, again);
  if (made.ok()) e.edit(JobId{made->id}).rerun_of = name;
  return made;
}

Result<Subject> apply(Engine& e, const TerminateJob& c) {
  auto id = find_job(e.state, c.ref);
  if (!id.ok()) return id.error();
  end(e, *id, Verdict::cancel, {"Terminated", "terminated by " + e.who});
  return Subject{Subject::Kind::job, id->value};
}

Result<Subject> apply(Engine& e, const NoteExec& c) {
  auto id = find_job(e.state, c.ref);
  if (!id.ok()) return id.error();
  const Job& job = e.state.jobs.at(*id);
  if (job.state != JobState::starting && job.state != JobState::running) {
    return Error{Code::failed_precondition, "job " + job.name + " does not run (any more)"};
  }
  std::size_t most = 200;  // of a script the beginning says enough; a character stays whole
  while (most < c.what.size() && (static_cast<unsigned char>(c.what[most]) & 0xC0) == 0x80) --most;
  e.note(subject_of(e.state, job), "exec on " + c.node, c.what.size() > most ? c.what.substr(0, most) + "..." : c.what);
  return Subject{Subject::Kind::job, id->value};
}

Result<Subject> apply(Engine& e, const DeleteJob& c) {
  auto id = find_job(e.state, c.ref);
  if (!id.ok()) return id.error();
  if (!e.state.jobs.at(*id).deleting) delete_job(e, *id, "deleted by " + e.who);
  return Subject{};
}

}  // namespace trainyard::core
