// NVIDIA's management library by dlopen: neither its header nor a stub is packaged in Debian, so the few functions that
// are needed are declared in nvml.cc. Blocking: a driver may hang in any of them, so they are called before the agent's
// loop runs (inventory) or in a process of their own (trainyard-gpus). One thread.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/probe/gpu_states.h"
#include "agent/probe/nvlink.h"
#include "common/counters.h"
#include "common/model.h"

namespace trainyard::agent {

inline constexpr int kNoDriver = 3;  // trainyard-gpus ends with it where open() is null

class Nvml {
 public:
  // Null where there is no library, no driver, or one that cannot even list its GPUs.
  static std::optional<Nvml> open();
  Nvml(Nvml&& other) noexcept;
  ~Nvml();

  // GPUs that can be named: others cannot be given to a job. With their MIG instances behind them.
  std::vector<Gpu> gpus() const;
  // With what fails of them, memory and processes. From its first call on, XID events are listened to: a GPU that had a
  // fatal one stays faulty for as long as this object lives.
  // Null when the driver does not even list them now.
  std::optional<GpuStates> states();
  // How busy they are now. A function that an old driver lacks, or that a GPU does not support, leaves its value unset.
  std::vector<GpuCounters> counters() const;

 private:
  struct Functions;
  explicit Nvml(const Functions& functions);
  template <class Use>
  void for_each(Use use) const;
  using Islands = std::map<std::string, std::int32_t>;  // by UUID
  Gpu describe(void* device, const char* uuid, const Islands& islands) const;
  NvLinks links_of(void* device) const;
  bool is_gpu(const char* bus_id) const;
  Islands islands_by_uuid() const;
  GpuState look_at(void* device, Gpu gpu) const;
  template <class Use>
  void for_each_instance(void* device, Use use) const;
  void listen();
  void take_events();
  const Functions* x_functions;
  void* x_events = nullptr;                     // NVML's event set
  std::map<void*, std::string> x_uuids;         // of GPUs whose events are listened to: a lost one cannot be asked
  std::map<std::string, std::string> x_faults;  // by UUID
};

}  // namespace trainyard::agent
