// How answers are written: JSON (indented, as a script expects it), a table for people, or tab-separated values. Pure:
// each returns the whole text, with its last newline.
#pragma once

#include <string>
#include <vector>

#include "cli/query.h"
#include "common/result.h"

namespace trainyard::cli {

// Cells are text; numbers are flagged per column by their look, and stand right, as in Batch AI's tables.
struct Table {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

// What a command answers: the value for json, tsv and --query, and the table for people.
struct Answer {
  Json value;
  Table table;
};

std::string render_table(const Table& table);  // empty when there are no rows
std::string render_tsv(const Json& value);
std::string render_json(const Json& value);
// A table of any JSON, for --query with -o table.
Table table_of(const Json& value);

// `format`: json | table | tsv.
Result<std::string> render(const Answer& answer, const std::string& format, const std::string& query);

}  // namespace trainyard::cli
