// Watches what can change of the machine while the agent runs: its GPUs (gone, faulty, not given back by a job) and
// what `trainyard-agent doctor` finds. Tells the loop when the inventory is another one. Everything that may hang is in
// processes: GpuWatch's, and the doctor as a child. Loop thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/loop/gpu_watch.h"
#include "agent/probe/gpu_ledger.h"
#include "agent/probe/shares.h"

namespace trainyard::agent {

struct WatchSettings {
  DurationMs gpus_every_ms = 10'000;
  DurationMs doctor_every_ms = 300'000;    // the first time after a fifth of it
  DurationMs memory_patience_ms = 15'000;  // until the memory of a job's GPUs must be free
  std::vector<std::string> doctor;         // the words that ask it for JSON; empty: it is not asked
  std::vector<Core> cores;                 // that go with the GPUs; empty: none do
};

class MachineWatch {
 public:
  using Changed = std::function<void(const Inventory&)>;
  using Part = std::function<void(std::optional<CleanupPart>)>;  // nothing: no real GPU
  // `gpus` may be null: a machine without any. `idle`: whether no job has a GPU now.
  MachineWatch(boost::asio::io_context& io, std::shared_ptr<GpuWatch> gpus, Inventory inventory, WatchSettings settings,
               Changed changed, std::function<bool()> idle);
  void start();
  void stop();
  // After a job that had these GPUs: `done` when their memory is back to what it was before, or when that was waited
  // for long enough; a GPU that keeps some is faulty then, and `changed` has been called before `done`.
  void wait_for_memory(const std::vector<std::string>& uuids, Part done);
  // The operator has seen to the GPUs: looks at them again, now.
  void forget_faults();

 private:
  struct Waiting;
  void look_later();
  void look();
  void take(const GpuStates& states);
  void examine_in(DurationMs pause_ms);
  void take_findings(const std::string& text);
  void look_at_memory(const std::shared_ptr<Waiting>& waiting);
  void memory_seen(const std::shared_ptr<Waiting>& waiting, const std::optional<GpuStates>& states);

  boost::asio::io_context& x_io;
  const std::shared_ptr<GpuWatch> x_gpus;
  Inventory x_inventory;
  const WatchSettings x_settings;
  const Changed x_changed;
  const std::function<bool()> x_idle;
  GpuLedger x_ledger;
  boost::asio::steady_timer x_gpu_timer, x_doctor_timer;
};

}  // namespace trainyard::agent
