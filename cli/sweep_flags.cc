#include "cli/sweep_flags.h"

#include <fmt/format.h>

#include <charconv>

#include "common/csv.h"

namespace trainyard::cli {
namespace {

Error wrong(const std::string& flag, const std::string& word, const std::string& text) {
  return {Code::invalid_argument, fmt::format("{} {}: {}", flag, word.substr(0, 100), text)};
}

bool read_number(const std::string& text, double& into) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

Status add_grid(const std::string& word, v1::ParameterSweep& sweep) {
  const std::size_t equals = word.find('=');
  if (equals == 0 || equals == word.npos) return wrong("--grid", word, "is not NAME=VALUE,VALUE,...");
  std::vector<std::string> values;
  std::size_t at = equals + 1;
  if (!take_csv_row(word, at, values) || at != word.size()) return wrong("--grid", word, "a quoted value does not end");
  auto& axis = *sweep.add_grid();
  axis.set_name(word.substr(0, equals));
  for (std::string& value : values) axis.add_values(std::move(value));
  return {};
}

Status add_range(const std::string& word, v1::ParameterSweep& sweep) {
  const std::size_t equals = word.find('=');
  const Error bad = wrong("--random", word, "is not NAME=MIN:MAX[:log][:int]");
  if (equals == 0 || equals == word.npos) return bad;
  std::vector<std::string> parts;
  for (std::size_t from = equals + 1;;) {
    const std::size_t colon = word.find(':', from);
    parts.push_back(word.substr(from, colon == word.npos ? word.npos : colon - from));
    if (colon == word.npos) break;
    from = colon + 1;
  }
  v1::ParameterRange range;
  range.set_name(word.substr(0, equals));
  double low = 0, high = 0;
  if (parts.size() < 2 || !read_number(parts[0], low) || !read_number(parts[1], high)) return bad;
  range.set_min(low);
  range.set_max(high);
  for (std::size_t i = 2; i < parts.size(); ++i) {
    if (parts[i] != "log" && parts[i] != "int") return bad;
    parts[i] == "log" ? range.set_log(true) : range.set_integer(true);
  }
  *sweep.add_random() = std::move(range);
  return {};
}

Status read_list(const std::string& text, const std::string& file, v1::ParameterSweep& sweep) {
  auto& list = *sweep.mutable_list();
  std::size_t at = text.starts_with("\xef\xbb\xbf") ? 3 : 0;  // as some programs begin such files
  for (std::size_t number = 0; at < text.size(); ++number) {
    std::vector<std::string> row;
    if (!take_csv_row(text, at, row)) {
      return wrong("--list", file, fmt::format("row {}: a quoted value does not end where it should", number));
    }
    if (row.size() == 1 && row[0].empty()) continue;  // an empty line
    if (list.names().empty()) {
      for (std::string& name : row) list.add_names(std::move(name));
      continue;
    }
    if (row.size() != static_cast<std::size_t>(list.names_size())) {
      return wrong(
          "--list", file,
          fmt::format("row {} has {} values, and the first line has {} names", number, row.size(), list.names_size()));
    }
    auto& out = *list.add_rows();
    for (std::string& value : row) out.add_values(std::move(value));
  }
  if (list.rows().empty()) return wrong("--list", file, "has no rows below the line with the names");
  return {};
}

}  // namespace trainyard::cli
