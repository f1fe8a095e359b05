#include "agent/probe/gpu_states.h"

#include <array>
#include <nlohmann/json.hpp>

#include "common/model_json.h"

namespace trainyard::agent {
namespace {

using nlohmann::json;

struct Xid {
  std::uint64_t number;
  const char* meaning;
};

// NVIDIA's "XID Errors" (docs.nvidia.com/deploy/xid-errors): those after which the GPU wants a reset, a reboot or a
// repair. Not here: what a program does to itself (13, 31, 43, 45, 68, 69), and notes (63: rows were remapped).
constexpr std::array kFatal{
    Xid{46, "it stopped processing"},
    Xid{48, "uncorrectable (double bit) ECC error"},
    Xid{62, "internal micro-controller halt"},
    Xid{64, "rows of its memory could not be remapped"},
    Xid{74, "NVLink error"},
    Xid{79, "it fell off the bus"},
    Xid{92, "high rate of single bit ECC errors"},
    Xid{94, "contained memory error"},
    Xid{95, "uncontained memory error"},
    Xid{110, "security fault"},
    Xid{119, "its system processor does not answer"},
    Xid{120, "error of its system processor"},
    Xid{136, "link training failed"},
    Xid{140, "unrecovered ECC error"},
    Xid{143, "it could not be initialised"},
};

}  // namespace

const char* why_fatal(std::uint64_t xid) {
  for (const Xid& fatal : kFatal) {
    if (fatal.number == xid) return fatal.meaning;
  }
  return nullptr;
}

std::string format_states(const GpuStates& states) {
  json gpus = json::array();
  for (const GpuState& state : states.gpus) {
    json one{{"gpu", state.gpu}, {"pids", state.pids}};
    if (state.memory_used_bytes) one["used"] = *state.memory_used_bytes;
    gpus.push_back(std::move(one));
  }
  return json{{"gpus", std::move(gpus)}, {"faults", states.faults}}.dump() + "\n\n";
}

std::optional<GpuStates> parse_states(const std::string& text) {
  const json root = json::parse(text, nullptr, false);
  if (!root.is_object()) return std::nullopt;
  GpuStates states;
  try {
    root.at("faults").get_to(states.faults);
    for (const json& one : root.at("gpus")) {
      GpuState state;
      one.at("gpu").get_to(state.gpu);
      one.at("pids").get_to(state.pids);
      if (one.contains("used")) state.memory_used_bytes = one.at("used").get<std::uint64_t>();
      states.gpus.push_back(std::move(state));
    }
  } catch (const json::exception&) {
    return std::nullopt;
  }
  return states;
}

}  // namespace trainyard::agent
