#include "agent/probe/gpu_ledger.h"

#include <algorithm>

namespace trainyard::agent {
namespace {

constexpr std::uint64_t kMiB = 1024 * 1024;
constexpr std::uint64_t kSlack = 64 * kMiB;  // a driver's own use goes up and down

const GpuState* find_state(const GpuStates& states, const std::string& uuid) {
  const auto found = std::find_if(states.gpus.begin(), states.gpus.end(),
                                  [&](const GpuState& state) { return state.gpu.uuid == uuid; });
  return found == states.gpus.end() ? nullptr : &*found;
}

}  // namespace

std::string GpuLedger::fault_of(const Gpu& gpu, const GpuStates& states) {
  if (const auto told = states.faults.find(gpu.uuid); told != states.faults.end()) x_lasting.insert(*told);
  const GpuState* state = find_state(states, gpu.uuid);
  if (state == nullptr) x_lasting.try_emplace(gpu.uuid, "it does not answer any more: it is lost, or fell off the bus");
  if (const auto lasting = x_lasting.find(gpu.uuid); lasting != x_lasting.end()) return lasting->second;
  if (!state->gpu.fault.empty()) return state->gpu.fault;
  if (!left_on(gpu.uuid, states)) x_not_free.erase(gpu.uuid);
  const auto not_free = x_not_free.find(gpu.uuid);
  return not_free == x_not_free.end() ? "" : not_free->second;
}

void GpuLedger::take(const GpuStates& states, bool idle) {
  for (const GpuState& state : states.gpus) {
    if (!idle || !state.pids.empty() || !state.memory_used_bytes || x_not_free.contains(state.gpu.uuid)) continue;
    auto& baseline = x_baseline.try_emplace(state.gpu.uuid, *state.memory_used_bytes).first->second;
    baseline = std::min(baseline, *state.memory_used_bytes);
  }
  std::vector<Gpu> next;
  for (const Gpu& gpu : x_gpus) {
    const GpuState* state = find_state(states, gpu.uuid);
    if (state == nullptr && !gpu.parent_uuid.empty()) continue;  // an operator removed the MIG instance
    next.push_back(state == nullptr ? gpu : state->gpu);
    if (!gpu.pretend) next.back().fault = fault_of(gpu, states);
  }
  for (const GpuState& state : states.gpus) {
    const auto same = [&](const Gpu& gpu) { return gpu.uuid == state.gpu.uuid; };
    if (std::any_of(next.begin(), next.end(), same)) continue;
    next.push_back(state.gpu);
    next.back().fault = fault_of(state.gpu, states);
  }
  x_gpus = std::move(next);
}

std::optional<GpuLedger::Left> GpuLedger::left_on(const std::string& uuid, const GpuStates& states) const {
  const GpuState* state = find_state(states, uuid);
  if (state == nullptr) return std::nullopt;
  const std::uint64_t used = state->memory_used_bytes.value_or(0);
  const auto baseline = x_baseline.find(uuid);
  Left left;
  if (baseline != x_baseline.end()) {
    if (used <= baseline->second + kSlack) return std::nullopt;
    left.bytes = used - baseline->second;
    left.text = std::to_string(left.bytes / kMiB) + " MiB above its baseline";
  } else {
    if (state->pids.empty()) return std::nullopt;
    left.bytes = used;
    left.text = std::to_string(used / kMiB) + " MiB are used";
  }
  for (const std::uint32_t pid : state->pids) {
    left.text += (pid == state->pids.front() ? ", held by process " : ", ") + std::to_string(pid);
  }
  return left;
}

void GpuLedger::mark_not_free(const std::string& uuid, const std::string& text) {
  x_not_free[uuid] = "its memory is not free: " + text;
}

void GpuLedger::forget_faults() {
  x_lasting.clear();
}

}  // namespace trainyard::agent
