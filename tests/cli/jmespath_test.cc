// --query against tables in the form of JMESPath's own compliance cases: [{given, cases: [{expression, result |
// error}]}]. TRAINYARD_JMESPATH_COMPLIANCE names a folder with more of them, e.g. the official ones.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "cli/jmespath/functions.h"
#include "cli/query.h"

using namespace trainyard;
using namespace trainyard::cli;

namespace {

std::string error_of(const std::string& expression, const std::string& json = "{}") {
  const auto result = apply_query(Json::parse(json), expression);
  return result ? "no error: " + result->dump() : result.error().message;
}

// The number of cases.
int check_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  const Json suites = Json::parse(file);
  int count = 0;
  for (const Json& suite : suites) {
    for (const Json& one : suite.at("cases")) {
      const std::string expression = one.at("expression");
      ++count;
      INFO(path.filename() << ": " << expression);
      if (one.contains("bench") && !one.contains("result")) continue;
      const auto result = apply_query(suite.at("given"), expression);
      if (one.contains("error")) {
        CHECK_FALSE(result.ok());
        continue;
      }
      INFO((result ? result->dump() : result.error().message) << " instead of " << one.at("result").dump());
      CHECK(result.ok());
      if (result) CHECK(jmespath::equal(*result, one.at("result")));
    }
  }
  return count;
}

}  // namespace

TEST_CASE("JMESPath: the table of cases") {
  CHECK(check_file(std::string(TRAINYARD_SOURCE_DIR) + "/tests/cli/jmespath_cases.json") > 300);
}

TEST_CASE("JMESPath: errors in the table are of the kind that the specification names") {
  std::ifstream file(std::string(TRAINYARD_SOURCE_DIR) + "/tests/cli/jmespath_cases.json");
  for (const Json& suite : Json::parse(file)) {
    for (const Json& one : suite.at("cases")) {
      if (!one.contains("error")) continue;
      const std::string message = error_of(one.at("expression"), suite.at("given").dump());
      CHECK_THAT(message, Catch::StartsWith("--query: " + one.at("error").get<std::string>() + " error at character "));
    }
  }
}

TEST_CASE("JMESPath: the cases of a folder, e.g. the official ones") {
  const char* folder = std::getenv("TRAINYARD_JMESPATH_COMPLIANCE");
  if (folder == nullptr) {
    WARN("skipped: TRAINYARD_JMESPATH_COMPLIANCE names no folder of compliance cases");
    return;
  }
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".json") count += check_file(entry.path());
  }
  WARN(count << " cases in " << folder);
  CHECK(count > 0);
}

TEST_CASE("JMESPath: errors say where, what was expected and what was found") {
  CHECK(error_of("a.b.]") ==
        "--query: syntax error at character 5 of \"a.b.]\": expected a name, *, [ or { after ., found ]");
  CHECK(error_of("jobs[?n=='a'") ==
        "--query: syntax error at character 13 of \"jobs[?n=='a'\": expected ] after the filter, found the end");
  CHECK(error_of("a = b") == "--query: syntax error at character 3 of \"a = b\": to compare, write ==");
  CHECK(error_of("\"é\".[0") ==
        "--query: syntax error at character 6 of \"\"é\".[0\": expected a name or another "
        "expression, found 0");
  CHECK(error_of("lenght(@)") ==
        "--query: unknown-function error at character 1 of \"lenght(@)\": there is no function "
        "lenght(); did you mean length()?");
  CHECK(error_of("a | sort_by(@)") ==
        "--query: invalid-arity error at character 5 of \"a | sort_by(@)\": sort_by() "
        "takes 2 arguments, got 1");
  CHECK(
      error_of("length(a)", R"({"a": 1})") ==
      "--query: invalid-type error at character 1 of \"length(a)\": length(): argument 1 must be a string or an array "
      "or an object, not a number");
  CHECK(
      error_of("sum(@)", R"([1, "x"])") ==
      "--query: invalid-type error at character 1 of \"sum(@)\": sum(): argument 1 must be an array of numbers, not an "
      "array with other things in it");
  CHECK(error_of("sort_by(@, &n)", R"([{"n": 1}, {}])") ==
        "--query: invalid-type error at character 1 of \"sort_by(@, &n)\": sort_by(): what the expression gives must "
        "be a "
        "number for every item, or a string for every item, not null (item 1)");
  CHECK(error_of("[::0]") == "--query: invalid-value error at character 4 of \"[::0]\": a slice's step must not be 0");
}

TEST_CASE("JMESPath: what can be known is said before there is anything to query") {
  for (const char* bad : {"a[", "nope(@)", "length()", "[::0]"}) CHECK_FALSE(check_query(bad).ok());
  for (const char* good : {"", " ", "a", "length(a)", "sort_by(@, &x)[0]"}) CHECK(check_query(good).ok());
}

TEST_CASE("JMESPath: hostile expressions are errors, not crashes") {
  for (const char* part : {"[", "(", "!", "{a:", "[?", "a[", "length(", "[*][", "a|", "a.", "a||", "[0]", "[]", "&"}) {
    std::string expression;
    while (expression.size() < 100000) expression += part;
    (void)apply_query(Json::parse(R"({"a": 1})"), expression + "a");
  }
  CHECK_THAT(error_of(std::string(1000, '(')), Catch::Contains("nested too deeply"));
  CHECK_THAT(error_of(std::string("a") + std::string(1000, ']')).substr(0, 300), Catch::Contains("..."));
}
