#include "agent/probe/nvml.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <fstream>
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
struct PciInfo {
  char legacy[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
};
struct ProcessInfo {
  unsigned pid;
  unsigned long long memory;
  unsigned gpu_instance, compute_instance;
};
struct EventData {
  Device device;
  unsigned long long type, data;
  unsigned gpu_instance, compute_instance;
};
constexpr int kSuccess = 0;
constexpr int kInsufficientSize = 7;
constexpr unsigned long long kXidCritical = 8;  // nvmlEventTypeXidCriticalError
constexpr int kUncorrected = 1, kVolatile = 0;  // NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC
constexpr unsigned kMostProcesses = 128;
constexpr unsigned kMostEvents = 1000;  // at one look
constexpr int kGpuSensor = 0;           // NVML_TEMPERATURE_GPU
constexpr unsigned kTextSize = 96;
constexpr unsigned kMostLinks = 36;  // of any GPU so far; what it lacks is refused
constexpr unsigned kSwitch = 2;      // NVML_NVLINK_DEVICE_TYPE_SWITCH
constexpr unsigned kVendorMask = 0xffff, kNvidia = 0x10de;

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
  int (*pci_of)(Device, PciInfo*) = nullptr;
  int (*processes_of)(Device, unsigned*, ProcessInfo*) = nullptr;
  int (*ecc_errors_of)(Device, int, int, unsigned long long*) = nullptr;
  int (*remapped_rows_of)(Device, unsigned*, unsigned*, unsigned*, unsigned*) = nullptr;
  int (*mig_mode_of)(Device, unsigned*, unsigned*) = nullptr;
  int (*most_instances_of)(Device, unsigned*) = nullptr;
  int (*instance_at)(Device, unsigned, Device*) = nullptr;
  int (*link_state_of)(Device, unsigned, unsigned*) = nullptr;
  int (*link_end_of)(Device, unsigned, PciInfo*) = nullptr;
  int (*link_end_type_of)(Device, unsigned, unsigned*) = nullptr;
  int (*create_events)(void**) = nullptr;
  int (*free_events)(void*) = nullptr;
  int (*register_events)(Device, unsigned long long, void*) = nullptr;
  int (*wait_event)(void*, EventData*, unsigned) = nullptr;

  bool load_from(void* library) {
    load(library, "nvmlDeviceGetPciInfo_v3", pci_of);
    load(library, "nvmlDeviceGetComputeRunningProcesses_v3", processes_of);
    load(library, "nvmlDeviceGetTotalEccErrors", ecc_errors_of);
    load(library, "nvmlDeviceGetRemappedRows", remapped_rows_of);
    load(library, "nvmlDeviceGetMigMode", mig_mode_of);
    load(library, "nvmlDeviceGetMaxMigDeviceCount", most_instances_of);
    load(library, "nvmlDeviceGetMigDeviceHandleByIndex", instance_at);
    load(library, "nvmlDeviceGetNvLinkState", link_state_of);
    load(library, "nvmlDeviceGetNvLinkRemotePciInfo_v2", link_end_of);
    load(library, "nvmlDeviceGetNvLinkRemoteDeviceType", link_end_type_of);
    load(library, "nvmlEventSetCreate", create_events);
    load(library, "nvmlEventSetFree", free_events);
    load(library, "nvmlDeviceRegisterEvents", register_events);
    load(library, "nvmlEventSetWait_v2", wait_event);
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

Nvml::Nvml(Nvml&& other) noexcept
    : x_functions(std::exchange(other.x_functions, nullptr)),
      x_events(std::exchange(other.x_events, nullptr)),
      x_uuids(std::move(other.x_uuids)),
      x_faults(std::move(other.x_faults)) {}

Nvml::~Nvml() {
  if (x_events != nullptr && x_functions->free_events) x_functions->free_events(x_events);
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

template <class Use>
void Nvml::for_each_instance(void* device, Use use) const {
  const Functions& f = *x_functions;
  unsigned on = 0, later = 0, most = 0;
  if (!f.mig_mode_of || !f.most_instances_of || !f.instance_at) return;
  if (f.mig_mode_of(device, &on, &later) != kSuccess || on == 0) return;
  if (f.most_instances_of(device, &most) != kSuccess) return;
  for (unsigned i = 0; i < most; ++i) {
    Device instance = nullptr;
    char uuid[kTextSize] = "";
    if (f.instance_at(device, i, &instance) != kSuccess) continue;
    if (f.uuid_of(instance, uuid, kTextSize) == kSuccess) use(instance, uuid);
  }
}

Gpu Nvml::describe(void* device, const char* uuid, const Islands& islands) const {
  char model[kTextSize] = "";
  Memory memory{};
  PciInfo pci{};
  if (x_functions->name_of_device(device, model, kTextSize) != kSuccess) model[0] = '\0';
  if (x_functions->memory_of(device, &memory) != kSuccess) memory.total = 0;
  Gpu gpu{.uuid = uuid, .model = model, .memory_bytes = memory.total, .pretend = false};
  if (x_functions->pci_of && x_functions->pci_of(device, &pci) == kSuccess) {
    gpu.pci_bus_id = pci.bus_id;
    gpu.numa_node = numa_node_of(gpu.pci_bus_id, "/sys");
  }
  if (const auto island = islands.find(uuid); island != islands.end()) gpu.nvlink_island = island->second;
  return gpu;
}

NvLinks Nvml::links_of(void* device) const {
  const Functions& f = *x_functions;
  NvLinks links;
  PciInfo own{};
  if (!f.link_state_of || !f.link_end_of || !f.pci_of || f.pci_of(device, &own) != kSuccess) return links;
  links.bus_id = own.bus_id;
  for (unsigned link = 0; link < kMostLinks; ++link) {
    unsigned active = 0, type = 0;
    PciInfo end{};
    if (f.link_state_of(device, link, &active) != kSuccess || active == 0) continue;
    if (f.link_end_of(device, link, &end) != kSuccess) continue;
    ++links.ends[end.bus_id];
    if (f.link_end_type_of && f.link_end_type_of(device, link, &type) == kSuccess) {
      links.to_switches += type == kSwitch ? 1 : 0;
    } else {
      // An older driver: what NVIDIA made is a GPU or a switch.
      links.to_switches += (end.device_id & kVendorMask) == kNvidia && !is_gpu(end.bus_id) ? 1 : 0;
    }
  }
  return links;
}

bool Nvml::is_gpu(const char* bus_id) const {
  bool found = false;
  for_each([&](Device device, const char*) {
    PciInfo pci{};
    if (x_functions->pci_of(device, &pci) == kSuccess && std::strcmp(pci.bus_id, bus_id) == 0) found = true;
  });
  return found;
}

Nvml::Islands Nvml::islands_by_uuid() const {
  std::vector<std::string> uuids;
  std::vector<NvLinks> links;
  for_each([&](Device device, const char* uuid) {
    uuids.push_back(uuid);
    links.push_back(links_of(device));
  });
  const auto numbers = islands(links);
  Islands found;
  for (std::size_t i = 0; i < uuids.size(); ++i) found[uuids[i]] = numbers[i];
  return found;
}

std::vector<Gpu> Nvml::gpus() const {
  const auto island_of = islands_by_uuid();
  std::vector<Gpu> gpus;
  for_each([&](Device device, const char* uuid) {
    gpus.push_back(describe(device, uuid, island_of));
    const std::string parent = uuid;
    const std::int32_t numa_node = gpus.back().numa_node;
    for_each_instance(device, [&](Device instance, const char* of_instance) {
      gpus.push_back(describe(instance, of_instance, island_of));
      gpus.back().parent_uuid = parent;
      gpus.back().numa_node = numa_node;
    });
  });
  return gpus;
}

GpuState Nvml::look_at(void* device, Gpu gpu) const {
  const Functions& f = *x_functions;
  GpuState state{std::move(gpu), std::nullopt, {}};
  Memory memory{};
  if (f.memory_of(device, &memory) == kSuccess) state.memory_used_bytes = memory.used;
  unsigned count = kMostProcesses;
  ProcessInfo processes[kMostProcesses] = {};
  if (f.processes_of) {
    const int result = f.processes_of(device, &count, processes);
    if (result != kSuccess && result != kInsufficientSize) count = 0;
    for (unsigned i = 0; i < std::min(count, kMostProcesses); ++i) state.pids.push_back(processes[i].pid);
  }
  unsigned long long errors = 0;
  unsigned corrected = 0, uncorrected = 0, pending = 0, failed = 0;
  if (f.ecc_errors_of && f.ecc_errors_of(device, kUncorrected, kVolatile, &errors) == kSuccess && errors != 0) {
    state.gpu.fault = std::to_string(errors) + " uncorrectable ECC error(s) since it was reset";
  }
  if (f.remapped_rows_of && f.remapped_rows_of(device, &corrected, &uncorrected, &pending, &failed) == kSuccess &&
      failed != 0) {
    state.gpu.fault = "rows of its memory could not be remapped: it must be replaced";
  }
  return state;
}

// A GPU that is new, or came back, is listened to as well.
void Nvml::listen() {
  const Functions& f = *x_functions;
  if (!f.create_events || !f.register_events || !f.wait_event) return;
  if (x_events == nullptr && f.create_events(&x_events) != kSuccess) x_events = nullptr;
  if (x_events == nullptr) return;
  for_each([&](Device device, const char* uuid) {
    if (x_uuids.contains(device)) return;
    if (f.register_events(device, kXidCritical, x_events) == kSuccess) x_uuids[device] = uuid;
  });
}

void Nvml::take_events() {
  if (x_events == nullptr) return;
  EventData event{};
  for (unsigned i = 0; i < kMostEvents && x_functions->wait_event(x_events, &event, 0) == kSuccess; ++i) {
    const auto uuid = x_uuids.find(event.device);
    const char* why = event.type == kXidCritical ? why_fatal(event.data) : nullptr;
    if (uuid == x_uuids.end() || why == nullptr) continue;
    x_faults.try_emplace(uuid->second, "XID " + std::to_string(event.data) + ": " + why);
  }
}

std::optional<GpuStates> Nvml::states() {
  unsigned count = 0;
  if (x_functions->count_devices(&count) != kSuccess) return std::nullopt;
  listen();
  take_events();
  const auto island_of = islands_by_uuid();
  GpuStates states;
  for_each([&](Device device, const char* uuid) {
    states.gpus.push_back(look_at(device, describe(device, uuid, island_of)));
    const Gpu parent = states.gpus.back().gpu;
    for_each_instance(device, [&](Device instance, const char* of_instance) {
      GpuState state = look_at(instance, describe(instance, of_instance, island_of));
      state.gpu.parent_uuid = parent.uuid;
      state.gpu.numa_node = parent.numa_node;
      states.gpus.push_back(std::move(state));
    });
  });
  states.faults = x_faults;
  return states;
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

// "00000000:3B:00.0" -> /sys/bus/pci/devices/0000:3b:00.0/numa_node
std::int32_t numa_node_of(const std::string& pci_bus_id, const std::string& sys) {
  if (pci_bus_id.size() < 16) return -1;
  std::string id = pci_bus_id.substr(pci_bus_id.find(':') - 4);
  std::transform(id.begin(), id.end(), id.begin(),
                 [](char c) { return c >= 'A' && c <= 'F' ? char(c - 'A' + 'a') : c; });
  std::int32_t node = -1;
  std::ifstream(sys + "/bus/pci/devices/" + id + "/numa_node") >> node;
  return node;
}

std::vector<Gpu> nvidia_gpus() {
  const auto nvml = Nvml::open();
  return nvml ? nvml->gpus() : std::vector<Gpu>();
}

}  // namespace trainyard::agent
