// A Pratt parser: binding powers as in the reference implementation, so that projections end where theirs do.
#include <fmt/format.h>

#include <algorithm>

#include "cli/jmespath/functions.h"
#include "cli/jmespath/syntax.h"
#include "cli/suggest.h"

namespace trainyard::cli::jmespath {
namespace {

using Kind = Token::Kind;

constexpr int kDeepest = 200;         // of the tree
constexpr int kProjectionStops = 10;  // what binds less ends a projection
constexpr int kStarPower = 20, kFilterPower = 21, kFlattenPower = 9, kDotPower = 40, kNotPower = 45;

int power_of(Kind kind) {
  switch (kind) {
    case Kind::pipe:
      return 1;
    case Kind::either:
      return 2;
    case Kind::both:
      return 3;
    case Kind::equal:
    case Kind::not_equal:
    case Kind::less:
    case Kind::less_equal:
    case Kind::greater:
    case Kind::greater_equal:
      return 5;
    case Kind::flatten:
      return kFlattenPower;
    case Kind::star:
      return kStarPower;
    case Kind::filter:
      return kFilterPower;
    case Kind::dot:
      return kDotPower;
    case Kind::open_brace:
      return 50;
    case Kind::open_bracket:
      return 55;
    case Kind::open_parenthesis:
      return 60;
    default:
      return 0;
  }
}

Node leaf(Node::Kind kind, std::size_t at) {
  Node node;
  node.kind = kind;
  node.at = at;
  return node;
}

Node with(Node::Kind kind, std::size_t at, std::vector<Node> children) {
  Node node = leaf(kind, at);
  for (const Node& child : children) node.depth = std::max(node.depth, child.depth + 1);
  node.children = std::move(children);
  return node;
}

template <class... Nodes>
Node over(Node::Kind kind, std::size_t at, Nodes... children) {
  std::vector<Node> all;
  (all.push_back(std::move(children)), ...);
  return with(kind, at, std::move(all));
}

// The first error ends it: after that every token is the end.
class Parser {
 public:
  Parser(const std::string& text, std::vector<Token> tokens) : x_text(text), x_tokens(std::move(tokens)) {}

  Result<Node> run() {
    Node node = expression(0);
    if (now().kind != Kind::end) expected("the end, or an operator");
    if (x_error) return *x_error;
    return node;
  }

 private:
  const Token& now() const { return x_tokens[x_at]; }
  Kind after(std::size_t by) const { return x_tokens[std::min(x_at + by, x_tokens.size() - 1)].kind; }
  Token take() {
    Token token = now();
    if (x_at + 1 < x_tokens.size()) ++x_at;
    return token;
  }
  bool take(Kind kind) {
    if (now().kind != kind) return false;
    take();
    return true;
  }
  void fail(const char* kind, std::size_t at, const std::string& message) {
    if (!x_error) x_error = fault(kind, x_text, at, message);
    x_at = x_tokens.size() - 1;
  }
  void expected(const std::string& what) {
    const std::string found = now().kind == Kind::end ? "the end" : now().text;
    fail(kSyntax, now().at, fmt::format("expected {}, found {}", what, found));
  }
  void expect(Kind kind, const std::string& what) {
    if (!take(kind)) expected(what);
  }

  Node expression(int power) {
    if (++x_depth > kDeepest) fail(kSyntax, now().at, "nested too deeply");
    Node left = first();
    while (!x_error && power < power_of(now().kind)) {
      left = second(std::move(left));
      if (left.depth > kDeepest) fail(kSyntax, left.at, "too long; use fewer operators");
    }
    --x_depth;
    return left;
  }

  // What an expression begins with.
  Node first() {
    const std::size_t at = now().at;
    switch (now().kind) {
      case Kind::literal: {
        Node node = leaf(Node::Kind::literal, at);
        node.value = take().value;
        return node;
      }
      case Kind::name:
      case Kind::quoted_name:
        return name();
      case Kind::current:
        take();
        return leaf(Node::Kind::current, at);
      case Kind::star:
        take();
        return over(Node::Kind::project_values, at, leaf(Node::Kind::current, at), after_projection(kStarPower));
      case Kind::flatten:
      case Kind::filter:
        return second(leaf(Node::Kind::current, at));
      case Kind::open_brace:
        take();
        return hash(at);
      case Kind::open_bracket:
        return bracket_first();
      case Kind::open_parenthesis: {
        take();
        Node node = expression(0);
        expect(Kind::close_parenthesis, ")");
        return node;
      }
      case Kind::negation:
        take();
        return over(Node::Kind::negation, at, expression(kNotPower));
      case Kind::reference:
        fail(kSyntax, at, "& stands only before an argument of a function, e.g. sort_by(@, &name)");
        return {};
      default:
        expected("a name or another expression");
        return {};
    }
  }

  Node name() {
    const Token token = take();
    const bool quoted = token.kind == Kind::quoted_name;
    if (now().kind == Kind::open_parenthesis) {
      if (!quoted) return call(token);
      fail(kSyntax, token.at, "a function's name is written without quotes");
    }
    Node node = leaf(Node::Kind::field, token.at);
    node.text = quoted ? token.value.get<std::string>() : token.text;
    return node;
  }

  Node call(const Token& function) {
    take();
    std::vector<Node> arguments;
    if (now().kind != Kind::close_parenthesis) {
      do {
        const std::size_t at = now().at;
        if (take(Kind::reference)) {
          arguments.push_back(over(Node::Kind::reference, at, expression(0)));
        } else {
          arguments.push_back(expression(0));
        }
      } while (!x_error && take(Kind::comma));
    }
    expect(Kind::close_parenthesis, "a comma or )");
    if (x_error) return {};
    const Function* known = find_function(function.text);
    if (known == nullptr) {
      const std::string near = nearest(function.text, function_names());
      fail(kUnknownFunction, function.at,
           fmt::format("there is no function {}(){}", function.text,
                       near.empty() ? "" : "; did you mean " + near + "()?"));
      return {};
    }
    if (const auto wrong = arity_fault(*known, arguments.size())) fail(kInvalidArity, function.at, *wrong);
    Node node = with(Node::Kind::call, function.at, std::move(arguments));
    node.text = function.text;
    return node;
  }

  Node bracket_first() {
    const std::size_t at = take().at;
    if (now().kind == Kind::number || now().kind == Kind::colon) return index(leaf(Node::Kind::current, at), at);
    if (now().kind == Kind::star && after(1) == Kind::close_bracket) {
      take();
      take();
      return over(Node::Kind::project, at, leaf(Node::Kind::current, at), after_projection(kStarPower));
    }
    return list(at);
  }

  // What goes on with the expression to the left.
  Node second(Node left) {
    const Token token = take();
    switch (token.kind) {
      case Kind::dot:
        if (take(Kind::star)) {
          return over(Node::Kind::project_values, token.at, std::move(left), after_projection(kStarPower));
        }
        return over(Node::Kind::sequence, token.at, std::move(left), after_dot(kDotPower));
      case Kind::pipe:
        return over(Node::Kind::sequence, token.at, std::move(left), expression(power_of(token.kind)));
      case Kind::either:
        return over(Node::Kind::either, token.at, std::move(left), expression(power_of(token.kind)));
      case Kind::both:
        return over(Node::Kind::both, token.at, std::move(left), expression(power_of(token.kind)));
      case Kind::flatten:
        return over(Node::Kind::project, token.at, over(Node::Kind::flatten, token.at, std::move(left)),
                    after_projection(kFlattenPower));
      case Kind::filter: {
        Node condition = expression(0);
        expect(Kind::close_bracket, "] after the filter");
        Node rest = now().kind == Kind::flatten ? leaf(Node::Kind::current, now().at) : after_projection(kFilterPower);
        return over(Node::Kind::project_filter, token.at, std::move(left), std::move(rest), std::move(condition));
      }
      case Kind::open_bracket:
        if (now().kind == Kind::number || now().kind == Kind::colon) return index(std::move(left), token.at);
        expect(Kind::star, "an index, a slice or *");
        expect(Kind::close_bracket, "]");
        return over(Node::Kind::project, token.at, std::move(left), after_projection(kStarPower));
      case Kind::open_parenthesis:
      case Kind::open_brace:
        fail(kSyntax, token.at, fmt::format("expected an operator before {}", token.text));
        return {};
      default: {
        Node node = over(Node::Kind::compare, token.at, std::move(left), expression(power_of(token.kind)));
        node.comparator = token.kind;
        return node;
      }
    }
  }

  // After "[", at a number or colon.
  Node index(Node left, std::size_t at) {
    if (now().kind == Kind::number && after(1) != Kind::colon) {
      Node node = leaf(Node::Kind::index, now().at);
      node.number = take().number;
      expect(Kind::close_bracket, "]");
      return over(Node::Kind::sequence, at, std::move(left), std::move(node));
    }
    Node node = leaf(Node::Kind::slice, now().at);
    for (std::size_t part = 0;; ++part) {
      const std::size_t here = now().at;
      if (now().kind == Kind::number) node.bounds[part] = take().number;
      if (part == 2 && node.bounds[2] == 0) fail(kInvalidValue, here, "a slice's step must not be 0");
      if (part == 2 || !take(Kind::colon)) break;
    }
    expect(Kind::close_bracket, "a number, : or ]");
    return over(Node::Kind::project, at, over(Node::Kind::sequence, at, std::move(left), std::move(node)),
                after_projection(kStarPower));
  }

  // What is done with each item of a projection.
  Node after_projection(int power) {
    const std::size_t at = now().at;
    if (power_of(now().kind) < kProjectionStops) return leaf(Node::Kind::current, at);
    if (now().kind == Kind::open_bracket || now().kind == Kind::filter) return expression(power);
    if (take(Kind::dot)) return after_dot(power);
    expected("., [ or an operator after a projection");
    return {};
  }

  Node after_dot(int power) {
    const std::size_t at = now().at;
    switch (now().kind) {
      case Kind::name:
      case Kind::quoted_name:
      case Kind::star:
        return expression(power);
      case Kind::open_bracket:
        take();
        return list(at);
      case Kind::open_brace:
        take();
        return hash(at);
      default:
        expected("a name, *, [ or { after .");
        return {};
    }
  }

  Node list(std::size_t at) {
    std::vector<Node> parts;
    do {
      parts.push_back(expression(0));
    } while (!x_error && take(Kind::comma));
    expect(Kind::close_bracket, "a comma or ]");
    return with(Node::Kind::pick_list, at, std::move(parts));
  }

  Node hash(std::size_t at) {
    std::vector<Node> parts;
    std::vector<std::string> names;
    do {
      if (now().kind != Kind::name && now().kind != Kind::quoted_name) {
        expected("a name for a part of {name: expression}");
        break;
      }
      const Token token = take();
      names.push_back(token.kind == Kind::name ? token.text : token.value.get<std::string>());
      expect(Kind::colon, ": after the name");
      parts.push_back(expression(0));
    } while (!x_error && take(Kind::comma));
    expect(Kind::close_brace, "a comma or }");
    Node node = with(Node::Kind::pick_hash, at, std::move(parts));
    node.names = std::move(names);
    return node;
  }

  const std::string& x_text;
  std::vector<Token> x_tokens;
  std::size_t x_at = 0;
  int x_depth = 0;
  std::optional<Error> x_error;
};

}  // namespace

Result<Node> parse(const std::string& text) {
  auto tokens = tokens_of(text);
  if (!tokens) return tokens.error();
  return Parser(text, std::move(*tokens)).run();
}

}  // namespace trainyard::cli::jmespath
