#include "agent/loop/setup_executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

#include "agent/exec/cgroup.h"
#include "agent/exec/files.h"
#include "agent/exec/toolkits.h"
#include "agent/loop/node_files.h"
#include "agent/volumes/helper.h"
#include "agent/volumes/helper_main.h"

namespace trainyard::agent {
namespace {

constexpr DurationMs kDirectoryDeadlineMs = 60'000;
constexpr DurationMs kShipPatienceMs = 20'000;
constexpr DurationMs kGraceMs = 2'000;

NodeError failed(const std::string& message) {
  return {.code = "NodeSetupFailed", .message = message, .infrastructure = true};
}

}  // namespace

SetupExecutor::SetupExecutor(ExecutorContext& context, Place place, const HeldSetup& held, Events events)
    : x_context(context),
      x_place(std::move(place)),
      x_run(held.run),
      x_begun_ms(held.begun_ms),
      x_setup(held.setup),
      x_secrets(variables_of(held.secrets)),
      x_credentials(credentials_of(held.secrets)),
      x_events(std::move(events)),
      x_mount_root(x_place.job + "/mounts"),
      x_volumes(std::make_shared<VolumeSet>(
          context, x_mount_root, items_of(x_setup->setup, x_setup->volumes),
          [place = x_place, node = context.node_name](const std::string& line) { say_in(place, node, line); })),
      x_limit(context.io) {
  const SetupTask& task = x_setup->setup.task;
  if (task.command_line.empty()) return;
  x_output = expand_variables(task.std_out_err_path_prefix, environment()) + "/" + x_setup->path_suffix;
  if (x_output.front() != '/') x_output = x_place.job + "/" + x_output;
  std::tie(x_output_root, x_output_directory) = split_at_root(x_output, x_mount_root);
}

void SetupExecutor::say(const std::string& line) const {
  say_in(x_place, x_context.node_name, line);
}

template <class Answer>
std::function<void(Answer)> SetupExecutor::step(void (SetupExecutor::*next)(Answer)) {
  ++x_helpers_under_way;
  return [self = shared_from_this(), next](Answer answer) {
    --self->x_helpers_under_way;
    if (self->x_taking_down) return self->begin_clean();
    (self.get()->*next)(std::move(answer));
  };
}

void SetupExecutor::set_up() {
  if (x_taking_down) return;
  if (const auto made = make_place(); !made) return end(failed(made.error().message));
  if (auto error = unseal_secrets(x_context, x_place, secrets::purpose_of_setup(x_run), x_secrets)) {
    return end(std::move(*error));
  }
  say(fmt::format("setting node {} up for cluster {}", x_context.node_name, x_setup->cluster));
  mount_volumes();
}

Status SetupExecutor::make_place() {
  if (auto made = make_local_directories({x_place.spool, x_place.spool + "/logs"}); !made) return made;
  if (auto made = make_mount_root(x_context); !made) return made;
  if (auto created = Cgroup(x_place.cgroup + "/shim").create(); !created) return created;
  return Cgroup(x_place.job_cgroup()).create();
}

// ---- Volumes ----

void SetupExecutor::mount_volumes() {
  x_volumes->mount(
      [self = shared_from_this()](const std::string& name) {
        return unseal_credential(self->x_context, secrets::purpose_of_setup(self->x_run), self->x_credentials, name);
      },
      step(&SetupExecutor::volumes_mounted));
}

void SetupExecutor::volumes_mounted(std::optional<NodeError> error) {
  if (error) return end(std::move(error));
  watch_volumes();
  make_output_directory();
}

void SetupExecutor::adopt() {
  x_done = true;
  watch_volumes();
}

void SetupExecutor::watch_volumes() {
  x_volumes->watch([weak = weak_from_this()](NodeError error) {
    if (const auto self = weak.lock(); self && !self->x_taking_down) self->volume_broke(std::move(error));
  });
}

void SetupExecutor::volume_broke(NodeError error) {
  say(error.message);
  if (x_done) return x_events.broke({x_run, std::move(error)});
  x_broken = std::move(error);
  Cgroup(x_place.job_cgroup()).kill();
}

// ---- The task's output ----

void SetupExecutor::make_output_directory() {
  if (x_output.empty()) return end(std::nullopt);
  run_helper(x_context.io, helper_command(x_context, {"mkdir", x_output_root, x_output_directory}), {},
             kDirectoryDeadlineMs, step(&SetupExecutor::output_directory_made));
}

void SetupExecutor::output_directory_made(HelperResult result) {
  if (result.exit_code == 0) return keep_earlier_files();
  end(NodeError{.code = "OutputDirectoryFailed",
                .message = fmt::format("cannot make the set-up task's output directory {}: {}", x_output,
                                       result.exit_code == -1 ? "no answer from the share" : result.error),
                .infrastructure = is_machines_fault(code_of_helper_exit(result.exit_code))});
}

// The exact names are the newest run's; what an earlier run of this node wrote is put away.
void SetupExecutor::keep_earlier_files() {
  if (path_exists(x_place.marker("rotated"))) return start_task();
  std::vector<std::string> words{"keep-earlier", x_output_root, x_output_directory, std::to_string(x_run)};
  for (const char* name : {"stdout-", "stderr-"}) words.push_back(name + x_context.node_name + ".txt");
  words.push_back("execution-" + x_context.node_name + ".log");
  run_helper(x_context.io, helper_command(x_context, words), {}, kDirectoryDeadlineMs,
             step(&SetupExecutor::earlier_files_kept));
}

void SetupExecutor::earlier_files_kept(HelperResult result) {
  if (result.exit_code != 0) return output_directory_made(result);
  touch(x_place.marker("rotated"));
  start_task();
}

void SetupExecutor::begin_logs() {
  if (x_logs) return;
  const std::string base = x_output_directory + "/", node = x_context.node_name;
  x_logs = std::make_shared<LogShipper>(
      x_context, x_output_root,
      std::vector<LogShipper::File>{{x_place.log("execution.log"), base + "execution-" + node + ".log"},
                                    {x_place.log("setup.out"), base + "stdout-" + node + ".txt"},
                                    {x_place.log("setup.err"), base + "stderr-" + node + ".txt"}});
  x_logs->start();
}

// ---- The task ----

std::vector<NamedValue> SetupExecutor::environment() const {
  std::vector<NamedValue> variables = root_environment(x_context.node_name);
  variables.push_back({"AZ_BATCHAI_MOUNT_ROOT", x_mount_root});
  variables.push_back({"AZ_BATCHAI_CLUSTER_NAME", x_setup->cluster.substr(x_setup->cluster.rfind('/') + 1)});
  for (const NamedValue& variable : x_setup->setup.task.environment) {
    const std::string value = expand_variables(variable.value, variables);
    std::erase_if(variables, [&](const NamedValue& other) { return other.name == variable.name; });
    variables.push_back({variable.name, value});
  }
  return variables;
}

void SetupExecutor::start_task() {
  if (x_broken) return end(std::move(x_broken));
  begin_logs();
  const std::string directory = x_place.spool + "/setup";
  if (observe_shim(directory).state == ShimState::never_started) {
    ShimSpec spec;
    spec.argv = {"/bin/bash", "-c", x_setup->setup.task.command_line};
    spec.environment = environment();
    if (!x_secrets.empty()) spec.secrets_path = x_place.secrets();
    spec.working_directory = x_place.job;
    spec.cgroup = x_place.job_cgroup();
    spec.stdout_path = x_place.log("setup.out");
    spec.stderr_path = x_place.log("setup.err");
    if (const auto written = write_shim_spec(directory, spec); !written) return end(failed(written.error().message));
    const auto started = start_shim(x_context.shim_program, directory);
    if (!started && started.error().code != Code::already_exists) return end(failed(started.error().message));
    say("the set-up task started");
  }
  watch_task(directory);
}

void SetupExecutor::watch_task(const std::string& directory) {
  x_watch = std::make_unique<ShimWatch>(x_context.io, directory,
                                        [self = shared_from_this()](ShimObservation seen) { self->task_ended(seen); });
  const DurationMs left = x_begun_ms + x_setup->setup.task.time_limit_ms - boottime_ms();
  x_limit.expires_after(std::chrono::milliseconds(std::max<DurationMs>(left, 0)));
  x_limit.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (error || self->x_taking_down) return;
    self->x_timed_out = true;
    self->say("the set-up task is killed: its time is over");
    Cgroup(self->x_place.job_cgroup()).kill();
  });
}

void SetupExecutor::task_ended(const ShimObservation& seen) {
  if (x_taking_down) return;
  x_limit.cancel();
  if (x_broken) return end(std::move(x_broken));
  if (seen.state == ShimState::lost) return end(failed("the supervisor of the set-up task died"));
  if (!seen.exit.error.empty()) return end(failed(seen.exit.error));
  say(fmt::format("the set-up task exited with code {}", seen.exit.exit_code));
  if (seen.exit.exit_code == 0) return end(std::nullopt);
  NodeError error{.code = "SetupTaskFailed",
                  .message = fmt::format("the set-up task exited with code {} on node {}", seen.exit.exit_code,
                                         x_context.node_name),
                  .details = {{"exitCode", std::to_string(seen.exit.exit_code)}}};
  if (x_timed_out) {
    error.code = "SetupTaskTimeLimit";
    error.message = fmt::format("the set-up task ran longer than its time limit of {} on node {}",
                                format_duration(x_setup->setup.task.time_limit_ms), x_context.node_name);
  }
  for (const auto& [name, log] : {std::pair{"stderr", "setup.err"}, std::pair{"stdout", "setup.out"}}) {
    const std::string tail = tail_of(x_place.log(log));
    if (tail.empty()) continue;
    if (error.details.size() == 1) error.message += "; its last lines: " + tail;
    error.details.push_back({name, tail});
  }
  end(std::move(error));
}

// The outcome is told when the output is where users look for it, or after a while without.
void SetupExecutor::end(std::optional<NodeError> error) {
  if (error) say(error->message);
  auto tell = [self = shared_from_this(), error = std::move(error)] {
    if (self->x_taking_down) return;
    const std::optional<NodeError> outcome = error ? error : self->x_broken;
    self->x_done = !outcome;
    self->x_events.ended({self->x_run, outcome});
  };
  const auto logs = std::exchange(x_logs, nullptr);
  if (!logs) return boost::asio::post(x_context.io, std::move(tell));
  logs->finish(kShipPatienceMs, [self = shared_from_this(), logs, tell = std::move(tell)](std::string failure) {
    if (!failure.empty()) self->say("the last log lines could not be brought to " + self->x_output + ": " + failure);
    tell();
  });
}

// ---- Taking down ----

void SetupExecutor::take_down() {
  if (std::exchange(x_taking_down, true)) return;
  say("taking the set-up down");
  x_watch = nullptr;
  x_limit.cancel();
  x_volumes->stop();
  begin_clean();
}

void SetupExecutor::begin_clean() {
  if (x_helpers_under_way > 0 || x_cleaner) return;
  x_cleaner = std::make_shared<Cleaner>(
      x_context, x_place, x_setup->volumes, std::exchange(x_logs, nullptr), Cleaner::SharedTemp{},
      [self = shared_from_this()](const std::string& line) { self->say(line); },
      [self = shared_from_this()](CleanupReceipt) {
        self->x_cleaner = nullptr;
        if (const auto made = make_mount_root(self->x_context); !made) self->say(made.error().message);
        self->x_events.taken_down({self->x_run});
      });
  x_cleaner->start(kGraceMs);
}

}  // namespace trainyard::agent
