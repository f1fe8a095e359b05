/* A stand-in for NVIDIA's libnvidia-ml.so.1: its GPUs are the lines of the file that TRAINYARD_NVML_FILE names, read anew
   at each call, so that a test can change them:
     UUID MODEL MEMORY_TOTAL_MIB MEMORY_USED_MIB UTILIZATION_PERCENT POWER_MW TEMPERATURE_C
   A number "-" is not supported by that GPU. While the file TRAINYARD_NVML_FILE.hang exists, every call hangs, as a
   driver may. Built twice: with OLD_DRIVER it lacks what old drivers lack. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void* nvmlDevice_t;
enum { kSuccess = 0, kUninitialized = 1, kInvalidArgument = 2, kNotSupported = 3, kNoDriver = 9, kMostGpus = 64 };

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

/* Handles are 1 + index. */
static int find(nvmlDevice_t device, struct gpu* found) {
  struct gpu gpus[kMostGpus];
  if (!initialized) return kUninitialized;
  const int count = load(gpus);
  const long index = (long)device - 1;
  if (index < 0 || index >= count) return kInvalidArgument;
  *found = gpus[index];
  return kSuccess;
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

int nvmlDeviceGetCount_v2(unsigned* count) {
  struct gpu gpus[kMostGpus];
  const int found = load(gpus);
  if (!initialized || found < 0) return kUninitialized;
  *count = (unsigned)found;
  return kSuccess;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t* device) {
  struct gpu gpu;
  *device = (nvmlDevice_t)(long)(index + 1);
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

int nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned* celsius) {
  return sensor == 0 ? small_number_of(device, kTemperature, celsius) : kInvalidArgument;
}
