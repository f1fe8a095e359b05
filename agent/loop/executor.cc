#include "agent/loop/executor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

#include "agent/exec/cgroup.h"
#include "agent/exec/files.h"
#include "agent/volumes/helper.h"
#include "agent/volumes/helper_main.h"

namespace trainyard::agent {
namespace {

constexpr DurationMs kMountDeadlineMs = 60'000;
constexpr DurationMs kDirectoryDeadlineMs = 60'000;
constexpr std::size_t kTailBytes = 2'000;

bool is_machines_fault(Code code) {
  return code == Code::deadline_exceeded || code == Code::unavailable || code == Code::resource_exhausted ||
         code == Code::internal || code == Code::data_loss;
}

NodeError setup_failed(const std::string& message) {
  return {.code = "NodeSetupFailed", .message = message, .infrastructure = true};
}

// Where a mount appears stays inside the job's mount root.
bool is_safe_relative(const std::string& path) {
  if (path.empty() || path.front() == '/') return false;
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t slash = std::min(path.find('/', start), path.size());
    const std::string part = path.substr(start, slash - start);
    if (part.empty() || part == "." || part == "..") return false;
    start = slash + 1;
  }
  return true;
}

std::string tail_of(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!file.valid() || ::fstat(file.get(), &status) != 0) return {};
  const auto size = static_cast<std::size_t>(status.st_size);
  std::string text(std::min(size, kTailBytes), '\0');
  const ssize_t got = ::pread(file.get(), text.data(), text.size(), static_cast<off_t>(size - text.size()));
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

std::string wall_time() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return iso8601(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

// Root and relative path for a helper: a share's directory is reached from the job's mounts, anything else from "/".
std::pair<std::string, std::string> split_at_root(const std::string& path, const std::string& mount_root) {
  if (path.rfind(mount_root + "/", 0) == 0) return {mount_root, path.substr(mount_root.size() + 1)};
  const auto start = path.find_first_not_of('/');
  return {"/", start == std::string::npos ? std::string(".") : path.substr(start)};
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
      x_paths(paths_of(context, x_place, held.id)),
      x_events(std::move(events)),
      x_run(held.run_ordered) {
  x_stdouterr = stdouterr_directory(*x_launch, x_paths);
  if (x_stdouterr.empty() || x_stdouterr.front() != '/') x_stdouterr = x_paths.job_temp + "/" + x_stdouterr;
}

void Executor::say(const std::string& line) const {
  spdlog::info("{}: {}", x_place.name, line);
  const UniqueFd file(::open(x_place.log("execution.log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  const std::string text = fmt::format("{} {}: {}\n", wall_time(), x_context.node_name, line);
  if (file.valid() && !write_fully(file.get(), text.data(), text.size())) {
    spdlog::warn("{}: cannot write the execution log", x_place.name);
  }
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
  say(fmt::format("preparing attempt {} of job {} ({} of {} nodes)", x_id.attempt, x_launch->job_name, x_member + 1,
                  x_launch->members.size()));
  x_mounting = 0;
  mount_next();
}

Status Executor::make_place() {
  auto made = make_local_directories({x_place.spool, x_place.spool + "/logs", x_place.job, x_place.run,
                                      x_paths.job_mount_root, x_paths.job_temp, x_paths.home, x_paths.shared_job_temp});
  if (!made) return made;
  const UniqueFd hostfile(::open(x_paths.hostfile.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  const std::string text = hostfile_text(*x_launch);
  if (!hostfile.valid() || !write_fully(hostfile.get(), text.data(), text.size())) {
    return system_error("cannot write " + x_paths.hostfile, errno);
  }
  // The shim goes to the sibling of the payload's cgroup, so that killing the payload leaves the logs' owner alive.
  if (auto created = Cgroup(x_place.cgroup + "/shim").create(); !created) return created;
  return Cgroup(x_place.job_cgroup()).create();
}

void Executor::mount_next() {
  if (x_mounting == x_launch->volumes.size()) return rotate_old_logs();
  const Volume& volume = x_launch->volumes[x_mounting];
  if (!is_safe_relative(volume.relative_mount_path)) {
    return fail_preparation({.code = "AZFMountError",
                             .message = "relativeMountPath '" + volume.relative_mount_path +
                                        "' must be a relative path without '.' and '..' parts"});
  }
  MountModes modes;
  if (x_mounting < x_launch->spec.file_shares.size()) {
    modes = {x_launch->spec.file_shares[x_mounting].file_mode, x_launch->spec.file_shares[x_mounting].directory_mode};
  }
  x_context.mounter->mount(volume, x_paths.job_mount_root + "/" + volume.relative_mount_path, modes, kMountDeadlineMs,
                           step(&Executor::mounted));
}

void Executor::mounted(Status status) {
  const Volume& volume = x_launch->volumes[x_mounting];
  if (!status) {
    return fail_preparation(
        {.code = "AZFMountError",
         .message = fmt::format("cannot mount {} at {} on node {}: {}", volume.source, volume.relative_mount_path,
                                x_context.node_name, status.error().message),
         .details = {{"node", x_context.node_name}},
         .infrastructure = is_machines_fault(status.error().code)});
  }
  say(fmt::format("mounted {} at {}", volume.source, volume.relative_mount_path));
  ++x_mounting;
  mount_next();
}

// stdouterr/ holds the newest attempt; the head (on a directory of the node's own: every node) puts older files away.
void Executor::rotate_old_logs() {
  const auto [root, path] = split_at_root(x_stdouterr, x_paths.job_mount_root);
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
  std::vector<std::string> under_mounts, elsewhere;
  std::vector<std::string> all = output_directories(*x_launch, x_paths);
  all.push_back(x_stdouterr);
  for (const std::string& directory : all) {
    const auto [root, path] = split_at_root(directory, x_paths.job_mount_root);
    (root == "/" ? elsewhere : under_mounts).push_back(path);
  }
  std::vector<std::string> words{"mkdir", under_mounts.empty() ? "/" : x_paths.job_mount_root};
  const auto& now = under_mounts.empty() ? elsewhere : under_mounts;
  words.insert(words.end(), now.begin(), now.end());
  x_left_directories = under_mounts.empty() ? std::vector<std::string>() : elsewhere;
  run_helper(x_context.io, helper_command(x_context, words), {}, kDirectoryDeadlineMs,
             step(&Executor::output_directories_made));
}

void Executor::output_directories_made(HelperResult result) {
  if (result.exit_code != 0) return output_directory_failed(result);
  if (!x_left_directories.empty()) {
    std::vector<std::string> words{"mkdir", "/"};
    words.insert(words.end(), x_left_directories.begin(), x_left_directories.end());
    x_left_directories.clear();
    return run_helper(x_context.io, helper_command(x_context, words), {}, kDirectoryDeadlineMs,
                      step(&Executor::output_directories_made));
  }
  touch(x_place.marker("directories"));
  if (logs_may_begin()) begin_logs();
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
  const std::string tail = tail_of(x_place.log("prep.err"));
  fail_preparation({.code = "JobPreparationFailed",
                    .message = fmt::format("the job preparation exited with code {} on node {}{}", seen.exit.exit_code,
                                           x_context.node_name, tail.empty() ? "" : "; its last lines: " + tail),
                    .details = {{"node", x_context.node_name}, {"exitCode", std::to_string(seen.exit.exit_code)}}});
}

void Executor::fail_preparation(NodeError error) {
  say(error.message);
  post([self = shared_from_this(), error = std::move(error)] { self->x_events.prepared({self->x_id, error}); });
}

// ---- Run ----

ShimSpec Executor::process(const std::string& script) const {
  ShimSpec spec;
  spec.argv = {"/bin/bash", "-c", script};
  spec.environment = job_environment(*x_launch, x_member, x_gpu_uuids, x_paths, x_context.facts);
  spec.working_directory = x_paths.job_temp;
  spec.cgroup = x_place.job_cgroup();
  spec.lease_path = lease_path(x_context);
  spec.lease_ms = x_lease_ms;
  return spec;
}

void Executor::run() {
  if (std::exchange(x_run, true) || x_stopping) return;
  if (path_exists(x_place.marker("directories"))) begin_logs();
}

void Executor::start_head() {
  if (x_stopping) return;
  const std::string directory = x_place.spool + "/head";
  ShimSpec spec = process(head_script(*x_launch, x_paths, x_context.facts));
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
  }
  if (seen.exit.dropped_bytes > 0) say(fmt::format("{} bytes of output were lost: disk full", seen.exit.dropped_bytes));
  x_events.head_ended(ended);
}

void Executor::adopt(const HeldAttempt& held) {
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
  return x_id.attempt <= 1 || alone || x_run || x_stopping ||
         split_at_root(x_stdouterr, x_paths.job_mount_root).first == "/";
}

std::vector<LogShipper::File> Executor::log_files() const {
  const OutputNames names = output_names(*x_launch, x_member);
  const std::string base = split_at_root(x_stdouterr, x_paths.job_mount_root).second + "/";
  std::vector<LogShipper::File> files{{x_place.log("execution.log"), base + names.execution_log}};
  if (!preparation_script(*x_launch).empty()) {
    files.push_back({x_place.log("prep.out"), base + names.prep_stdout});
    files.push_back({x_place.log("prep.err"), base + names.prep_stderr});
  }
  if (x_member == 0) {
    files.push_back({x_place.log("head.out"), base + names.head_stdout});
    files.push_back({x_place.log("head.err"), base + names.head_stderr});
  }
  return files;
}

void Executor::begin_logs() {
  if (x_logs) return;
  x_logs =
      std::make_shared<LogShipper>(x_context, split_at_root(x_stdouterr, x_paths.job_mount_root).first, log_files());
  x_logs->start();
}

// ---- Stop ----

void Executor::stop(DurationMs grace_ms) {
  if (x_cleaner) return x_cleaner->shorten(grace_ms);
  x_grace_ms = x_stopping ? std::min(x_grace_ms, grace_ms) : grace_ms;
  if (std::exchange(x_stopping, true)) return;
  say(fmt::format("stopping (grace {} ms)", grace_ms));
  x_preparation_watch = nullptr;
  x_head_watch = nullptr;
  begin_clean();
}

void Executor::begin_clean() {
  if (x_helpers_under_way > 0 || x_cleaner) return;
  const auto mounts = mounts_under(x_place.job);
  const bool all_mounted = std::all_of(x_launch->volumes.begin(), x_launch->volumes.end(), [&](const Volume& volume) {
    return std::find(mounts.begin(), mounts.end(), x_paths.job_mount_root + "/" + volume.relative_mount_path) !=
           mounts.end();
  });
  // A restarted agent may find the share gone already: then what was to be shipped was.
  if (path_exists(x_place.marker("directories")) && !path_exists(x_place.marker("shipped")) && all_mounted)
    begin_logs();
  x_cleaner = std::make_shared<Cleaner>(
      x_context, x_place, x_launch->volumes, x_logs,
      [self = shared_from_this()](const std::string& line) { self->say(line); },
      [self = shared_from_this()](CleanupReceipt receipt) {
        self->x_logs = nullptr;
        self->x_cleaner = nullptr;
        self->x_events.cleaned({self->x_id, receipt});
      });
  x_cleaner->start(x_grace_ms);
}

}  // namespace trainyard::agent
