#include "agent/loop/executor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "agent/exec/cgroup.h"
#include "agent/exec/failure.h"
#include "agent/exec/files.h"
#include "agent/exec/mpirun.h"
#include "agent/exec/ports.h"
#include "agent/exec/tasks.h"
#include "agent/loop/isolation.h"
#include "agent/loop/node_files.h"
#include "agent/volumes/helper.h"
#include "agent/volumes/helper_main.h"

namespace trainyard::agent {
namespace {

constexpr DurationMs kDirectoryDeadlineMs = 60'000;

NodeError setup_failed(const std::string& message) {
  return {.code = "NodeSetupFailed", .message = message, .infrastructure = true};
}

Status write_text(const std::string& path, const std::string& text) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file.valid() || !write_fully(file.get(), text.data(), text.size())) {
    return system_error("cannot write " + path, errno);
  }
  return {};
}

}  // namespace

Executor::Executor(ExecutorContext& context, Place place, const HeldAttempt& held, Events events)
    : x_context(context),
      x_place(std::move(place)),
      x_id(held.id),
      x_member(held.member),
      x_lease_ms(held.lease_ms),
      x_gpu_uuids(held.gpu_uuids),
      x_launch(held.launch ? held.launch : std::make_shared<const Launch>()),
      x_secrets(variables_of(held.secrets)),
      x_credentials(credentials_of(held.secrets)),
      x_paths(paths_of(context, x_place, held.id)),
      x_events(std::move(events)),
      x_run(held.run_ordered),
      x_limits(std::make_shared<LimitWatch>(context, x_place, x_launch, x_member, x_paths, x_gpu_uuids)) {
  x_volumes = std::make_shared<VolumeSet>(
      context, x_paths.job_mount_root, items_of(x_launch->spec, x_launch->volumes),
      [place = x_place, node = context.node_name](const std::string& line) { say_in(place, node, line); });
  x_stdouterr = stdouterr_directory(*x_launch, x_paths);
  if (x_stdouterr.empty() || x_stdouterr.front() != '/') x_stdouterr = x_paths.job_temp + "/" + x_stdouterr;
  if (x_launch->members.size() > 1) x_shared_temp = shared_job_temp(*x_launch, x_paths);
  x_container = JobContainer::of(context, x_place, held,
                                 {.say = [this](const std::string& line) { say(line); },
                                  .image_known =
                                      [this](const std::string& digest) {
                                        x_events.image_known({x_id, digest});
                                      }});
}

void Executor::say(const std::string& line) const {
  say_in(x_place, x_context.node_name, line);
}

void Executor::post(std::function<void()> what) {
  boost::asio::post(x_context.io, std::move(what));
}

template <class Answer>
std::function<void(Answer)> Executor::step(void (Executor::*next)(Answer)) {
  ++x_helpers_under_way;
  return [self = shared_from_this(), next](Answer answer) {
    --self->x_helpers_under_way;
    if (self->x_stopping) return self->begin_clean();
    (self.get()->*next)(std::move(answer));
  };
}

// ---- Prepare ----

void Executor::prepare() {
  if (x_stopping) return;
  if (const auto made = make_place(); !made) return fail_preparation(setup_failed(made.error().message));
  if (auto error = unseal_secrets(x_context, x_place, secrets::purpose_of(x_id), x_secrets)) {
    return fail_preparation(std::move(*error));
  }
  say(fmt::format("preparing attempt {} of job {} ({} of {} nodes)", x_id.attempt, x_launch->job_name, x_member + 1,
                  x_launch->members.size()));
  if (const auto port = port_in_use(ports_of(*x_launch, x_member))) {
    return fail_preparation({.code = "PortInUse",
                             .message = fmt::format("port {} on node {}, which the job's processes would use, is in "
                                                    "use by something else",
                                                    *port, x_context.node_name),
                             .details = {{"node", x_context.node_name}, {"port", std::to_string(*port)}},
                             .infrastructure = true});
  }
  if (x_launch->members.size() > 1 && x_shared_temp.empty()) {
    say("AZ_BATCHAI_SHARED_JOB_TEMP is not set: the job mounts no share on which its nodes could meet");
  }
  watch_limits();
  if (x_container) x_container->pull(x_credentials);
  mount_volumes();
}

Status Executor::make_place() {
  auto made = make_local_directories(
      {x_place.spool, x_place.spool + "/logs", x_place.job, x_place.run, x_paths.job_mount_root});
  if (!made) return made;
  std::vector<std::string> of_user{x_place.run, x_paths.job_temp, x_paths.home, x_paths.shared_job_temp};
  if (runs_under_mpi(*x_launch)) {
    // Before mpirun makes them: what ships logs can watch a directory only once it is there.
    const RankLayout layout = rank_layout(*x_launch);
    of_user.insert(of_user.end(), {x_paths.rank_logs, x_paths.rank_logs + "/1"});
    for (const std::uint32_t rank : logged_ranks(layout, x_member)) {
      of_user.push_back(rank_log_directory(layout, x_paths, rank));
    }
  }
  if (made = make_user_directories(x_place, of_user, x_launch->run_as); !made) return made;
  if (auto written = write_text(x_paths.hostfile, hostfile_text(*x_launch)); !written) return written;
  if (starts_tasks(x_launch->spec) && x_member == 0) {
    if (auto written = write_text(x_paths.tasks_file, tasks_text(*x_launch)); !written) return written;
  }
  // The shim goes to the sibling of the payload's cgroup, so that killing the payload leaves the logs' owner alive.
  if (auto created = Cgroup(x_place.cgroup + "/shim").create(); !created) return created;
  if (auto created = Cgroup(x_place.job_cgroup()).create(); !created) return created;
  return x_limits->create();
}

void Executor::mount_volumes() {
  x_volumes->mount(
      [self = shared_from_this()](const std::string& name) {
        return unseal_credential(self->x_context, secrets::purpose_of(self->x_id), self->x_credentials, name);
      },
      step(&Executor::volumes_mounted));
}

void Executor::volumes_mounted(std::optional<NodeError> error) {
  if (error) return fail_preparation(std::move(*error));
  watch_volumes();
  rotate_old_logs();
}

void Executor::watch_volumes() {
  x_volumes->watch([weak = weak_from_this()](NodeError error) {
    const auto self = weak.lock();
    if (!self || self->x_stopping) return;
    self->say(error.message);
    self->x_events.limit_exceeded({self->x_id, std::move(error)});
  });
}

// stdouterr/ holds the newest attempt; the head (on a directory of the node's own: every node) puts older files away.
void Executor::rotate_old_logs() {
  const auto [root, path] = split_at_root(x_stdouterr, x_paths);
  const bool mine = x_member == 0 || root == "/";
  if (x_id.attempt <= 1 || !mine || path_exists(x_place.marker("rotated"))) return make_output_directories();
  run_helper(x_context.io,
             helper_command(x_context, {"rotate-stdouterr", root, path, std::to_string(x_id.attempt - 1)}), {},
             kDirectoryDeadlineMs, step(&Executor::rotated));
}

void Executor::rotated(HelperResult result) {
  if (result.exit_code != 0) return output_directory_failed(result);
  touch(x_place.marker("rotated"));
  make_output_directories();
}

void Executor::make_output_directories() {
  std::vector<std::string> all = output_directories(*x_launch, x_paths);
  all.push_back(x_stdouterr);
  x_left_directories.clear();
  if (!x_shared_temp.empty()) all.push_back(x_shared_temp);
  for (const std::string& directory : all) {
    const auto [root, path] = split_at_root(directory, x_paths);
    x_left_directories[root].push_back(path);
  }
  make_next_directories();
}

void Executor::make_next_directories() {
  const auto next = x_left_directories.begin();
  std::vector<std::string> words = mkdir_words(x_launch->run_as);
  words.push_back(next->first);
  words.insert(words.end(), next->second.begin(), next->second.end());
  x_left_directories.erase(next);
  run_helper(x_context.io, helper_command(x_context, words), {}, kDirectoryDeadlineMs,
             step(&Executor::output_directories_made));
}

void Executor::output_directories_made(HelperResult result) {
  if (result.exit_code != 0) return output_directory_failed(result);
  if (!x_left_directories.empty()) return make_next_directories();
  touch(x_place.marker("directories"));
  if (logs_may_begin()) begin_logs();
  if (!x_container) return start_preparation();
  x_container->start(x_limits->groups(true), x_limits->affinity(), step(&Executor::container_started));
}

void Executor::container_started(std::optional<NodeError> error) {
  if (error) return fail_preparation(std::move(*error));
  start_preparation();
}

void Executor::output_directory_failed(const HelperResult& result) {
  fail_preparation(
      {.code = "OutputDirectoryFailed",
       .message = fmt::format("cannot make the job's output directories on node {}: {}", x_context.node_name,
                              result.exit_code == -1 ? "no answer from the share" : result.error),
       .details = {{"node", x_context.node_name}},
       .infrastructure = is_machines_fault(code_of_helper_exit(result.exit_code))});
}

void Executor::start_preparation() {
  if (const auto made = x_container ? Status() : make_sandbox(x_context, x_place, x_gpu_uuids); !made) {
    return fail_preparation(setup_failed(made.error().message));
  }
  const std::string script = preparation_script(*x_launch);
  if (script.empty()) {
    say("ready");
    return post([self = shared_from_this()] { self->x_events.prepared({self->x_id, std::nullopt}); });
  }
  const std::string directory = x_place.spool + "/prep";
  if (observe_shim(directory).state == ShimState::never_started) {
    ShimSpec spec = process(script);
    spec.stdout_path = x_place.log("prep.out");
    spec.stderr_path = x_place.log("prep.err");
    if (const auto written = write_shim_spec(directory, spec); !written) {
      return fail_preparation(setup_failed(written.error().message));
    }
    const auto started = start_shim(x_context.shim_program, directory);
    if (!started && started.error().code != Code::already_exists) {
      return fail_preparation(setup_failed(started.error().message));
    }
    say("job preparation started");
  }
  x_preparation_watch = std::make_unique<ShimWatch>(
      x_context.io, directory, [self = shared_from_this()](ShimObservation seen) { self->preparation_ended(seen); });
}

void Executor::preparation_ended(const ShimObservation& seen) {
  if (x_stopping) return;
  if (seen.state == ShimState::lost) {
    return fail_preparation({.code = "ShimLost",
                             .message = "the supervisor of the job preparation died on node " + x_context.node_name,
                             .infrastructure = true});
  }
  if (!seen.exit.error.empty()) return fail_preparation(setup_failed(seen.exit.error));
  say(fmt::format("job preparation exited with code {}", seen.exit.exit_code));
  if (seen.exit.exit_code == 0) {
    say("ready");
    return x_events.prepared({x_id, std::nullopt});
  }
  const std::string tail = last_lines(tail_of(x_place.log("prep.err"), kFailureTail), kLastLines);
  fail_preparation({.code = "JobPreparationFailed",
                    .message = fmt::format("the job preparation exited with code {} on node {}{}", seen.exit.exit_code,
                                           x_context.node_name, tail.empty() ? "" : "; its last lines: " + tail),
                    .details = {{"node", x_context.node_name}, {"exitCode", std::to_string(seen.exit.exit_code)}}});
}

void Executor::fail_preparation(NodeError error) {
  say(error.message);
  post([self = shared_from_this(), error = std::move(error)] { self->x_events.prepared({self->x_id, error}); });
}

void Executor::watch_limits() {
  x_limits->start([weak = weak_from_this()](NodeError error) {
    const auto self = weak.lock();
    if (!self || self->x_stopping) return;
    self->say(error.message);
    self->x_events.limit_exceeded({self->x_id, std::move(error)});
  });
}

// ---- Run ----

ShimSpec Executor::process(const std::string& script) const {
  ShimSpec spec;
  spec.argv = {"/bin/bash", "-c", script};
  spec.environment = environment();
  if (!x_secrets.empty()) spec.secrets_path = x_place.secrets();
  spec.working_directory = x_paths.job_temp;
  spec.cgroup = x_place.job_cgroup();
  x_limits->hold(spec, x_container != nullptr);
  spec.log_limit_bytes = x_context.log_limit_bytes;
  spec.lease_path = lease_path(x_context);
  spec.lease_ms = x_lease_ms;
  if (x_container) {
    x_container->enter(spec);
  } else {
    isolate(x_context, x_place, x_launch->run_as, spec);
  }
  return spec;
}

std::vector<NamedValue> Executor::environment(std::optional<std::size_t> task) const {
  auto variables = job_environment(*x_launch, x_member, x_gpu_uuids, x_paths, x_limits->facts(), task);
  if (x_container) x_container->fit(variables);
  return variables;
}

Result<ShimSpec> Executor::task(std::uint32_t number, const std::string& from_node, const std::string& key) const {
  const auto tasks = tasks_of(*x_launch);
  const auto refused = [&](const std::string& why) {
    return Error{Code::failed_precondition,
                 fmt::format("task {} is not started on {}: {}", number, x_context.node_name, why)};
  };
  // One key per task, and only from the head: so none starts twice.
  if (number >= tasks.size() || key != task_key(number)) return refused("the job has no such task");
  if (tasks[number].member != x_member) return refused("it belongs to another node");
  if (from_node != x_launch->members[0].node_name) return refused("only the first node's process has tasks started");
  ShimSpec spec = process(task_script(*x_launch, tasks[number]));
  spec.environment = environment(number);
  spec.stdout_path = x_place.log(key + ".out");
  spec.stderr_path = x_place.log(key + ".err");
  return spec;
}

std::string Executor::launch_ended(const std::string& key, const ShimExit& exit) const {
  if (!task_of_key(key)) return {};
  say(fmt::format("{} exited with code {}", key, exit.exit_code));
  if (exit.exit_code == 0) return {};
  return last_lines(tail_of(x_place.log(key + ".err"), kFailureTail), kLastLines);
}

void Executor::run() {
  if (!std::exchange(x_run, true) && !x_stopping && path_exists(x_place.marker("directories"))) begin_logs();
}

void Executor::start_head() {
  if (x_stopping) return;
  const std::string directory = x_place.spool + "/head";
  ShimSpec spec = process(head_script(*x_launch, x_paths, x_limits->facts()));
  spec.stdout_path = x_place.log("head.out");
  spec.stderr_path = x_place.log("head.err");
  auto failed = [this](const std::string& message) {
    say(message);
    post([self = shared_from_this(), error = setup_failed(message)] {
      self->x_events.head_started({self->x_id, error});
    });
  };
  if (const auto written = write_shim_spec(directory, spec); !written) return failed(written.error().message);
  const auto started = start_shim(x_context.shim_program, directory);
  if (!started && started.error().code != Code::already_exists) return failed(started.error().message);
  post([self = shared_from_this()] { self->x_events.head_started({self->x_id, std::nullopt}); });
  say("started");
  watch_head();
}

void Executor::watch_head() {
  x_progress = watch_progress(x_context.io, progress_file(x_paths), [weak = weak_from_this()](const Progress& told) {
    if (const auto self = weak.lock(); self && !self->x_stopping) self->x_events.progress_told({self->x_id, told});
  });
  x_head_watch =
      std::make_unique<ShimWatch>(x_context.io, x_place.spool + "/head",
                                  [self = shared_from_this()](ShimObservation seen) { self->head_ended(seen); });
}

void Executor::head_ended(const ShimObservation& seen) {
  if (x_stopping) return;
  HeadEnded ended{.id = x_id, .exit_code = std::nullopt, .error = {}};
  if (seen.state == ShimState::lost) {
    ended.error = {.code = "ShimLost",
                   .message = "the supervisor of the job's process died on node " + x_context.node_name,
                   .infrastructure = true};
    say(ended.error.message);
  } else if (!seen.exit.error.empty()) {
    ended.error = setup_failed(seen.exit.error);
    say(ended.error.message);
  } else {
    ended.exit_code = seen.exit.exit_code;
    say(fmt::format("exited with code {}", seen.exit.exit_code));
    if (seen.exit.exit_code != 0) {
      auto memory = x_limits->out_of_memory();
      ended.error = memory ? std::move(*memory) : failure(seen.exit);
    }
  }
  if (seen.exit.dropped_bytes > 0) say(fmt::format("{} bytes of output were lost: disk full", seen.exit.dropped_bytes));
  x_events.head_ended(ended);
}

// The first failing rank; the message goes to the execution log too.
NodeError Executor::failure(const ShimExit& exit) const {
  NodeError error = job_failure(*x_launch, exit.exit_code, tail_of(x_place.log("head.err"), kFailureTail));
  say(error.message);
  return error;
}

void Executor::adopt(const HeldAttempt& held) {
  watch_limits();
  watch_volumes();
  if (path_exists(x_place.marker("directories")) && logs_may_begin()) begin_logs();
  const bool head_expected =
      held.head_start_requested && (held.state == HoldingState::ready || held.state == HoldingState::running);
  if (!head_expected) return;
  if (observe_shim(x_place.spool + "/head").state == ShimState::never_started) return start_head();
  say("found again after a restart of the agent");
  post([self = shared_from_this()] { self->x_events.head_started({self->x_id, std::nullopt}); });
  watch_head();
}

// ---- Logs ----

// Later attempts: only after every node has prepared, so that the head has put the old files away.
bool Executor::logs_may_begin() const {
  const bool alone = x_launch->members.size() <= 1 || x_member == 0;
  return x_id.attempt <= 1 || alone || x_run || x_stopping || split_at_root(x_stdouterr, x_paths).first == "/";
}

std::vector<LogShipper::File> Executor::log_files() const {
  const OutputNames names = output_names(*x_launch, x_member);
  const std::string base = split_at_root(x_stdouterr, x_paths).second + "/";
  std::vector<LogShipper::File> files{{x_place.log("execution.log"), base + names.execution_log}};
  if (!preparation_script(*x_launch).empty()) {
    files.push_back({x_place.log("prep.out"), base + names.prep_stdout});
    files.push_back({x_place.log("prep.err"), base + names.prep_stderr});
  }
  const auto tasks = tasks_of(*x_launch);
  for (std::size_t number = 0; number < tasks.size(); ++number) {
    if (tasks[number].member != x_member) continue;
    const std::string spooled = x_place.log(task_key(number));
    files.push_back({spooled + ".out", base + task_output_name("stdout", tasks[number].name)});
    files.push_back({spooled + ".err", base + task_output_name("stderr", tasks[number].name)});
  }
  if (runs_under_mpi(*x_launch)) {
    const RankLayout layout = rank_layout(*x_launch);
    for (const std::uint32_t rank : logged_ranks(layout, x_member)) {
      const std::string written = guarded(x_paths.rank_logs, rank_log_directory(layout, x_paths, rank));
      const std::string number = std::to_string(rank);
      const std::uint64_t most = x_context.log_limit_bytes;
      files.push_back({written + "/stdout", base + "ranks/stdout-" + number + ".txt", true, most});
      files.push_back({written + "/stderr", base + "ranks/stderr-" + number + ".txt", true, most});
    }
  }
  // Of tasks, the head's own program has nothing to say to users.
  if (x_member == 0 && tasks.empty()) {
    files.push_back({x_place.log("head.out"), base + names.head_stdout});
    files.push_back({x_place.log("head.err"), base + names.head_stderr});
  }
  return files;
}

void Executor::begin_logs() {
  if (x_logs) return;
  x_logs = std::make_shared<LogShipper>(x_context, split_at_root(x_stdouterr, x_paths).first, log_files());
  x_logs->start();
}

// ---- Stop ----

void Executor::stop(DurationMs grace_ms, DurationMs notice_ms) {
  if (x_cleaner) return x_cleaner->shorten(grace_ms, notice_ms);
  x_grace_ms = x_stopping ? std::min(x_grace_ms, grace_ms) : grace_ms;
  x_notice_ms = x_stopping ? std::min(x_notice_ms, notice_ms) : notice_ms;
  if (std::exchange(x_stopping, true)) return;
  say(fmt::format("stopping (grace {} ms{})", grace_ms, notice_ms > 0 ? fmt::format(", notice {} ms", notice_ms) : ""));
  x_preparation_watch = nullptr;
  x_head_watch = nullptr;
  x_limits->stop();
  if (x_progress) x_progress->stop();
  if (x_container) x_container->cancel();
  x_volumes->stop();
  begin_clean();
}

void Executor::begin_clean() {
  if (x_helpers_under_way > 0 || x_cleaner) return;
  const bool all_mounted = x_volumes->all_mounted();
  // A restarted agent may find the share gone already: then what was to be shipped was.
  if (path_exists(x_place.marker("directories")) && !path_exists(x_place.marker("shipped")) && all_mounted)
    begin_logs();
  // The attempt's own, whatever its number: the head takes it away.
  Cleaner::SharedTemp shared;
  if (x_member == 0 && !x_shared_temp.empty() && all_mounted) {
    const auto [root, path] = split_at_root(x_shared_temp, x_paths);
    shared = {root, path};
  }
  x_cleaner = std::make_shared<Cleaner>(
      x_context, x_place, x_launch->volumes, x_logs, shared,
      [self = shared_from_this()](const std::string& line) { self->say(line); },
      [self = shared_from_this()](CleanupReceipt receipt) {
        self->x_logs = nullptr;
        self->x_cleaner = nullptr;
        self->x_events.cleaned({self->x_id, receipt});
      });
  x_cleaner->of_attempt(x_launch->run_as, x_launch->first_port, [self = shared_from_this()](const std::string& what) {
    self->x_events.stuck({self->x_id, what});
  });
  x_cleaner->start(x_grace_ms, x_notice_ms);
}

}  // namespace trainyard::agent
