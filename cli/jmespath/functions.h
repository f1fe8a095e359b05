// JMESPath's built-in functions. Pure.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/jmespath/syntax.h"

namespace trainyard::cli::jmespath {

bool equal(const Json& left, const Json& right);  // objects without regard to the order of their keys
bool truthy(const Json& value);                   // not: null, false, "", [], {}
std::size_t characters_in(const std::string& text);

// An evaluated argument; of `&expression` the expression itself.
struct Argument {
  Json value;
  const Node* reference = nullptr;
};
// Evaluates a reference for one item.
using Apply = std::function<Result<Json>(const Node&, const Json&)>;

struct Function;
const Function* find_function(const std::string& name);  // null: there is none
std::vector<std::string> function_names();
// What is wrong with this number of arguments, e.g. "length() takes 1 argument, got 2".
std::optional<std::string> arity_fault(const Function& function, std::size_t given);
// The only error is a wrong type; its message names the function, the argument and what it was.
Result<Json> call(const Function& function, const std::vector<Argument>& arguments, const Apply& apply);

}  // namespace trainyard::cli::jmespath
