// docs/batch-ai-compatibility.md, row by row, and surface.json: what Batch AI had. For the tests that hold the page
// against the program. A row's last cell begins with its verdict; names are the words in backticks of the other cells.
#pragma once

#include <cctype>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace trainyard::test {

enum class Verdict { works, differs, no_effect, refused, own, none };

struct PageRow {
  std::string section, line;
  std::vector<std::set<std::string>> names;  // of each cell but the last
  Verdict verdict = Verdict::none;

  bool has(std::size_t cell, const std::string& name) const {
    return cell < names.size() && names[cell].contains(name);
  }
};

inline std::string content_of(const std::string& path_in_checkout) {
  std::ifstream file(std::string(TRAINYARD_SOURCE_DIR) + "/" + path_in_checkout, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline const nlohmann::json& surface() {
  static const nlohmann::json parsed = nlohmann::json::parse(content_of("tests/support/batchai/surface.json"));
  return parsed;
}

inline Verdict verdict_of(const std::string& text) {
  const std::pair<const char*, Verdict> words[] = {{"works", Verdict::works},
                                                   {"differs: ", Verdict::differs},
                                                   {"no effect", Verdict::no_effect},
                                                   {"refused: ", Verdict::refused},
                                                   {"Trainyard's own", Verdict::own}};
  for (const auto& [word, verdict] : words) {
    if (text.starts_with(word)) return verdict;
  }
  return Verdict::none;
}

inline PageRow row_of(const std::string& section, const std::string& line) {
  PageRow row{section, line, {}, Verdict::none};
  const auto last = line.rfind(" |"), before = line.rfind("| ", last - 1);
  row.verdict = verdict_of(line.substr(before + 2, last - before - 2));
  const std::regex quoted("`([^`]+)`");
  for (std::size_t from = 1; from < before;) {
    const std::size_t to = line.find('|', from);
    const std::string cell = line.substr(from, to - from);
    std::set<std::string>& names = row.names.emplace_back();
    for (std::sregex_iterator it(cell.begin(), cell.end(), quoted), end; it != end; ++it) names.insert((*it)[1]);
    from = to + 1;
  }
  return row;
}

// Rows of tables, without their heads.
inline const std::vector<PageRow>& page() {
  static const std::vector<PageRow> rows = [] {
    std::vector<PageRow> found;
    std::string section, previous;
    std::ifstream file(std::string(TRAINYARD_SOURCE_DIR) + "/docs/batch-ai-compatibility.md");
    for (std::string line; std::getline(file, line); previous = line) {
      if (line.starts_with("## ")) section = line.substr(3);
      const bool head = !previous.starts_with("|") || line.starts_with("|---");
      if (line.starts_with("| ") && !head) found.push_back(row_of(section, line));
    }
    return found;
  }();
  return rows;
}

// The rows of `section` that name `name` in the cell.
inline std::vector<const PageRow*> rows_with(const std::string& section, std::size_t cell, const std::string& name) {
  std::vector<const PageRow*> found;
  for (const PageRow& row : page()) {
    if (row.section == section && row.has(cell, name)) found.push_back(&row);
  }
  return found;
}

}  // namespace trainyard::test
