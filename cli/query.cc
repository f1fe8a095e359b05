#include "cli/query.h"

#include <fmt/format.h>

#include <cctype>
#include <memory>
#include <vector>

namespace trainyard::cli {
namespace {

struct Step;
using Chain = std::vector<Step>;
using Pipeline = std::vector<Chain>;  // each stage gets the one before's whole result

struct Step {
  enum class Kind { field, index, project, flatten, filter, list, hash } kind = Kind::field;
  std::string name;                     // field
  long index = 0;                       // index
  std::vector<Pipeline> parts;          // list, hash; filter: the left side
  std::vector<std::string> part_names;  // hash
  Json literal;                         // filter: the right side
  bool equal = true;                    // filter: == or !=
};

Json run(const Pipeline& pipeline, const Json& value);

Json field_of(const Json& value, const std::string& name) {
  if (!value.is_object()) return nullptr;
  const auto found = value.find(name);
  return found == value.end() ? Json(nullptr) : Json(*found);
}

Json index_of(const Json& value, long index) {
  if (!value.is_array()) return nullptr;
  const long size = static_cast<long>(value.size());
  const long at = index < 0 ? size + index : index;
  return at >= 0 && at < size ? Json(value[static_cast<std::size_t>(at)]) : Json(nullptr);
}

Json chain_result(const Chain& chain, std::size_t from, std::size_t to, const Json& value);

// The rest of the chain for each item; nulls are dropped, as in JMESPath.
Json projected(const Chain& chain, std::size_t from, std::size_t to, const Json& items) {
  Json out = Json::array();
  for (const Json& item : items) {
    Json result = chain_result(chain, from, to, item);
    if (!result.is_null()) out.push_back(std::move(result));
  }
  return out;
}

Json flattened(const Json& items) {
  Json out = Json::array();
  for (const Json& item : items) {
    if (item.is_array()) {
      for (const Json& inner : item) out.push_back(inner);
    } else {
      out.push_back(item);
    }
  }
  return out;
}

Json filtered(const Step& step, const Json& items) {
  Json out = Json::array();
  for (const Json& item : items) {
    if ((run(step.parts[0], item) == step.literal) == step.equal) out.push_back(item);
  }
  return out;
}

Json picked(const Step& step, const Json& value) {
  if (value.is_null()) return nullptr;
  Json out = step.kind == Step::Kind::list ? Json::array() : Json::object();
  for (std::size_t at = 0; at < step.parts.size(); ++at) {
    Json part = run(step.parts[at], value);
    if (step.kind == Step::Kind::list) {
      out.push_back(std::move(part));
    } else {
      out[step.part_names[at]] = std::move(part);
    }
  }
  return out;
}

Json chain_result(const Chain& chain, std::size_t from, std::size_t to, const Json& value) {
  // A flatten takes the whole result of what stands before it, projections included.
  for (std::size_t at = to; at-- > from;) {
    if (chain[at].kind != Step::Kind::flatten) continue;
    const Json left = chain_result(chain, from, at, value);
    return left.is_array() ? projected(chain, at + 1, to, flattened(left)) : Json(nullptr);
  }
  Json now = value;
  for (std::size_t at = from; at < to; ++at) {
    const Step& step = chain[at];
    switch (step.kind) {
      case Step::Kind::field:
        now = field_of(now, step.name);
        break;
      case Step::Kind::index:
        now = index_of(now, step.index);
        break;
      case Step::Kind::list:
      case Step::Kind::hash:
        now = picked(step, now);
        break;
      case Step::Kind::project:
        return now.is_array() ? projected(chain, at + 1, to, now) : Json(nullptr);
      case Step::Kind::filter:
        return now.is_array() ? projected(chain, at + 1, to, filtered(step, now)) : Json(nullptr);
      case Step::Kind::flatten:
        break;
    }
  }
  return now;
}

Json run(const Pipeline& pipeline, const Json& value) {
  Json now = value;
  for (const Chain& chain : pipeline) now = chain_result(chain, 0, chain.size(), now);
  return now;
}

// Recursive descent; the first error stops it. Depth is limited so that a hostile expression cannot overflow the stack.
class Parser {
 public:
  explicit Parser(const std::string& text) : x_text(text) {}

  Result<Pipeline> parse() {
    Pipeline pipeline = parse_pipeline();
    if (x_error.empty() && !at_end()) fail("unexpected");
    if (!x_error.empty()) return Error{Code::invalid_argument, x_error};
    return pipeline;
  }

 private:
  Pipeline parse_pipeline() {
    Pipeline pipeline;
    if (++x_depth > 50) fail("nested too deeply");
    do {
      pipeline.push_back(parse_chain());
    } while (x_error.empty() && take("|"));
    --x_depth;
    return pipeline;
  }

  Chain parse_chain() {
    Chain chain;
    bool first = true;
    while (x_error.empty()) {
      if (peek() == '[') {
        parse_bracket(chain, first);
      } else if (first || take(".")) {
        if (take("@")) {
          if (!first) fail("unexpected @");
        } else if (peek() == '[') {
          parse_bracket(chain, true);  // x.[a, b]
        } else if (peek() == '{') {
          parse_hash(chain);
        } else {
          parse_field(chain);
        }
      } else {
        break;
      }
      first = false;
    }
    return chain;
  }

  void parse_field(Chain& chain) {
    Step step;
    step.name = identifier();
    if (peek() == '(') return fail("functions are not supported:");
    chain.push_back(std::move(step));
  }

  std::string identifier() {
    skip_space();
    std::string name;
    if (x_at < x_text.size() && x_text[x_at] == '"') {
      const auto end = x_text.find('"', x_at + 1);
      if (end == std::string::npos) {
        fail("the quote is not closed");
        return {};
      }
      name = x_text.substr(x_at + 1, end - x_at - 1);
      x_at = end + 1;
      return name;
    }
    while (x_at < x_text.size() && (std::isalnum(static_cast<unsigned char>(x_text[x_at])) || x_text[x_at] == '_')) {
      name += x_text[x_at++];
    }
    if (name.empty() || std::isdigit(static_cast<unsigned char>(name[0]))) fail("expected a field's name");
    return name;
  }

  // `may_list`: here [a, b] picks fields rather than indexing what stands before.
  void parse_bracket(Chain& chain, bool may_list) {
    take("[");
    Step step;
    if (take("]")) {
      step.kind = Step::Kind::flatten;
    } else if (take("*")) {
      step.kind = Step::Kind::project;
      expect("]");
    } else if (take("?")) {
      parse_filter(step);
    } else if (peek() == '-' || std::isdigit(static_cast<unsigned char>(peek()))) {
      parse_index(step);
    } else if (may_list) {
      step.kind = Step::Kind::list;
      do {
        step.parts.push_back(parse_pipeline());
      } while (x_error.empty() && take(","));
      expect("]");
    } else {
      return fail("expected an index, *, or ?filter");
    }
    chain.push_back(std::move(step));
  }

  void parse_index(Step& step) {
    step.kind = Step::Kind::index;
    std::string digits = take("-") ? "-" : "";
    while (x_at < x_text.size() && std::isdigit(static_cast<unsigned char>(x_text[x_at])) && digits.size() < 10) {
      digits += x_text[x_at++];
    }
    if (digits.empty() || digits == "-") return fail("expected an index");
    step.index = std::stol(digits);
    expect("]");
  }

  void parse_filter(Step& step) {
    step.kind = Step::Kind::filter;
    step.parts.push_back(parse_pipeline());
    if (take("!=")) {
      step.equal = false;
    } else {
      expect("==");
    }
    const char quote = peek();
    if (quote != '\'' && quote != '`') return fail("expected 'text' or `json`");
    const auto end = x_text.find(quote, x_at + 1);
    if (end == std::string::npos) return fail("the quote is not closed");
    const std::string body = x_text.substr(x_at + 1, end - x_at - 1);
    x_at = end + 1;
    step.literal = quote == '\'' ? Json(body) : Json::parse(body, nullptr, false);
    if (step.literal.is_discarded()) return fail("between ` must be JSON");
    expect("]");
  }

  void parse_hash(Chain& chain) {
    take("{");
    Step step;
    step.kind = Step::Kind::hash;
    do {
      step.part_names.push_back(identifier());
      expect(":");
      step.parts.push_back(parse_pipeline());
    } while (x_error.empty() && take(","));
    expect("}");
    chain.push_back(std::move(step));
  }

  void skip_space() {
    while (x_at < x_text.size() && std::isspace(static_cast<unsigned char>(x_text[x_at]))) ++x_at;
  }
  bool at_end() {
    skip_space();
    return x_at == x_text.size();
  }
  char peek() {
    skip_space();
    return x_at < x_text.size() ? x_text[x_at] : '\0';
  }
  bool take(const std::string& token) {
    skip_space();
    if (x_text.compare(x_at, token.size(), token) != 0) return false;
    x_at += token.size();
    return true;
  }
  void expect(const std::string& token) {
    if (!take(token)) fail("expected " + token);
  }
  void fail(const std::string& what) {
    if (!x_error.empty()) return;
    const std::string rest = x_at < x_text.size() ? "\"" + x_text.substr(x_at, 30) + "\"" : "the end";
    x_error =
        fmt::format("--query: {} at {} of \"{}\" (supported: a.b, [0], [*].a, [].a, [?a=='x'], [a,b], {{x:a}}, |)",
                    what, rest, x_text);
  }

  const std::string& x_text;
  std::size_t x_at = 0;
  int x_depth = 0;
  std::string x_error;
};

}  // namespace

Result<Json> apply_query(const Json& value, const std::string& expression) {
  if (expression.find_first_not_of(" \t") == std::string::npos) return value;
  const auto pipeline = Parser(expression).parse();
  if (!pipeline) return pipeline.error();
  return run(*pipeline, value);
}

}  // namespace trainyard::cli
