// What the text forms of rows are made of: JSON to text and back, with an error for what cannot be read. For
// row_json.cc and array_json.cc.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "common/result.h"

namespace trainyard::storage {

// A node's message may hold any bytes; what is not UTF-8 must not stop a commit.
inline std::string dump(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// `read` may throw what nlohmann::json throws.
template <class Read>
Status parse(const std::string& text, Read read) {
  try {
    read(nlohmann::json::parse(text));
    return {};
  } catch (const nlohmann::json::exception& error) {
    return Error{Code::data_loss, error.what()};
  }
}

// A member that is missing leaves its default.
template <class T>
void read(const nlohmann::json& from, const char* key, T& into) {
  if (auto found = from.find(key); found != from.end()) found->get_to(into);
}

}  // namespace trainyard::storage
