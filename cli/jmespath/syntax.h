// JMESPath's words and the tree that an expression becomes. Plain data.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/result.h"

namespace trainyard::cli::jmespath {

using Json = nlohmann::ordered_json;

// The kinds of error that the specification names.
inline constexpr const char* kSyntax = "syntax";
inline constexpr const char* kInvalidType = "invalid-type";
inline constexpr const char* kInvalidValue = "invalid-value";
inline constexpr const char* kInvalidArity = "invalid-arity";
inline constexpr const char* kUnknownFunction = "unknown-function";

// "--query: KIND error at character N of "TEXT": MESSAGE"; `at` is a byte's index in `text`.
Error fault(const char* kind, const std::string& text, std::size_t at, const std::string& message);

struct Token {
  enum class Kind {
    end,
    name,
    quoted_name,
    literal,
    number,
    dot,
    star,
    comma,
    colon,
    current,
    flatten,  // []
    filter,   // [?
    open_bracket,
    close_bracket,
    open_parenthesis,
    close_parenthesis,
    open_brace,
    close_brace,
    pipe,
    either,     // ||
    both,       // &&
    reference,  // &
    negation,
    equal,
    not_equal,
    less,
    less_equal,
    greater,
    greater_equal,
  };
  Kind kind = Kind::end;
  std::string text;  // as written; of names: the name
  Json value;        // literal
  std::int64_t number = 0;
  std::size_t at = 0;
};

// Always ends with a token of kind `end`.
Result<std::vector<Token>> tokens_of(const std::string& text);

struct Node {
  enum class Kind {
    current,         // @
    field,           // text
    index,           // number
    slice,           // bounds
    sequence,        // children[1] of the result of children[0]: a.b, a[0], a | b
    flatten,         // children[0]
    project,         // children[1] for each item of the list children[0]
    project_values,  // the same for an object's values
    project_filter,  // the same where children[2] holds
    pick_list,       // [a, b]
    pick_hash,       // {name: a}; names and children
    either,
    both,
    negation,
    compare,    // comparator
    literal,    // value
    call,       // text: the function; children: arguments
    reference,  // &children[0]
  };
  Kind kind = Kind::current;
  std::string text;
  std::int64_t number = 0;
  std::array<std::optional<std::int64_t>, 3> bounds;
  Token::Kind comparator = Token::Kind::equal;
  Json value;
  std::vector<std::string> names;
  std::vector<Node> children;
  std::size_t at = 0;  // where it stands in the expression
  int depth = 1;       // of the tree below, limited: evaluation recurses
};

// Unknown functions, wrong numbers of arguments and steps of 0 are found here: before any request goes out.
Result<Node> parse(const std::string& text);

}  // namespace trainyard::cli::jmespath
