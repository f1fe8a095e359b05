// How answers are written: JSON (indented, as a script expects it), YAML, a table for people, tab-separated values, or
// CSV for spreadsheets.
// Pure: each returns the whole text, with its last newline.
#pragma once

#include <string>
#include <vector>

#include "cli/query.h"
#include "common/result.h"

namespace trainyard::cli {

inline const std::vector<std::string> kOutputFormats = {"json", "jsonc", "table", "tsv", "csv", "yaml", "none"};

// Cells are text; numbers are flagged per column by their look, and stand right, as in Batch AI's tables.
struct Table {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

// What a command answers: the value for --query and all formats but table, and the table for people.
struct Answer {
  Json value;
  Table table;
  Table csv = {};  // without columns: made of the value
};

// {"NAME": true | false}, as Azure's command line answers such questions and deeds.
Answer show_flag(const std::string& name, bool value);

std::string render_table(const Table& table);  // empty when there are no rows
// A row per item of a list, its fields beside each other. Lists in a row are shown as their length, objects as nothing:
// the number of columns does not depend on them.
std::string render_tsv(const Json& value);
// RFC 4180: a line of names, then the rows; "" around what needs it, lines end in CR LF.
std::string render_csv(const Table& table);
std::string render_json(const Json& value);
std::string render_coloured_json(const Json& value);  // with a terminal's escape sequences
// A table of any JSON, for --query with -o table.
Table table_of(const Json& value);

struct Style {
  std::string format = "json";  // one of kOutputFormats
  std::string query;
  bool colours = false;  // jsonc has them only then
};
// Fields of objects come in the order of their names; in tables and tsv as --query names them. The only errors are the
// query's.
Result<std::string> render(const Answer& answer, const Style& style);

}  // namespace trainyard::cli
