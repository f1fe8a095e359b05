#include "cli/query.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "cli/jmespath/functions.h"
#include "cli/jmespath/syntax.h"

namespace trainyard::cli {
namespace {

using jmespath::Node;
using jmespath::Token;

Json item_at(const Json& value, std::int64_t index) {
  if (!value.is_array()) return nullptr;
  const auto size = static_cast<std::int64_t>(value.size());
  const std::int64_t at = index < 0 ? size + index : index;
  return at >= 0 && at < size ? Json(value[static_cast<std::size_t>(at)]) : Json(nullptr);
}

// As Python has it: bounds beyond the ends are the ends.
Json slice_of(const Json& value, const Node& node) {
  if (!value.is_array()) return nullptr;
  const auto size = static_cast<std::int64_t>(value.size());
  const std::int64_t step = node.bounds[2].value_or(1);
  const std::int64_t low = step > 0 ? 0 : -1, high = step > 0 ? size : size - 1;
  const auto bound = [&](const std::optional<std::int64_t>& given, std::int64_t otherwise) {
    if (!given) return otherwise;
    return std::clamp(*given < 0 ? *given + size : *given, low, high);
  };
  const std::int64_t start = bound(node.bounds[0], step > 0 ? low : high);
  const std::int64_t stop = bound(node.bounds[1], step > 0 ? high : low);
  Json out = Json::array();
  for (std::int64_t at = start; step > 0 ? at < stop : at > stop; at += step) {
    out.push_back(value[static_cast<std::size_t>(at)]);
  }
  return out;
}

Json flattened(const Json& items) {
  if (!items.is_array()) return nullptr;
  Json out = Json::array();
  for (const Json& item : items) {
    if (!item.is_array()) {
      out.push_back(item);
      continue;
    }
    for (const Json& inner : item) out.push_back(inner);
  }
  return out;
}

Json compared(Token::Kind comparator, const Json& left, const Json& right) {
  if (comparator == Token::Kind::equal) return jmespath::equal(left, right);
  if (comparator == Token::Kind::not_equal) return !jmespath::equal(left, right);
  const bool ordered = (left.is_number() && right.is_number()) || (left.is_string() && right.is_string());
  if (!ordered) return nullptr;
  switch (comparator) {
    case Token::Kind::less:
      return left < right;
    case Token::Kind::less_equal:
      return left <= right;
    case Token::Kind::greater:
      return left > right;
    default:
      return left >= right;
  }
}

// The first error ends it: what is evaluated after that does not count.
class Evaluator {
 public:
  explicit Evaluator(const std::string& text) : x_text(text) {}

  Result<Json> run(const Node& node, const Json& value) {
    Json out = visit(node, value);
    if (x_error) return *x_error;
    return out;
  }

 private:
  Json visit(const Node& node, const Json& value) {
    switch (node.kind) {
      case Node::Kind::current:
        return value;
      case Node::Kind::field: {
        const auto found = value.is_object() ? value.find(node.text) : value.end();
        return found == value.end() ? Json(nullptr) : Json(*found);
      }
      case Node::Kind::index:
        return item_at(value, node.number);
      case Node::Kind::slice:
        return slice_of(value, node);
      case Node::Kind::sequence:
        return visit(node.children[1], visit(node.children[0], value));
      case Node::Kind::flatten:
        return flattened(visit(node.children[0], value));
      case Node::Kind::project:
      case Node::Kind::project_values:
      case Node::Kind::project_filter:
        return projected(node, visit(node.children[0], value));
      case Node::Kind::pick_list:
      case Node::Kind::pick_hash:
        return picked(node, value);
      case Node::Kind::either: {
        Json left = visit(node.children[0], value);
        return jmespath::truthy(left) ? left : visit(node.children[1], value);
      }
      case Node::Kind::both: {
        Json left = visit(node.children[0], value);
        return jmespath::truthy(left) ? visit(node.children[1], value) : left;
      }
      case Node::Kind::negation:
        return !jmespath::truthy(visit(node.children[0], value));
      case Node::Kind::compare:
        return compared(node.comparator, visit(node.children[0], value), visit(node.children[1], value));
      case Node::Kind::literal:
        return node.value;
      case Node::Kind::call:
        return called(node, value);
      case Node::Kind::reference:
        break;  // only arguments: called() takes them
    }
    return nullptr;
  }

  // Nulls are dropped, as JMESPath has it.
  Json projected(const Node& node, const Json& items) {
    const bool values = node.kind == Node::Kind::project_values;
    if (values ? !items.is_object() : !items.is_array()) return nullptr;
    Json out = Json::array();
    for (const Json& item : items) {
      if (node.kind == Node::Kind::project_filter && !jmespath::truthy(visit(node.children[2], item))) continue;
      Json result = visit(node.children[1], item);
      if (!result.is_null()) out.push_back(std::move(result));
      if (x_error) break;
    }
    return out;
  }

  Json picked(const Node& node, const Json& value) {
    if (value.is_null()) return nullptr;
    Json out = node.kind == Node::Kind::pick_list ? Json::array() : Json::object();
    for (std::size_t at = 0; at < node.children.size(); ++at) {
      Json part = visit(node.children[at], value);
      if (node.kind == Node::Kind::pick_list) {
        out.push_back(std::move(part));
      } else {
        out[node.names[at]] = std::move(part);
      }
    }
    return out;
  }

  Json called(const Node& node, const Json& value) {
    std::vector<jmespath::Argument> arguments;
    for (const Node& child : node.children) {
      const bool reference = child.kind == Node::Kind::reference;
      arguments.push_back(reference ? jmespath::Argument{nullptr, &child.children[0]}
                                    : jmespath::Argument{visit(child, value), nullptr});
      if (x_error) return nullptr;
    }
    const auto apply = [this](const Node& reference, const Json& item) { return run(reference, item); };
    auto result = jmespath::call(*jmespath::find_function(node.text), arguments, apply);
    if (result) return std::move(*result);
    if (!x_error) x_error = jmespath::fault(jmespath::kInvalidType, x_text, node.at, result.error().message);
    return nullptr;
  }

  const std::string& x_text;
  std::optional<Error> x_error;
};

bool is_blank(const std::string& expression) {
  return expression.find_first_not_of(" \t\r\n") == std::string::npos;
}

}  // namespace

Status check_query(const std::string& expression) {
  if (is_blank(expression)) return {};
  const auto parsed = jmespath::parse(expression);
  if (!parsed) return parsed.error();
  return {};
}

Result<Json> apply_query(const Json& value, const std::string& expression) {
  if (is_blank(expression)) return value;
  const auto parsed = jmespath::parse(expression);
  if (!parsed) return parsed.error();
  return Evaluator(expression).run(*parsed, value);
}

}  // namespace trainyard::cli
