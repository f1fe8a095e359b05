#include "cli/output.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "cli/yaml.h"
#include "common/csv.h"

namespace trainyard::cli {
namespace {

// Columns as wide as they look: UTF-8 continuation bytes take no place.
std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// Digits, with a point between them at most.
bool is_number(const std::string& text) {
  std::size_t digits = 0, points = 0;
  for (std::size_t at = text.starts_with('-') ? 1 : 0; at < text.size(); ++at) {
    const bool digit = std::isdigit(static_cast<unsigned char>(text[at])) != 0;
    if (!digit && (text[at] != '.' || digits == 0 || at + 1 == text.size())) return false;
    digits += digit ? 1 : 0;
    points += digit ? 0 : 1;
  }
  return digits > 0 && points <= 1;
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::string space(width - std::min(width, width_of(text)), ' ');
  return right ? space + text : text + space;
}

std::string without_trailing_space(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

// One line per cell, and nothing a terminal would obey: names and reasons may come from other users.
std::string one_line(const std::string& text) {
  std::string out;
  for (const char c : text) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
  return out;
}

std::string text_of(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// As Azure's command line writes them: the words are Python's.
std::string scalar(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_null()) return "None";
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  return text_of(value);
}

std::string tsv_cell(const Json& value) {
  if (value.is_array()) return std::to_string(value.size());
  if (value.is_object()) return "";
  return one_line(scalar(value));
}

std::string tsv_line(const Json& value) {
  if (value.is_boolean()) return value.dump() + "\n";  // alone on a line: small, as there
  if (!value.is_structured()) return tsv_cell(value) + "\n";
  std::string line;
  bool first = true;
  for (const Json& cell : value) {
    if (!first) line += '\t';
    first = false;
    line += tsv_cell(cell);
  }
  return line + "\n";
}

Json in_order_of_names(const Json& value) {
  if (value.is_array()) {
    Json out = Json::array();
    for (const Json& item : value) out.push_back(in_order_of_names(item));
    return out;
  }
  if (!value.is_object()) return value;
  std::map<std::string, const Json*> items;
  for (auto item = value.begin(); item != value.end(); ++item) items.emplace(item.key(), &*item);
  Json out = Json::object();
  for (const auto& [key, item] : items) out.push_back({key, in_order_of_names(*item)});
  return out;
}

void write_coloured(const Json& value, std::size_t indent, std::string& out) {
  constexpr const char* kName = "\x1b[94m";
  constexpr const char* kText = "\x1b[33m";
  constexpr const char* kOther = "\x1b[36m";
  constexpr const char* kPlain = "\x1b[0m";
  if (!value.is_structured() || value.empty()) {
    const char* colour = value.is_structured() ? "" : value.is_string() ? kText : kOther;
    out += colour + text_of(value) + (*colour == '\0' ? "" : kPlain);
    return;
  }
  out += value.is_object() ? "{" : "[";
  for (auto item = value.begin(); item != value.end(); ++item) {
    out += item == value.begin() ? "\n" : ",\n";
    out.append(indent + 2, ' ');
    if (value.is_object()) out += kName + text_of(item.key()) + kPlain + ": ";
    write_coloured(*item, indent + 2, out);
  }
  out += "\n";
  out.append(indent, ' ');
  out += value.is_object() ? "}" : "]";
}

std::string heading(const std::string& key) {
  std::string text = key;
  if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text;
}

}  // namespace

Answer show_flag(const std::string& name, bool value) {
  std::string column = name;
  column[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(column[0])));
  return Answer{Json{{name, value}}, Table{{column}, {{value ? "True" : "False"}}}};
}

std::string render_table(const Table& table) {
  if (table.rows.empty()) return "";
  std::string head, rule;
  std::vector<std::string> lines(table.rows.size());
  for (std::size_t column = 0; column < table.columns.size(); ++column) {
    std::size_t width = width_of(table.columns[column]) + 2;
    bool any = false, numbers = true;
    for (const auto& row : table.rows) {
      width = std::max(width, width_of(row[column]));
      any = any || !row[column].empty();
      numbers = numbers && (row[column].empty() || is_number(row[column]));
    }
    const std::string gap = column == 0 ? "" : "  ";
    const bool right = any && numbers;
    head += gap + padded(table.columns[column], width, right);
    rule += gap + std::string(width, '-');
    for (std::size_t row = 0; row < lines.size(); ++row) {
      lines[row] += gap + padded(one_line(table.rows[row][column]), width, right);
    }
  }
  std::string out = without_trailing_space(head) + "\n" + rule + "\n";
  for (const std::string& line : lines) out += without_trailing_space(line) + "\n";
  return out;
}

std::string render_tsv(const Json& value) {
  if (value.is_null()) return "";
  if (!value.is_array()) return tsv_line(value);
  std::string out;
  for (const Json& row : value) out += tsv_line(row);
  return out;
}

std::string render_csv(const Table& table) {
  const auto line = [](const std::vector<std::string>& cells) {
    std::string out;
    for (const std::string& cell : cells) {
      if (&cell != &cells.front()) out += ',';
      out += csv_field(cell);
    }
    return out + "\r\n";
  };
  std::string out = line(table.columns);
  for (const auto& row : table.rows) out += line(row);
  return out;
}

std::string render_json(const Json& value) {
  return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string render_coloured_json(const Json& value) {
  std::string out;
  write_coloured(value, 0, out);
  return out + "\n";
}

namespace {

// Columns are named as the fields are.
Table rows_of(const Json& value) {
  const Json rows = value.is_array() ? value : value.is_null() ? Json::array() : Json::array({value});
  Table table;
  std::size_t widest = 0;
  for (const Json& row : rows) {
    if (row.is_array()) widest = std::max(widest, row.size());
    if (!row.is_object()) continue;
    for (const auto& [key, cell] : row.items()) {
      if (cell.is_structured()) continue;  // as in Batch AI's tables, nested values are left out
      if (std::find(table.columns.begin(), table.columns.end(), key) == table.columns.end())
        table.columns.push_back(key);
    }
  }
  const std::vector<std::string> keys = table.columns;
  if (keys.empty() && widest > 0) {
    for (std::size_t at = 0; at < widest; ++at) table.columns.push_back(fmt::format("Column{}", at + 1));
  } else if (keys.empty()) {
    table.columns.push_back("Result");
  }
  for (const Json& row : rows) {
    std::vector<std::string> cells;
    if (row.is_object()) {
      for (const std::string& key : keys) {
        const auto found = row.find(key);
        const bool shown = found != row.end() && !found->is_null() && !found->is_structured();
        cells.push_back(shown ? scalar(*found) : "");
      }
    } else if (row.is_array()) {
      for (const Json& cell : row) cells.push_back(cell.is_null() ? "" : scalar(cell));
    } else {
      cells.push_back(row.is_null() ? "" : scalar(row));
    }
    cells.resize(table.columns.size());
    table.rows.push_back(std::move(cells));
  }
  return table;
}

}  // namespace

Table table_of(const Json& value) {
  Table table = rows_of(value);
  for (std::string& column : table.columns) column = heading(column);
  return table;
}

Result<std::string> render(const Answer& answer, const Style& style) {
  if (style.query.empty() && style.format == "table") return render_table(answer.table);
  if (style.query.empty() && style.format == "csv" && !answer.csv.columns.empty()) return render_csv(answer.csv);
  const auto found = apply_query(in_order_of_names(answer.value), style.query);
  if (!found) return found.error();
  if (style.format == "none") return std::string();
  if (style.format == "table") return render_table(table_of(*found));
  if (style.format == "csv") return render_csv(rows_of(*found));
  if (style.format == "tsv") return render_tsv(*found);
  const Json value = in_order_of_names(*found);
  if (style.format == "yaml") return render_yaml(value);
  return style.format == "jsonc" && style.colours ? render_coloured_json(value) : render_json(value);
}

}  // namespace trainyard::cli
