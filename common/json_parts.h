// Pieces that the JSON forms of the shared structs are made of: see model_json.h. For the files that define those only.
#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

namespace trainyard::json_parts {

using nlohmann::json;

template <class T>
void read(const json& from, const char* key, T& into) {
  if (const auto found = from.find(key); found != from.end()) found->get_to(into);
}

// A member that is mostly empty is left out then.
template <class T>
void write_some(json& out, const char* key, const T& value) {
  if (!value.empty()) out[key] = value;
}

template <class Enum, std::size_t N>
using Names = std::array<std::pair<Enum, const char*>, N>;

template <class Enum, std::size_t N>
const char* name_in(const Names<Enum, N>& names, Enum value) {
  for (const auto& [candidate, name] : names) {
    if (candidate == value) return name;
  }
  return "unknown";
}

template <class Enum, std::size_t N>
std::optional<Enum> named_in(const Names<Enum, N>& names, const std::string& text) {
  for (const auto& [value, name] : names) {
    if (text == name) return value;
  }
  return std::nullopt;
}

// An unknown name (of a newer version) is an error: guessing a meaning would be worse.
template <class Enum, std::size_t N>
void read_enum(const json& from, const char* key, const Names<Enum, N>& names, Enum& into) {
  const auto found = from.find(key);
  if (found == from.end()) return;
  const auto value = named_in(names, found->get<std::string>());
  if (!value) throw json::other_error::create(501, std::string(key) + ": unknown name " + found->dump(), &from);
  into = *value;
}

}  // namespace trainyard::json_parts
