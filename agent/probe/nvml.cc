#include "agent/probe/nvml.h"

#include <dlfcn.h>

#include <utility>

#include "agent/probe/inventory.h"

namespace trainyard::agent {
namespace {

using Device = void*;
struct Memory {
  unsigned long long total, free, used;
};
struct Utilization {
  unsigned gpu, memory;  // per cent of the last sample period
};
constexpr int kSuccess = 0;
constexpr int kGpuSensor = 0;  // NVML_TEMPERATURE_GPU
constexpr unsigned kTextSize = 96;

template <class Function>
bool load(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(::dlsym(library, name));
  return function != nullptr;
}

}  // namespace

struct Nvml::Functions {
  int (*init)() = nullptr;
  int (*shutdown)() = nullptr;
  int (*count_devices)(unsigned*) = nullptr;
  int (*device_at)(unsigned, Device*) = nullptr;
  int (*uuid_of)(Device, char*, unsigned) = nullptr;
  int (*name_of_device)(Device, char*, unsigned) = nullptr;
  int (*memory_of)(Device, Memory*) = nullptr;
  // Null where the driver is too old.
  int (*utilization_of)(Device, Utilization*) = nullptr;
  int (*power_of)(Device, unsigned*) = nullptr;  // mW
  int (*temperature_of)(Device, int, unsigned*) = nullptr;

  bool load_from(void* library) {
    load(library, "nvmlDeviceGetUtilizationRates", utilization_of);
    load(library, "nvmlDeviceGetPowerUsage", power_of);
    load(library, "nvmlDeviceGetTemperature", temperature_of);
    return load(library, "nvmlInit_v2", init) && load(library, "nvmlShutdown", shutdown) &&
           load(library, "nvmlDeviceGetCount_v2", count_devices) &&
           load(library, "nvmlDeviceGetHandleByIndex_v2", device_at) && load(library, "nvmlDeviceGetUUID", uuid_of) &&
           load(library, "nvmlDeviceGetName", name_of_device) && load(library, "nvmlDeviceGetMemoryInfo", memory_of);
  }
};

std::optional<Nvml> Nvml::open() {
  // Stays loaded: unloading a driver's library is asking for trouble.
  void* library = ::dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return std::nullopt;
  static Functions functions;
  if (!functions.load_from(library) || functions.init() != kSuccess) return std::nullopt;
  return Nvml(functions);
}

Nvml::Nvml(const Functions& functions) : x_functions(&functions) {}

Nvml::Nvml(Nvml&& other) noexcept : x_functions(std::exchange(other.x_functions, nullptr)) {}

Nvml::~Nvml() {
  if (x_functions != nullptr) x_functions->shutdown();
}

// Asked for anew each time: a GPU may fall off, or come back.
template <class Use>
void Nvml::for_each(Use use) const {
  unsigned count = 0;
  if (x_functions->count_devices(&count) != kSuccess) return;
  for (unsigned i = 0; i < count; ++i) {
    Device device = nullptr;
    char uuid[kTextSize] = "";
    if (x_functions->device_at(i, &device) != kSuccess) continue;
    if (x_functions->uuid_of(device, uuid, kTextSize) == kSuccess) use(device, uuid);
  }
}

std::vector<Gpu> Nvml::gpus() const {
  std::vector<Gpu> gpus;
  for_each([&](Device device, const char* uuid) {
    char model[kTextSize] = "";
    Memory memory{};
    if (x_functions->name_of_device(device, model, kTextSize) != kSuccess) model[0] = '\0';
    if (x_functions->memory_of(device, &memory) != kSuccess) memory.total = 0;
    gpus.push_back({.uuid = uuid, .model = model, .memory_bytes = memory.total, .pretend = false});
  });
  return gpus;
}

std::vector<GpuCounters> Nvml::counters() const {
  std::vector<GpuCounters> gpus;
  for_each([&](Device device, const char* uuid) {
    GpuCounters gpu;
    gpu.uuid = uuid;
    Memory memory{};
    Utilization utilization{};
    unsigned number = 0;
    const Functions& f = *x_functions;
    if (f.utilization_of && f.utilization_of(device, &utilization) == kSuccess) {
      gpu.utilization_percent = utilization.gpu;
    }
    if (f.memory_of(device, &memory) == kSuccess) gpu.memory_used_bytes = memory.used;
    if (f.power_of && f.power_of(device, &number) == kSuccess) gpu.power_watts = number / 1000.0;
    if (f.temperature_of && f.temperature_of(device, kGpuSensor, &number) == kSuccess) {
      gpu.temperature_celsius = number;
    }
    gpus.push_back(std::move(gpu));
  });
  return gpus;
}

std::vector<Gpu> nvidia_gpus() {
  const auto nvml = Nvml::open();
  return nvml ? nvml->gpus() : std::vector<Gpu>();
}

}  // namespace trainyard::agent
