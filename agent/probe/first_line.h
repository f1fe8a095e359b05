// What sysfs says in one line.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

namespace trainyard::agent {

// Of the file, without its end; empty: there is none.
inline std::string first_line(const std::filesystem::path& file) {
  std::string line;
  std::ifstream in(file);
  std::getline(in, line);
  return line;
}

}  // namespace trainyard::agent
