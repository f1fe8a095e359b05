// What trainyard-gpus says of the machine's GPUs when it is asked for more than counters. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/model.h"

namespace trainyard::agent {

struct GpuState {
  Gpu gpu;
  std::optional<std::uint64_t> memory_used_bytes;
  std::vector<std::uint32_t> pids;  // of processes that compute on it
  friend bool operator==(const GpuState&, const GpuState&) = default;
};

struct GpuStates {
  std::vector<GpuState> gpus;                 // those that answer
  std::map<std::string, std::string> faults;  // by UUID, also of GPUs that do not answer any more
  friend bool operator==(const GpuStates&, const GpuStates&) = default;
};

std::string format_states(const GpuStates& states);              // ends with an empty line
std::optional<GpuStates> parse_states(const std::string& text);  // nullopt: not such an answer
const char* why_fatal(std::uint64_t xid);                        // in few words; null: a job's own mistake, or a note
}  // namespace trainyard::agent
