#include <unistd.h>

#include "agent/containers/runtime.h"

namespace trainyard::agent {
namespace {

FoundRuntime try_engine(RuntimeSettings settings, const std::string& kind, const std::vector<std::string>& places) {
  FoundRuntime found{kind, {}, {}, {}};
  found.why = kind + " has no socket at " + places.front();
  for (const std::string& place : places) {
    if (::access(place.c_str(), F_OK) != 0) continue;
    settings.kind = kind;
    settings.socket = place;
    return make_engine(settings)->probe();
  }
  return found;
}

FoundRuntime try_one(RuntimeSettings settings, const std::string& kind) {
  if (kind == "docker" || kind == "podman") {
    std::vector<std::string> places{settings.socket};
    if (settings.socket.empty()) places = {kind == "docker" ? "/run/docker.sock" : "/run/podman/podman.sock"};
    return try_engine(std::move(settings), kind, places);
  }
  settings.kind = kind;
  return make_wrapper(settings)->probe();
}

}  // namespace

bool is_engine(const std::string& kind) {
  return kind == "docker" || kind == "podman";
}

FoundRuntime probe_runtime(const RuntimeSettings& settings) {
  if (settings.kind == "none") return {"none", {}, {}, "container_runtime is none in the agent's configuration"};
  if (settings.kind != "auto") return try_one(settings, settings.kind);
  std::string why;
  for (const char* kind : {"docker", "podman", "enroot", "apptainer", "charliecloud"}) {
    FoundRuntime found = try_one(settings, kind);
    if (found.why.empty()) return found;
    why += (why.empty() ? "" : "; ") + found.why;
  }
  return {"none", {}, {}, why};
}

}  // namespace trainyard::agent
