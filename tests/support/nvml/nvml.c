/* A stand-in for NVIDIA's libnvidia-ml.so.1: its GPUs are the lines of the file that TRAINYARD_NVML_FILE names, read anew
   at each call, so that a test can change them:
     UUID MODEL MEMORY_TOTAL_MIB MEMORY_USED_MIB UTILIZATION_PERCENT POWER_MW TEMPERATURE_C
   A number "-" is not supported by that GPU. A line whose UUID begins with "MIG-" is an instance of the GPU before it; a
   GPU of the model "lost" is there and does not answer. While the file TRAINYARD_NVML_FILE.hang exists, every call hangs,
   as a driver may. Beside it: .xid has a line "UUID XID" for each event so far, .pids "UUID PID" for each process that
   computes, .ecc "UUID ERRORS", .links "UUID OTHER" for each link, in order, where OTHER is a UUID, "switch" or "npu", with a "-"
   before it while the link is down (a switch is told by its type only while the file .no-types is not there). Built twice: with OLD_DRIVER it lacks what old drivers lack. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void* nvmlDevice_t;
enum { kSuccess = 0, kUninitialized = 1, kInvalidArgument = 2, kNotSupported = 3, kNotFound = 6, kInsufficientSize = 7, kNoDriver = 9, kTimeout = 10, kLost = 15, kMostGpus = 64 };

struct gpu {
  char uuid[97], model[97], number[5][24];
};
enum { kTotal, kUsed, kUtilization, kPower, kTemperature };

static int initialized = 0;

static int load(struct gpu* gpus) {
  const char* path = getenv("TRAINYARD_NVML_FILE");
  if (path == NULL) return -1;
  char hang[4096];
  snprintf(hang, sizeof hang, "%s.hang", path);
  while (access(hang, F_OK) == 0) usleep(10000);
  FILE* file = fopen(path, "r");
  if (file == NULL) return -1;
  int count = 0;
  while (count < kMostGpus) {
    struct gpu* gpu = &gpus[count];
    if (fscanf(file, "%96s %96s %23s %23s %23s %23s %23s", gpu->uuid, gpu->model, gpu->number[0], gpu->number[1],
               gpu->number[2], gpu->number[3], gpu->number[4]) != 7) {
      break;
    }
    ++count;
  }
  fclose(file);
  return count;
}

static int is_instance(const struct gpu* gpu) { return strncmp(gpu->uuid, "MIG-", 4) == 0; }

/* Handles are 1 + line. */
static int find(nvmlDevice_t device, struct gpu* found) {
  struct gpu gpus[kMostGpus];
  if (!initialized) return kUninitialized;
  const int count = load(gpus);
  const long index = (long)device - 1;
  if (index < 0 || index >= count) return kInvalidArgument;
  *found = gpus[index];
  return strcmp(found->model, "lost") == 0 ? kLost : kSuccess;
}

static int number_of(nvmlDevice_t device, int which, unsigned long long* value) {
  struct gpu gpu;
  const int found = find(device, &gpu);
  if (found != kSuccess) return found;
  if (strcmp(gpu.number[which], "-") == 0) return kNotSupported;
  *value = strtoull(gpu.number[which], NULL, 10);
  return kSuccess;
}

static int small_number_of(nvmlDevice_t device, int which, unsigned* value) {
  unsigned long long number = 0;
  const int result = number_of(device, which, &number);
  if (result == kSuccess) *value = (unsigned)number;
  return result;
}

int nvmlInit_v2(void) {
  struct gpu gpus[kMostGpus];
  if (load(gpus) < 0) return kNoDriver;
  initialized = 1;
  return kSuccess;
}

int nvmlShutdown(void) {
  initialized = 0;
  return kSuccess;
}

/* The line of the `index`th GPU, or of the `index`th instance of the GPU at line `parent`; -1: there is none. */
static int line_of(unsigned index, int parent) {
  struct gpu gpus[kMostGpus];
  const int count = load(gpus);
  for (int line = parent + 1; line < count; ++line) {
    if (parent >= 0 && !is_instance(&gpus[line])) return -1;
    if (is_instance(&gpus[line]) == (parent >= 0) && index-- == 0) return line;
  }
  return -1;
}

int nvmlDeviceGetCount_v2(unsigned* count) {
  struct gpu gpus[kMostGpus];
  if (!initialized || load(gpus) < 0) return kUninitialized;
  for (*count = 0; line_of(*count, -1) >= 0;) ++*count;
  return kSuccess;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t* device) {
  struct gpu gpu;
  *device = (nvmlDevice_t)(long)(line_of(index, -1) + 1);
  return find(*device, &gpu);
}

static int copy(int result, const char* text, char* into, unsigned size) {
  if (result == kSuccess) snprintf(into, size, "%s", text);
  return result;
}

int nvmlDeviceGetUUID(nvmlDevice_t device, char* uuid, unsigned size) {
  struct gpu gpu;
  return copy(find(device, &gpu), gpu.uuid, uuid, size);
}

int nvmlDeviceGetName(nvmlDevice_t device, char* name, unsigned size) {
  struct gpu gpu;
  return copy(find(device, &gpu), gpu.model, name, size);
}

struct memory {
  unsigned long long total, free, used;
};

int nvmlDeviceGetMemoryInfo(nvmlDevice_t device, struct memory* memory) {
  unsigned long long total = 0, used = 0;
  int result = number_of(device, kTotal, &total);
  if (result == kSuccess) result = number_of(device, kUsed, &used);
  if (result != kSuccess) return result;
  memory->total = total << 20;
  memory->used = used << 20;
  memory->free = memory->total - memory->used;
  return kSuccess;
}

#ifndef OLD_DRIVER
struct utilization {
  unsigned gpu, memory;
};

int nvmlDeviceGetUtilizationRates(nvmlDevice_t device, struct utilization* utilization) {
  utilization->memory = 0;
  return small_number_of(device, kUtilization, &utilization->gpu);
}

int nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned* milliwatts) {
  return small_number_of(device, kPower, milliwatts);
}
#endif

#ifndef OLD_DRIVER
int nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned* now, unsigned* later) {
  *now = *later = line_of(0, (int)(long)device - 1) >= 0;
  return kSuccess;
}

int nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned* count) {
  (void)device;
  *count = 7;
  return kSuccess;
}

int nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned index, nvmlDevice_t* instance) {
  const int line = line_of(index, (int)(long)device - 1);
  *instance = (nvmlDevice_t)(long)(line + 1);
  return line < 0 ? kNotFound : kSuccess;
}

struct pci {
  char legacy[16];
  unsigned domain, bus, device, device_id, subsystem_id;
  char bus_id[32];
};

int nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, struct pci* pci) {
  memset(pci, 0, sizeof *pci);
  snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02lX:00.0", (long)device + 0x39);
  return kSuccess;
}

/* The `skip`th line "UUID NUMBER" of the file with this ending, of that GPU, or of any. */
static int note_of(const char* ending, const char* uuid, unsigned skip, char* whose, unsigned long long* number) {
  char path[4096], other[97];
  snprintf(path, sizeof path, "%s%s", getenv("TRAINYARD_NVML_FILE"), ending);
  FILE* file = fopen(path, "r");
  if (file == NULL) return 0;
  int found = 0;
  while (!found && fscanf(file, "%96s %llu", other, number) == 2) {
    if (uuid == NULL || strcmp(uuid, other) == 0) found = skip-- == 0;
  }
  fclose(file);
  if (found && whose != NULL) strcpy(whose, other);
  return found;
}

struct process {
  unsigned pid;
  unsigned long long memory;
  unsigned gpu_instance, compute_instance;
};

int nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned* count, struct process* processes) {
  struct gpu gpu;
  const int result = find(device, &gpu);
  unsigned found = 0;
  unsigned long long pid = 0;
  if (result != kSuccess) return result;
  for (; note_of(".pids", gpu.uuid, found, NULL, &pid); ++found) {
    if (found < *count) processes[found].pid = (unsigned)pid;
  }
  const int all = found <= *count;
  *count = found;
  return all ? kSuccess : kInsufficientSize;
}

int nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, int type, int counter, unsigned long long* errors) {
  struct gpu gpu;
  const int result = find(device, &gpu);
  *errors = 0;
  if (result != kSuccess) return result;
  if (type != 1 || counter != 0) return kNotSupported;
  note_of(".ecc", gpu.uuid, 0, NULL, errors);
  return kSuccess;
}

/* Events go to whoever registered before they happened, once. */
static unsigned events_taken = 0;

int nvmlEventSetCreate(void** set) {
  unsigned long long number = 0;
  while (note_of(".xid", NULL, events_taken, NULL, &number)) ++events_taken;
  *set = &events_taken;
  return kSuccess;
}

int nvmlEventSetFree(void* set) {
  (void)set;
  return kSuccess;
}

int nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types, void* set) {
  struct gpu gpu;
  (void)set;
  return types == 8 ? find(device, &gpu) : kNotSupported;
}

struct event {
  nvmlDevice_t device;
  unsigned long long type, data;
  unsigned gpu_instance, compute_instance;
};

int nvmlEventSetWait_v2(void* set, struct event* event, unsigned timeout_ms) {
  struct gpu gpus[kMostGpus];
  char uuid[97];
  (void)set, (void)timeout_ms;
  if (!note_of(".xid", NULL, events_taken, uuid, &event->data)) return kTimeout;
  ++events_taken;
  const int count = load(gpus);
  event->type = 8;
  event->device = NULL;
  for (int line = 0; line < count; ++line) {
    if (strcmp(gpus[line].uuid, uuid) == 0) event->device = (nvmlDevice_t)(long)(line + 1);
  }
  return kSuccess;
}

/* The other end of the `link`th link, and whether it is up. */
static int end_of(nvmlDevice_t device, unsigned link, char* other, unsigned* active) {
  struct gpu gpu;
  char path[4096], uuid[97];
  int result = find(device, &gpu);
  if (result != kSuccess) return result;
  snprintf(path, sizeof path, "%s.links", getenv("TRAINYARD_NVML_FILE"));
  FILE* file = fopen(path, "r");
  if (file == NULL) return kNotSupported;
  result = kInvalidArgument;
  while (result != kSuccess && fscanf(file, "%96s %96s", uuid, other) == 2) {
    if (strcmp(uuid, gpu.uuid) == 0 && link-- == 0) result = kSuccess;
  }
  fclose(file);
  if (result != kSuccess) return result;
  *active = other[0] != '-';
  if (!*active) memmove(other, other + 1, strlen(other));
  return kSuccess;
}

int nvmlDeviceGetNvLinkState(nvmlDevice_t device, unsigned link, unsigned* active) {
  char other[97];
  return end_of(device, link, other, active);
}

int nvmlDeviceGetNvLinkRemotePciInfo_v2(nvmlDevice_t device, unsigned link, struct pci* pci) {
  struct gpu gpus[kMostGpus];
  char other[97];
  unsigned active = 0;
  const int result = end_of(device, link, other, &active), count = load(gpus);
  if (result != kSuccess) return result;
  memset(pci, 0, sizeof *pci);
  pci->device_id = strcmp(other, "npu") == 0 ? 0x04ea1014 : 0x1af110de;
  snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", strcmp(other, "npu") == 0 ? 4 : 5);
  for (int line = 0; line < count; ++line) {
    if (strcmp(gpus[line].uuid, other) == 0) snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", line + 0x3a);
  }
  return kSuccess;
}

int nvmlDeviceGetNvLinkRemoteDeviceType(nvmlDevice_t device, unsigned link, unsigned* type) {
  char other[97], path[4096];
  unsigned active = 0;
  const int result = end_of(device, link, other, &active);
  snprintf(path, sizeof path, "%s.no-types", getenv("TRAINYARD_NVML_FILE"));
  if (access(path, F_OK) == 0) return kNotSupported;
  if (result == kSuccess) *type = strcmp(other, "switch") == 0 ? 2 : strcmp(other, "npu") == 0 ? 1 : 0;
  return result;
}
#endif

int nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned* celsius) {
  return sensor == 0 ? small_number_of(device, kTemperature, celsius) : kInvalidArgument;
}
