// What the kernel counts of this machine, read from its texts and turned into a sample: the reading is a few files of
// /proc, which do not hang; everything else is pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "common/counters.h"
#include "common/ids.h"

namespace trainyard::agent {

// /proc/stat: clock ticks of all cores since the boot.
struct CpuTicks {
  std::uint64_t busy = 0, total = 0;
};
std::optional<CpuTicks> parse_stat(const std::string& text);

// /proc/meminfo: used is what is not available to a new program without swapping.
struct MemoryBytes {
  std::uint64_t used = 0, total = 0;
};
std::optional<MemoryBytes> parse_meminfo(const std::string& text);

// /proc/net/dev: bytes of each interface but loopback since it is there.
struct InterfaceBytes {
  std::uint64_t received = 0, sent = 0;
};
std::map<std::string, InterfaceBytes> parse_net_dev(const std::string& text);

// One attempt's processes on this machine.
struct HoldingReading {
  std::uint64_t cpu_us = 0, memory_bytes = 0;
};

struct MachineReading {
  TimeMs boottime_ms = 0;
  std::optional<CpuTicks> cpu;
  std::optional<MemoryBytes> memory;
  std::map<std::string, InterfaceBytes> network;
  std::uint32_t cores = 0;
  std::map<AttemptId, HoldingReading> holdings;  // the caller's to read
};
MachineReading read_machine(TimeMs boottime_ms);

// The sample of the time between two readings, without GPUs. What could not be read is 0. An interface that is new, or
// whose counters began again, counts from 0; so does a holding that is new.
CounterSample sample_between(const MachineReading& before, const MachineReading& after);

// What trainyard-gpus answers: a line per GPU ("UUID UTILIZATION MEMORY POWER TEMPERATURE", "-" for what the driver
// does not tell), then an empty line. Lines of another shape are left out.
std::string format_gpus(const std::vector<GpuCounters>& gpus);
std::vector<GpuCounters> parse_gpus(const std::string& text);

}  // namespace trainyard::agent
