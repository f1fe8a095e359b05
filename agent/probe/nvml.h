// NVIDIA's management library by dlopen: neither its header nor a stub is packaged in Debian, so the few functions that
// are needed are declared in nvml.cc. Blocking: a driver may hang in any of them, so they are called before the agent's
// loop runs (inventory) or in a process of their own (trainyard-gpus). One thread.
#pragma once

#include <optional>
#include <vector>

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

  // GPUs that can be named: others cannot be given to a job.
  std::vector<Gpu> gpus() const;
  // How busy they are now. A function that an old driver lacks, or that a GPU does not support, leaves its value unset.
  std::vector<GpuCounters> counters() const;

 private:
  struct Functions;
  explicit Nvml(const Functions& functions);
  template <class Use>
  void for_each(Use use) const;
  const Functions* x_functions;
};

}  // namespace trainyard::agent
