#include "agent/loop/launch_relay.h"

#include <dirent.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

constexpr DurationMs kResendMs = 1'000;
constexpr DurationMs kAskAfterRunningMs = 5'000;

// Node names and keys become part of a directory's name.
bool is_plain(const std::string& text) {
  return !text.empty() && text.size() <= 128 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' ||
           c == '-';
  });
}

// The name's two parts are joined by a sign that neither of them has.
std::string directory_name(const LaunchId& id) {
  return "launch-" + id.from_node + "," + id.key;
}

std::optional<LaunchId> id_of_directory(AttemptId attempt, const std::string& name) {
  const auto comma = name.find(',');
  if (name.rfind("launch-", 0) != 0 || comma == std::string::npos) return std::nullopt;
  return LaunchId{attempt, name.substr(7, comma - 7), name.substr(comma + 1)};
}

LaunchState to_socket_state(LaunchStatus::State state) {
  switch (state) {
    case LaunchStatus::State::running:
      return LaunchState::running;
    case LaunchStatus::State::exited:
      return LaunchState::exited;
    case LaunchStatus::State::refused:
      return LaunchState::refused;
    case LaunchStatus::State::unreachable:
      break;
  }
  return LaunchState::unreachable;
}

}  // namespace

LaunchRelay::LaunchRelay(ExecutorContext& context, Hooks hooks)
    : x_context(context), x_hooks(std::move(hooks)), x_timer(context.io) {}

void LaunchRelay::open(AttemptId id) {
  const auto executor = x_hooks.executor(id);
  if (!executor || x_sockets.contains(id)) return;
  auto socket =
      LaunchSocket::open(x_context.io, executor->paths().socket, Cgroup(executor->place().job_cgroup()),
                         executor->user().uid, [this, id](const LaunchRequest& request) { on_request(id, request); });
  if (socket) {
    x_sockets.emplace(id, std::move(socket).value());
  } else {
    executor->say("no process can be started on other nodes: " + socket.error().message);
  }
  DIR* directory = ::opendir(executor->place().spool.c_str());
  if (directory == nullptr) return;
  while (const dirent* entry = ::readdir(directory)) {
    const auto launch = id_of_directory(id, entry->d_name);
    if (!launch || x_targets.contains(*launch)) continue;
    const std::string path = executor->place().spool + "/" + entry->d_name;
    // Spooled but never started: the asker repeats its request, then it is started.
    if (observe_shim(path).state != ShimState::never_started) watch(*launch, path);
  }
  ::closedir(directory);
}

void LaunchRelay::close(AttemptId id) {
  x_sockets.erase(id);
  const auto of_attempt = [id](const auto& entry) { return entry.first.attempt == id; };
  std::erase_if(x_asks, of_attempt);
  std::erase_if(x_targets, of_attempt);
  std::erase_if(x_parked, of_attempt);
}

// ---- Asking side ----

void LaunchRelay::on_request(AttemptId id, const LaunchRequest& request) {
  const LaunchId launch{id, x_context.node_name, request.key};
  const auto [found, is_new] = x_asks.try_emplace(launch);
  Ask& ask = found->second;
  if (is_new) ask.call = {launch, request.host, request.command, request.task};
  if (ask.answer) return tell(*ask.answer);
  send(ask);
  schedule();
}

void LaunchRelay::send(Ask& ask) {
  ask.sent_ms = boottime_ms();
  const auto executor = x_hooks.executor(ask.call.id.attempt);
  if (executor && executor->is_at(ask.call.to_host)) return on_call(ask.call);
  x_hooks.send_call(ask.call);
}

void LaunchRelay::schedule() {
  if (x_scheduled || x_asks.empty()) return;
  x_scheduled = true;
  x_timer.expires_after(std::chrono::milliseconds(kResendMs));
  x_timer.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    x_scheduled = false;
    const TimeMs now = boottime_ms();
    for (auto& [id, ask] : x_asks) {
      if (ask.answer) continue;
      if (now - ask.sent_ms >= (ask.running ? kAskAfterRunningMs : kResendMs)) send(ask);
    }
    schedule();
  });
}

void LaunchRelay::link_up() {
  for (auto& [id, ask] : x_asks) {
    if (!ask.answer) send(ask);
  }
}

void LaunchRelay::on_status(const LaunchStatus& status) {
  const auto found = x_asks.find(status.id);
  if (found == x_asks.end()) return;
  Ask& ask = found->second;
  if (ask.answer) return;
  if (status.state == LaunchStatus::State::running) ask.running = true;
  if (status.state == LaunchStatus::State::exited || status.state == LaunchStatus::State::refused) ask.answer = status;
  tell(status);
}

void LaunchRelay::tell(const LaunchStatus& status) {
  const auto socket = x_sockets.find(status.id.attempt);
  if (socket == x_sockets.end()) return;
  socket->second->notify(status.id.key, to_socket_state(status.state), status.exit_code, status.message);
}

// ---- Target side ----

void LaunchRelay::on_call(const LaunchCall& call) {
  if (!is_plain(call.id.from_node) || !is_plain(call.id.key)) return refuse(call.id, "not a launch id");
  const auto known = x_targets.find(call.id);
  if (known != x_targets.end()) return report(known->second.status);
  const auto executor = x_hooks.executor(call.id.attempt);
  if (executor && x_hooks.accepts_launch(call.id.attempt)) return start(call, executor);
  if (executor && x_hooks.may_accept_later(call.id.attempt)) {
    x_parked.insert_or_assign(call.id, call);
    return;
  }
  refuse(call.id, "node " + x_context.node_name + " does not run job " + std::to_string(call.id.attempt.job.value) +
                      " attempt " + std::to_string(call.id.attempt.attempt));
}

void LaunchRelay::phase_run(AttemptId id) {
  std::vector<LaunchCall> calls;
  for (const auto& [launch, call] : x_parked) {
    if (launch.attempt == id) calls.push_back(call);
  }
  for (const LaunchCall& call : calls) {
    x_parked.erase(call.id);
    on_call(call);
  }
}

void LaunchRelay::start(const LaunchCall& call, const std::shared_ptr<Executor>& executor) {
  const std::string directory = executor->place().spool + "/" + directory_name(call.id);
  if (observe_shim(directory).state == ShimState::never_started) {
    const auto spec = call.task ? executor->task(*call.task, call.id.from_node, call.id.key)
                                : Result<ShimSpec>(executor->process(launch_script(call.shell_command)));
    if (!spec) return refuse(call.id, spec.error().message);
    if (const auto written = write_shim_spec(directory, *spec); !written) {
      return refuse(call.id, written.error().message);
    }
    const auto started = start_shim(x_context.shim_program, directory);
    if (!started && started.error().code != Code::already_exists) return refuse(call.id, started.error().message);
    executor->say("started " + (call.task ? call.id.key : "a process") + " for " + call.id.from_node);
  }
  watch(call.id, directory);
  report(x_targets.at(call.id).status);
}

void LaunchRelay::watch(const LaunchId& id, const std::string& directory) {
  Target& target = x_targets[id];
  target.status = {.id = id, .state = LaunchStatus::State::running, .exit_code = 0, .message = {}};
  target.watch =
      std::make_unique<ShimWatch>(x_context.io, directory, [this, id](ShimObservation seen) { ended(id, seen); });
}

void LaunchRelay::ended(const LaunchId& id, const ShimObservation& seen) {
  const auto found = x_targets.find(id);
  if (found == x_targets.end()) return;
  LaunchStatus& status = found->second.status;
  status.state = LaunchStatus::State::exited;
  status.exit_code = seen.exit.exit_code;
  status.message = seen.exit.error;
  if (seen.state == ShimState::lost || !seen.exit.error.empty()) {
    status.exit_code = 255;
    status.message = seen.state == ShimState::lost ? "the supervisor of the process died on node " + x_context.node_name
                                                   : seen.exit.error;
    x_hooks.peer_lost({id.attempt, {.code = "ShimLost", .message = status.message, .infrastructure = true}});
  } else if (const auto executor = x_hooks.executor(id.attempt)) {
    status.message = executor->launch_ended(id.key, seen.exit);
  }
  report(status);
}

void LaunchRelay::refuse(const LaunchId& id, const std::string& message) {
  spdlog::info("launch of {} refused: {}", id.from_node, message);
  report({.id = id, .state = LaunchStatus::State::refused, .exit_code = 255, .message = message});
}

void LaunchRelay::report(const LaunchStatus& status) {
  if (status.id.from_node == x_context.node_name) return on_status(status);
  x_hooks.send_status(status);
}

}  // namespace trainyard::agent
