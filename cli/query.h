// --query: JMESPath, the whole language (jmespath.org/specification.html). Pure.
//   a.b  "a b".c  @   [0] [-1] [1:3]   [*].x  [].x (flattens)  *.x   [?a.b=='x' && n>`0`]   [a, b]  {x: a, y: b}
//   left | right   length(@)  sort_by(@, &name)[0]
// Beyond the specification, as in the implementation under Azure's command line: strings have an order in < and >, and
// `text` between backquotes that is not JSON is a string.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "common/result.h"

namespace trainyard::cli {

using Json = nlohmann::ordered_json;

// Malformed expressions, unknown functions and wrong numbers of arguments; an empty expression is fine.
Status check_query(const std::string& expression);

// A missing field is null, as in JMESPath. Besides check_query's errors, a function may be given a value of a wrong
// type.
Result<Json> apply_query(const Json& value, const std::string& expression);

}  // namespace trainyard::cli
