// What an agent holds of its GPUs over time: which are faulty and why, and how much memory each uses when nobody has
// it. A fault by an XID event, or of a GPU that vanished, stays until forget_faults() or the agent's next start; one
// that the driver tells at each look, or of memory that is not free, ends with its cause. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/probe/gpu_states.h"

namespace trainyard::agent {

class GpuLedger {
 public:
  explicit GpuLedger(std::vector<Gpu> known) : x_gpus(std::move(known)) {}

  // `idle`: no job has a GPU of this machine.
  void take(const GpuStates& states, bool idle);
  const std::vector<Gpu>& gpus() const { return x_gpus; }

  struct Left {
    std::uint64_t bytes = 0;  // above the baseline
    std::string text;         // "912 MiB above its baseline, held by process 4711"
  };
  // What a job that is over left in that GPU's memory. Without a baseline (the agent began beside a job): what the
  // processes have that compute on it. Nothing of pretend GPUs.
  std::optional<Left> left_on(const std::string& uuid, const GpuStates& states) const;
  void mark_not_free(const std::string& uuid, const std::string& text);
  // An operator has seen to it: what is still wrong is found again.
  void forget_faults();

 private:
  std::string fault_of(const Gpu& gpu, const GpuStates& states);
  std::vector<Gpu> x_gpus;
  std::map<std::string, std::string> x_lasting, x_not_free;  // by UUID
  std::map<std::string, std::uint64_t> x_baseline;
};

}  // namespace trainyard::agent
