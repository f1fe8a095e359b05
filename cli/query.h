// --query: the part of JMESPath that people use with a command line. Pure.
//   a.b  "a b".c   [0] [-1]   [*].x  [].x (flattens)   [?a.b=='x'] [?n!=`0`]   [a, b]  {x: a, y: b}   left | right
// Anything else (functions, slices, && ||) is an error that says so.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "common/result.h"

namespace trainyard::cli {

using Json = nlohmann::ordered_json;

// A missing field is null, as in JMESPath; only a malformed or unsupported expression is an error.
Result<Json> apply_query(const Json& value, const std::string& expression);

}  // namespace trainyard::cli
