#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <limits>

#include "cli/jmespath/syntax.h"

namespace trainyard::cli::jmespath {
namespace {

using Kind = Token::Kind;

bool starts_name(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_';
}

bool is_digit(char c) {
  return std::isdigit(static_cast<unsigned char>(c)) != 0;
}

bool is_continuation(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

// From somewhere in a UTF-8 character to behind it.
std::size_t end_of_character(const std::string& text, std::size_t at) {
  while (at < text.size() && is_continuation(text[at])) ++at;
  return at;
}

struct Sign {
  const char* text;
  Kind kind;
};
// Longer ones first.
constexpr Sign kSigns[] = {
    {"[]", Kind::flatten},
    {"[?", Kind::filter},
    {"||", Kind::either},
    {"&&", Kind::both},
    {"==", Kind::equal},
    {"!=", Kind::not_equal},
    {"<=", Kind::less_equal},
    {">=", Kind::greater_equal},
    {"[", Kind::open_bracket},
    {"]", Kind::close_bracket},
    {"(", Kind::open_parenthesis},
    {")", Kind::close_parenthesis},
    {"{", Kind::open_brace},
    {"}", Kind::close_brace},
    {"|", Kind::pipe},
    {"&", Kind::reference},
    {"!", Kind::negation},
    {"<", Kind::less},
    {">", Kind::greater},
    {".", Kind::dot},
    {"*", Kind::star},
    {",", Kind::comma},
    {":", Kind::colon},
    {"@", Kind::current},
};

class Lexer {
 public:
  explicit Lexer(const std::string& text) : x_text(text) {}

  Result<std::vector<Token>> run() {
    std::vector<Token> tokens;
    for (;;) {
      while (x_at < x_text.size() && std::string_view(" \t\r\n").find(x_text[x_at]) != std::string_view::npos) ++x_at;
      Token token;
      token.at = x_at;
      if (x_at == x_text.size()) {
        tokens.push_back(std::move(token));
        return tokens;
      }
      if (const Status read = next(token); !read) return read.error();
      if (token.text.empty()) token.text = x_text.substr(token.at, x_at - token.at);
      tokens.push_back(std::move(token));
    }
  }

 private:
  Status next(Token& token) {
    const char c = x_text[x_at];
    if (starts_name(c)) {
      token.kind = Kind::name;
      while (x_at < x_text.size() && (starts_name(x_text[x_at]) || is_digit(x_text[x_at]))) ++x_at;
      return {};
    }
    if (is_digit(c) || c == '-') return number(token);
    if (c == '"') return quoted_name(token);
    if (c == '\'') return raw_string(token);
    if (c == '`') return json_literal(token);
    for (const Sign& sign : kSigns) {
      const std::string_view text = sign.text;
      if (x_text.compare(x_at, text.size(), text) != 0) continue;
      token.kind = sign.kind;
      x_at += text.size();
      return {};
    }
    if (c == '=') return fault(kSyntax, x_text, x_at, "to compare, write ==");
    const std::size_t end = end_of_character(x_text, x_at + 1);
    return fault(kSyntax, x_text, x_at,
                 fmt::format("a character that has no meaning here: {}", x_text.substr(x_at, end - x_at)));
  }

  Status number(Token& token) {
    const std::size_t start = x_at;
    if (x_text[x_at] == '-') ++x_at;
    while (x_at < x_text.size() && is_digit(x_text[x_at])) ++x_at;
    const std::string digits = x_text.substr(start, x_at - start);
    if (digits == "-") return fault(kSyntax, x_text, start, "expected a number after -");
    if (digits.size() > 18) return fault(kSyntax, x_text, start, "a number too large for an index");
    token.kind = Kind::number;
    token.number = std::stoll(digits);
    return {};
  }

  // The text up to the closing quote, with its backslashes; x_at ends behind the quote.
  Result<std::string> quoted(char quote) {
    const std::size_t start = x_at++;
    std::string body;
    while (x_at < x_text.size() && x_text[x_at] != quote) {
      if (x_text[x_at] == '\\' && x_at + 1 < x_text.size()) body += x_text[x_at++];
      body += x_text[x_at++];
    }
    if (x_at == x_text.size()) return fault(kSyntax, x_text, start, fmt::format("the {} is not closed", quote));
    ++x_at;
    return body;
  }

  Status quoted_name(Token& token) {
    const auto body = quoted('"');
    if (!body) return body.error();
    const Json name = Json::parse('"' + *body + '"', nullptr, false);
    if (name.is_discarded()) return fault(kSyntax, x_text, token.at, "between \" must be the inside of a JSON string");
    token.kind = Kind::quoted_name;
    token.value = name;
    return {};
  }

  static std::string without_escapes_of(char quote, const std::string& body) {
    std::string out;
    for (std::size_t at = 0; at < body.size(); ++at) {
      const bool escape = body[at] == '\\' && at + 1 < body.size();
      if (escape && body[at + 1] != quote)
        out += body[at++];
      else if (escape)
        ++at;
      out += body[at];
    }
    return out;
  }

  Status raw_string(Token& token) {
    const auto body = quoted('\'');
    if (!body) return body.error();
    token.kind = Kind::literal;
    token.value = without_escapes_of('\'', *body);
    return {};
  }

  // `json`. Text that is not JSON is taken as a string, as old versions of the language and `az` have it: `queued`.
  Status json_literal(Token& token) {
    const auto body = quoted('`');
    if (!body) return body.error();
    const std::string text = without_escapes_of('`', *body);
    token.kind = Kind::literal;
    token.value = Json::parse(text, nullptr, false);
    if (!token.value.is_discarded()) return {};
    const std::size_t start = std::min(text.find_first_not_of(" \t\r\n"), text.size());
    const bool meant_as_json =
        start == text.size() || std::string_view("[{\"").find(text[start]) != std::string_view::npos;
    if (!meant_as_json) token.value = Json::parse('"' + text.substr(start) + '"', nullptr, false);
    if (token.value.is_discarded()) {
      return fault(kSyntax, x_text, token.at,
                   "between ` must be JSON, e.g. `1`, `true`, `\"text\"`; for text write 'text'");
    }
    return {};
  }

  const std::string& x_text;
  std::size_t x_at = 0;
};

}  // namespace

Error fault(const char* kind, const std::string& text, std::size_t at, const std::string& message) {
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(at, text.size()));
  const auto character = std::count_if(text.begin(), end, [](char c) { return !is_continuation(c); }) + 1;
  constexpr std::size_t kShown = 200;
  const std::string shown = text.size() <= kShown ? text : text.substr(0, end_of_character(text, kShown)) + "...";
  return Error{Code::invalid_argument,
               fmt::format("--query: {} error at character {} of \"{}\": {}", kind, character, shown, message)};
}

Result<std::vector<Token>> tokens_of(const std::string& text) {
  return Lexer(text).run();
}

}  // namespace trainyard::cli::jmespath
