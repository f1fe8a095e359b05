#include "common/csv.h"

namespace trainyard {

bool take_csv_row(std::string_view text, std::size_t& at, std::vector<std::string>& row) {
  const auto ends = [&] { return at == text.size() || text[at] == ',' || text[at] == '\n' || text[at] == '\r'; };
  for (;;) {
    std::string field;
    if (at < text.size() && text[at] == '"') {
      for (++at;; ++at) {
        if (at == text.size()) return false;
        if (text[at] == '"') {
          if (at + 1 == text.size() || text[at + 1] != '"') break;
          ++at;  // two of them stand for one
        }
        field += text[at];
      }
      ++at;
      if (!ends()) return false;
    } else {
      while (!ends()) field += text[at++];
    }
    row.push_back(std::move(field));
    if (at == text.size() || text[at] != ',') break;
    ++at;
  }
  if (at < text.size() && text[at] == '\r') ++at;
  if (at < text.size() && text[at] == '\n') ++at;
  return true;
}

std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == text.npos) return text;
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string(2, c) : std::string(1, c);
  return out + '"';
}

}  // namespace trainyard
