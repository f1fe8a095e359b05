// The part of the agent's core about file servers that run here: what is ordered is served, what is ordered to be
// removed is, and of all others only the servers end.
#include <algorithm>

#include "agent/core/agent_core.h"

namespace trainyard::agent {
namespace {

constexpr DurationMs kFirstPauseMs = 1'000, kLongestPauseMs = 60'000;
// A server that was up for so long had no failure before.
constexpr DurationMs kStableMs = 60'000;

}  // namespace

void AgentCore::act_on(const std::vector<FileServerOrder>& orders) {
  std::set<std::uint64_t> listed;
  for (const FileServerOrder& order : orders) listed.insert(order.id);
  if (std::erase_if(x_file_servers, [&](const auto& held) { return !listed.contains(held.first); }) != 0) {
    x_changed = true;
  }
  // Also the first time in this life: an earlier one may have served what is not ordered any more.
  if (x_file_servers_ordered != listed) x_actions.push_back(EndOtherFileServers{listed});
  x_file_servers_ordered = std::move(listed);
  for (const FileServerOrder& order : orders) {
    const auto [at, added] = x_file_servers.try_emplace(order.id);
    if (added || (order.remove && !at->second.order.remove)) begin(at->second, order);
  }
}

void AgentCore::begin(HeldFileServer& held, const FileServerOrder& order) {
  held = {};
  held.order = order;
  held.report.id = order.id;
  held.report.state = order.remove ? FileServerState::stopping : FileServerState::starting;
  x_changed = true;
  if (order.remove) {
    x_actions.push_back(RemoveFileServer{order});
  } else {
    x_actions.push_back(ServeFiles{order});
  }
}

void AgentCore::on(const FileServerUp& input) {
  const auto found = x_file_servers.find(input.id);
  if (found == x_file_servers.end() || found->second.order.remove) return;
  HeldFileServer& held = found->second;
  held.report = {input.id, FileServerState::serving, input.address, input.export_path, {}, input.port};
  held.retry_ms = 0;
  held.up_since_ms = x_now_ms;
  x_changed = true;
}

void AgentCore::on(const FileServerDown& input) {
  const auto found = x_file_servers.find(input.id);
  if (found == x_file_servers.end() || found->second.order.remove) return;
  HeldFileServer& held = found->second;
  const bool was_up = held.report.state == FileServerState::serving;
  if (was_up && x_now_ms >= held.up_since_ms + kStableMs) held.failures = 0;
  held.report = {.id = input.id, .state = FileServerState::failed};
  retry_later(held, input.error);
}

void AgentCore::on(const FileServerRemoved& input) {
  const auto found = x_file_servers.find(input.id);
  if (found == x_file_servers.end() || !found->second.order.remove || found->second.removed) return;
  if (!input.error.empty()) return retry_later(found->second, input.error);
  found->second.removed = true;
  found->second.retry_ms = 0;
  x_changed = true;
}

void AgentCore::retry_later(HeldFileServer& held, const std::string& error) {
  held.report.error_message = error.empty() ? "failed without a reason" : error;
  DurationMs pause = kFirstPauseMs;
  for (std::uint32_t i = 0; i < held.failures && pause < kLongestPauseMs; ++i) pause *= 2;
  held.retry_ms = x_now_ms + std::min(pause, kLongestPauseMs);
  ++held.failures;
  x_changed = true;
}

void AgentCore::retry_file_servers() {
  for (auto& [id, held] : x_file_servers) {
    if (held.retry_ms == 0 || x_now_ms < held.retry_ms) continue;
    held.retry_ms = 0;
    if (held.order.remove) {
      x_actions.push_back(RemoveFileServer{held.order});
    } else {
      x_actions.push_back(ServeFiles{held.order});
    }
  }
}

}  // namespace trainyard::agent
