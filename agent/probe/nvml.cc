// NVIDIA's management library by dlopen: neither its header nor a stub is packaged in Debian, so the few functions that
// are needed are declared here.
#include <dlfcn.h>

#include "agent/probe/inventory.h"

namespace trainyard::agent {
namespace {

using Device = void*;
struct Memory {
  unsigned long long total, free, used;
};
constexpr int kSuccess = 0;
constexpr unsigned kTextSize = 96;

template <class Function>
bool load(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(::dlsym(library, name));
  return function != nullptr;
}

}  // namespace

std::vector<Gpu> nvidia_gpus() {
  std::vector<Gpu> gpus;
  // Stays loaded: unloading a driver's library is asking for trouble.
  void* library = ::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return gpus;
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*count_devices)(unsigned*) = nullptr;
  int (*device_at)(unsigned, Device*) = nullptr;
  int (*uuid_of)(Device, char*, unsigned) = nullptr;
  int (*name_of_device)(Device, char*, unsigned) = nullptr;
  int (*memory_of)(Device, Memory*) = nullptr;
  const bool loaded =
      load(library, "nvmlInit_v2", init) && load(library, "nvmlShutdown", shutdown) &&
      load(library, "nvmlDeviceGetCount_v2", count_devices) &&
      load(library, "nvmlDeviceGetHandleByIndex_v2", device_at) && load(library, "nvmlDeviceGetUUID", uuid_of) &&
      load(library, "nvmlDeviceGetName", name_of_device) && load(library, "nvmlDeviceGetMemoryInfo", memory_of);
  if (!loaded || init() != kSuccess) return gpus;
  unsigned count = 0;
  if (count_devices(&count) != kSuccess) count = 0;
  for (unsigned i = 0; i < count; ++i) {
    Device device = nullptr;
    char uuid[kTextSize] = "", model[kTextSize] = "";
    Memory memory{};
    // A GPU that cannot be named cannot be given to a job.
    if (device_at(i, &device) != kSuccess || uuid_of(device, uuid, kTextSize) != kSuccess) continue;
    if (name_of_device(device, model, kTextSize) != kSuccess) model[0] = '\0';
    if (memory_of(device, &memory) != kSuccess) memory.total = 0;
    gpus.push_back({.uuid = uuid, .model = model, .memory_bytes = memory.total, .pretend = false});
  }
  shutdown();
  return gpus;
}

}  // namespace trainyard::agent
