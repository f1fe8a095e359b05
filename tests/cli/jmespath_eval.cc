// Reads lines {"given": ..., "expression": "..."} and answers each with {"result": ...} or {"error": "..."}: how
// jmespath_cross_check.py asks what --query makes of an expression.
#include <iostream>
#include <string>

#include "cli/query.h"

int main() {
  using trainyard::cli::Json;
  std::string line;
  while (std::getline(std::cin, line)) {
    const Json question = Json::parse(line);
    const auto result = trainyard::cli::apply_query(question.at("given"), question.at("expression").get<std::string>());
    const Json answer = result ? Json{{"result", *result}} : Json{{"error", result.error().message}};
    std::cout << answer.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
  }
}
