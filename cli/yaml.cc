#include "cli/yaml.h"

#include <fmt/format.h>

#include <algorithm>
#include <regex>
#include <string_view>

namespace trainyard::cli {
namespace {

using Json = nlohmann::ordered_json;

struct CodePoint {
  char32_t value = 0;
  std::size_t bytes = 1;
};

// Of well-formed UTF-8; stray bytes count as themselves.
CodePoint code_point_at(const std::string& text, std::size_t at) {
  const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
  const unsigned char first = byte(at);
  const std::size_t bytes = first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (bytes == 1 || at + bytes > text.size()) return {first, 1};
  char32_t value = first & (0xFFU >> (bytes + 1));
  for (std::size_t next = 1; next < bytes; ++next) value = (value << 6U) | (byte(at + next) & 0x3FU);
  return {value, bytes};
}

bool breaks_line(char32_t c) {
  return c == '\n' || c == 0x85 || c == 0x2028 || c == 0x2029;
}

bool must_be_escaped(char32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || breaks_line(c) || c == 0xFEFF || (c >= 0xD800 && c < 0xE000) ||
         c == 0xFFFE || c == 0xFFFF;
}

// What YAML 1.1 would take for something else than text.
bool reads_as_another_type(const std::string& text) {
  static const std::vector<std::string> words = {"yes",  "Yes",   "YES",   "no",    "No",   "NO", "true", "True",
                                                 "TRUE", "false", "False", "FALSE", "on",   "On", "ON",   "off",
                                                 "Off",  "OFF",   "null",  "Null",  "NULL", "~",  "<<",   "="};
  if (std::find(words.begin(), words.end(), text) != words.end()) return true;
  if (std::string_view("0123456789+-.").find(text[0]) == std::string_view::npos) return false;
  static const std::regex number(
      R"([-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?)"
      R"(|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))"
      R"(|[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+|[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+)");
  static const std::regex time(
      R"(\d{4}-\d\d-\d\d|\d{4}-\d\d?-\d\d?([Tt]|[ \t]+)\d\d?:\d\d:\d\d(\.\d*)?([ \t]*(Z|[-+]\d\d?(:\d\d)?))?)");
  constexpr std::size_t kLongest = 100;  // no number or time is longer
  return text.size() <= kLongest && (std::regex_match(text, number) || std::regex_match(text, time));
}

bool can_be_plain(const std::string& text) {
  if (text.empty() || text.front() == ' ' || text.back() == ' ') return false;
  if (text.starts_with("---") || text.starts_with("...")) return false;
  if (std::string_view("#,[]{}&*!|>'\"%@`").find(text[0]) != std::string_view::npos) return false;
  const auto ends_word = [&](std::size_t at) { return at >= text.size() || text[at] == ' '; };
  if (std::string_view("?:-").find(text[0]) != std::string_view::npos && ends_word(1)) return false;
  for (std::size_t at = 1; at < text.size(); ++at) {
    if (text[at] == ':' && ends_word(at + 1)) return false;
    if (text[at] == '#' && text[at - 1] == ' ') return false;
  }
  return !reads_as_another_type(text);
}

std::string double_quoted(const std::string& text) {
  std::string out = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    if (point.value == '"' || point.value == '\\') {
      out += '\\';
      out += text[at];
    } else if (point.value == '\n') {
      out += "\\n";
    } else if (point.value == '\t') {
      out += "\\t";
    } else if (must_be_escaped(point.value)) {
      out += point.value < 0x100 ? fmt::format("\\x{:02X}", static_cast<unsigned>(point.value))
                                 : fmt::format("\\u{:04X}", static_cast<unsigned>(point.value));
    } else {
      out += text.substr(at, point.bytes);
    }
    at += point.bytes;
  }
  return out + "\"";
}

std::string text_scalar(const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    if (must_be_escaped(point.value)) return double_quoted(text);
    at += point.bytes;
  }
  if (can_be_plain(text)) return text;
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("''") : std::string(1, c);
  return out + "'";
}

std::string scalar(const Json& value) {
  if (value.is_string()) return text_scalar(value.get_ref<const std::string&>());
  if (value.is_array()) return "[]";
  if (value.is_object()) return "{}";
  std::string text = value.dump();
  const auto exponent = text.find('e');
  const bool bare = value.is_number_float() && exponent != std::string::npos && text.find('.') == std::string::npos;
  return bare ? text.insert(exponent, ".0") : text;
}

bool is_block(const Json& value) {
  return value.is_structured() && !value.empty();
}

// `started`: the first line's indent is written already.
void write_block(const Json& value, std::size_t indent, bool started, std::string& out) {
  for (auto item = value.begin(); item != value.end(); ++item) {
    if (!started) out.append(indent, ' ');
    started = false;
    out += value.is_object() ? text_scalar(item.key()) + ":" : "-";
    if (!is_block(*item)) {
      out += " " + scalar(*item) + "\n";
    } else if (value.is_array()) {
      out += " ";
      write_block(*item, indent + 2, true, out);
    } else {
      out += "\n";
      write_block(*item, item->is_array() ? indent : indent + 2, false, out);
    }
  }
}

}  // namespace

std::string render_yaml(const Json& value) {
  std::string out;
  if (is_block(value)) {
    write_block(value, 0, false, out);
    return out;
  }
  out = scalar(value) + "\n";
  const bool closed = value.is_structured() || out[0] == '\'' || out[0] == '"';
  return closed ? out : out + "...\n";  // a lone plain word ends its document, as PyYAML has it
}

}  // namespace trainyard::cli
