// YAML as Azure's command line prints it: block style, lists not indented below their key, quotes only where text would
// otherwise be read as something else. Unlike there, long text stays on one line, and text of several lines is one line
// in double quotes. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace trainyard::cli {

std::string render_yaml(const nlohmann::ordered_json& value);

}  // namespace trainyard::cli
