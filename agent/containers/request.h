// What goes between the agent and trainyard-container: one JSON object on standard input, lines of JSON back:
// {"say": "..."} as it goes on, at last {"result": {...}} or {"error": {...}}.
#pragma once

#include <nlohmann/json.hpp>

#include "agent/containers/runtime.h"

namespace trainyard::agent {

void to_json(nlohmann::json& out, const RuntimeSettings& in);
void from_json(const nlohmann::json& in, RuntimeSettings& out);
void to_json(nlohmann::json& out, const FoundRuntime& in);
void from_json(const nlohmann::json& in, FoundRuntime& out);
void to_json(nlohmann::json& out, const ImageRequest& in);
void from_json(const nlohmann::json& in, ImageRequest& out);
void to_json(nlohmann::json& out, const Image& in);
void from_json(const nlohmann::json& in, Image& out);
void to_json(nlohmann::json& out, const ContainerRequest& in);
void from_json(const nlohmann::json& in, ContainerRequest& out);
void to_json(nlohmann::json& out, const ContainerError& in);
void from_json(const nlohmann::json& in, ContainerError& out);

// One line, whatever bytes the texts hold.
std::string line_of(const nlohmann::json& value);

}  // namespace trainyard::agent
