// podman resolves CDI's names in its own API only, not in docker's. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace trainyard::agent {

inline constexpr const char* kLibpodCreate = "/v4.0.0/libpod/containers/create";

// What /containers/create of docker's API takes, as podman's own takes it, with these CDI devices.
nlohmann::json libpod_body(const nlohmann::json& docker, const std::string& name,
                           const std::vector<std::string>& cdi_devices);

}  // namespace trainyard::agent
