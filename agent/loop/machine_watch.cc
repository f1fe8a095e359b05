#include "agent/loop/machine_watch.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <utility>

#include "agent/exec/files.h"
#include "agent/volumes/helper.h"

namespace trainyard::agent {
namespace {

constexpr DurationMs kDoctorDeadlineMs = 60'000;
constexpr DurationMs kMemoryPauseMs = 250;

}  // namespace

struct MachineWatch::Waiting {
  std::vector<std::string> uuids;
  Part done;
  boost::asio::steady_timer timer;
  TimeMs since_ms = 0;
  std::uint64_t bytes_at_first = 0;
  bool looked = false;
};

MachineWatch::MachineWatch(boost::asio::io_context& io, std::shared_ptr<GpuWatch> gpus, Inventory inventory,
                           WatchSettings settings, Changed changed, std::function<bool()> idle)
    : x_io(io),
      x_gpus(std::move(gpus)),
      x_inventory(std::move(inventory)),
      x_settings(std::move(settings)),
      x_changed(std::move(changed)),
      x_idle(std::move(idle)),
      x_ledger(x_inventory.gpus),
      x_gpu_timer(io),
      x_doctor_timer(io) {}

void MachineWatch::start() {
  if (x_gpus) look();
  if (!x_settings.doctor.empty()) examine_in(x_settings.doctor_every_ms / 5);
}

void MachineWatch::stop() {
  x_gpu_timer.cancel();
  x_doctor_timer.cancel();
}

// ---- GPUs ----

void MachineWatch::look() {
  x_gpus->ask_states([this](const std::optional<GpuStates>& states) {
    if (states) take(*states);
    look_later();
  });
}

void MachineWatch::look_later() {
  x_gpu_timer.expires_after(std::chrono::milliseconds(x_settings.gpus_every_ms));
  x_gpu_timer.async_wait([this](const boost::system::error_code& error) {
    if (!error) look();
  });
}

void MachineWatch::take(const GpuStates& states) {
  x_ledger.take(states, x_idle());
  std::vector<Gpu> gpus = x_ledger.gpus();
  share_cores(x_settings.cores, gpus);
  if (gpus == x_inventory.gpus) return;
  x_inventory.gpus = std::move(gpus);
  for (const Gpu& gpu : x_inventory.gpus) {
    if (!gpu.fault.empty()) spdlog::warn("GPU {} is out of service: {}", gpu.uuid, gpu.fault);
  }
  x_changed(x_inventory);
}

void MachineWatch::forget_faults() {
  x_ledger.forget_faults();
  if (!x_gpus) return;
  x_gpus->restart();  // what its process remembers of XID events is forgotten, too
  x_gpus->ask_states([this](const std::optional<GpuStates>& states) {
    if (states) take(*states);
  });
}

void MachineWatch::wait_for_memory(const std::vector<std::string>& uuids, Part done) {
  std::vector<std::string> real;
  for (const Gpu& gpu : x_inventory.gpus) {
    const bool given = std::find(uuids.begin(), uuids.end(), gpu.uuid) != uuids.end();
    if (given && !gpu.pretend) real.push_back(gpu.uuid);
  }
  if (real.empty() || !x_gpus) return done(std::nullopt);
  look_at_memory(std::make_shared<Waiting>(
      Waiting{std::move(real), std::move(done), boost::asio::steady_timer(x_io), boottime_ms()}));
}

void MachineWatch::look_at_memory(const std::shared_ptr<Waiting>& waiting) {
  x_gpus->ask_states([this, waiting](const std::optional<GpuStates>& states) { memory_seen(waiting, states); });
}

void MachineWatch::memory_seen(const std::shared_ptr<Waiting>& waiting, const std::optional<GpuStates>& states) {
  const DurationMs took_ms = boottime_ms() - waiting->since_ms;
  const bool over = took_ms >= x_settings.memory_patience_ms;
  bool free = states.has_value();
  std::uint64_t bytes = 0;
  for (const std::string& uuid : waiting->uuids) {
    const auto left = states ? x_ledger.left_on(uuid, *states) : std::nullopt;
    if (!left) continue;
    free = false;
    bytes += left->bytes;
    if (over) x_ledger.mark_not_free(uuid, left->text);
  }
  if (states && !std::exchange(waiting->looked, true)) waiting->bytes_at_first = bytes;
  if (!free && !over) {
    waiting->timer.expires_after(std::chrono::milliseconds(kMemoryPauseMs));
    waiting->timer.async_wait([this, waiting](const boost::system::error_code& error) {
      if (!error) look_at_memory(waiting);
    });
    return;
  }
  if (states) {
    take(*states);
  } else {
    spdlog::warn("the driver does not say whether the memory of {} GPU(s) is free", waiting->uuids.size());
  }
  waiting->done(CleanupPart{"gpuMemory", waiting->bytes_at_first, took_ms});
}

// ---- The doctor ----

void MachineWatch::examine_in(DurationMs pause_ms) {
  x_doctor_timer.expires_after(std::chrono::milliseconds(pause_ms));
  x_doctor_timer.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    run_helper(x_io, x_settings.doctor, {}, kDoctorDeadlineMs, [this](const HelperResult& result) {
      take_findings(result.output);
      examine_in(x_settings.doctor_every_ms);
    });
  });
}

void MachineWatch::take_findings(const std::string& text) {
  const nlohmann::json list = nlohmann::json::parse(text, nullptr, false);
  if (!list.is_array()) return spdlog::warn("trainyard-agent doctor did not answer: {}", text.substr(0, 200));
  std::vector<Finding> findings;
  for (const auto& one : list) {
    const std::string state = one.value("state", "");
    if (state != "trouble" && state != "broken") continue;
    findings.push_back({one.value("check", ""), state == "broken" ? "error" : "warning",
                        one.value("found", "") + ": " + one.value("advice", "")});
  }
  // The same in other words, with another number in it, is nothing new.
  const auto same = [](const Finding& a, const Finding& b) { return a.check == b.check && a.level == b.level; };
  const std::vector<Finding>& known = x_inventory.findings;
  if (std::equal(findings.begin(), findings.end(), known.begin(), known.end(), same)) return;
  x_inventory.findings = std::move(findings);
  x_changed(x_inventory);
}

}  // namespace trainyard::agent
