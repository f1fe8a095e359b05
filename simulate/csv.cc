#include "simulate/csv.h"

#include <algorithm>
#include <charconv>

#include "common/csv.h"

namespace trainyard::simulate {

bool CsvReader::next_line(std::string_view& line) {
  while (!x_rest.empty()) {
    const std::size_t end = x_rest.find('\n');
    line = x_rest.substr(0, end);
    x_rest = end == std::string_view::npos ? std::string_view() : x_rest.substr(end + 1);
    ++x_line;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") != std::string_view::npos) return true;
  }
  return false;
}

// A field has no line break: errors name lines, and a quote that is missing would swallow them.
Result<std::vector<std::string>> CsvReader::split(std::string_view line) const {
  std::vector<std::string> fields;
  std::size_t end = 0;
  if (!take_csv_row(line, end, fields) || end != line.size()) {
    return Error{Code::invalid_argument, here() + "a field begins with \" but does not end with one"};
  }
  return fields;
}

Status CsvReader::header(std::vector<CsvColumn> columns, bool others) {
  x_columns = std::move(columns);
  x_places.assign(x_columns.size(), -1);
  std::string expected;
  for (const CsvColumn& column : x_columns) expected += (expected.empty() ? "" : ",") + std::string(column.name);
  std::string_view line;
  if (!next_line(line)) {
    return Error{Code::invalid_argument, x_name + ": is empty; its first line must name the columns: " + expected};
  }
  const auto names = split(line);
  if (!names) return names.error();
  x_width = names->size();
  for (std::size_t place = 0; place < names->size(); ++place) {
    const auto known = std::find_if(x_columns.begin(), x_columns.end(),
                                    [&](const CsvColumn& column) { return (*names)[place] == column.name; });
    if (known != x_columns.end()) {
      x_places[static_cast<std::size_t>(known - x_columns.begin())] = static_cast<int>(place);
    } else if (!others) {
      return Error{Code::invalid_argument,
                   here() + "there is no column \"" + (*names)[place] + "\"; the columns are " + expected};
    }
  }
  for (std::size_t column = 0; column < x_columns.size(); ++column) {
    if (!x_columns[column].required || x_places[column] >= 0) continue;
    return Error{Code::invalid_argument,
                 here() + "column " + x_columns[column].name + " is missing; the columns are " + expected};
  }
  return {};
}

Result<bool> CsvReader::next() {
  std::string_view line;
  if (!next_line(line)) return false;
  auto fields = split(line);
  if (!fields) return fields.error();
  if (fields->size() != x_width) {
    return Error{Code::invalid_argument, here() + std::to_string(fields->size()) + " fields, but the first line has " +
                                             std::to_string(x_width)};
  }
  x_fields = std::move(*fields);
  return true;
}

const std::string& CsvReader::text(std::size_t column) const {
  static const std::string none;
  return x_places[column] < 0 ? none : x_fields[static_cast<std::size_t>(x_places[column])];
}

Result<std::int64_t> CsvReader::number(std::size_t column, std::int64_t lowest, std::int64_t highest,
                                       std::int64_t otherwise) const {
  const std::string& field = text(column);
  if (field.empty()) return otherwise;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (error == std::errc() && end == field.data() + field.size() && value >= lowest && value <= highest) return value;
  return wrong(column, "must be a whole number from " + std::to_string(lowest) + " to " + std::to_string(highest));
}

Error CsvReader::wrong(std::size_t column, const std::string& what) const {
  return {Code::invalid_argument, here() + "column " + x_columns[column].name + ": \"" + text(column) + "\": " + what};
}

}  // namespace trainyard::simulate
