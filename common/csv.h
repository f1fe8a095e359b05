// Comma-separated values (RFC 4180). Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trainyard {

// Takes one row of `text` from `at` on, which is then behind the row's line break. A field may stand between double
// quotes, which are doubled inside, and may then hold commas and line breaks. False: a quoted field has no end, or
// something else than the field's end stands behind it.
bool take_csv_row(std::string_view text, std::size_t& at, std::vector<std::string>& row);

// As a field of a row: between quotes where it must be.
std::string csv_field(const std::string& text);

}  // namespace trainyard
