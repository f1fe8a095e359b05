// Reads comma-separated values line by line, by the names in the first line. Every error says where: "FILE:LINE:
// COLUMN: what is wrong". Pure; the text must outlive the reader.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/result.h"

namespace trainyard::simulate {

struct CsvColumn {
  const char* name;
  bool required;
};

class CsvReader {
 public:
  // `name` of the file, for errors.
  CsvReader(std::string_view text, std::string name) : x_rest(text), x_name(std::move(name)) {}

  // Takes the first line. Columns come in any order; one that is required must be there, one that is not among
  // `columns` is an error unless `others` may be there.
  Status header(std::vector<CsvColumn> columns, bool others);

  // The next line that is not empty; false: there is none. An error: it has more or fewer fields than the first.
  Result<bool> next();

  // The present line's field of columns[column]; empty where the file has no such column.
  const std::string& text(std::size_t column) const;
  // A whole number of `lowest` to `highest`; `otherwise` for an empty field.
  Result<std::int64_t> number(std::size_t column, std::int64_t lowest, std::int64_t highest,
                              std::int64_t otherwise) const;
  // The error "this field is wrong".
  Error wrong(std::size_t column, const std::string& what) const;

 private:
  bool next_line(std::string_view& line);
  Result<std::vector<std::string>> split(std::string_view line) const;
  std::string here() const { return x_name + ":" + std::to_string(x_line) + ": "; }

  std::string_view x_rest;
  std::string x_name;
  std::size_t x_line = 0;
  std::vector<CsvColumn> x_columns;
  std::vector<int> x_places;  // of each column in a line; -1: the file lacks it
  std::vector<std::string> x_fields;
  std::size_t x_width = 0;
};

}  // namespace trainyard::simulate
