// The defaults that a user keeps with `trainyard configure`: a file of the form
//   [defaults]
//   group = mygroup
// in $TRAINYARD_CONFIG_DIR, else $XDG_CONFIG_HOME/trainyard, else ~/.config/trainyard. What wins: flag, environment,
// file, built in. Secrets are never kept: a certificate's key is named by its path.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/result.h"

namespace trainyard::cli {

struct Setting {
  const char* name;      // in the file and of `--defaults`
  const char* variable;  // of the environment
  const char* what;      // for people
};
const std::vector<Setting>& all_settings();
const Setting* find_setting(const std::string& name);  // null: there is none

class Settings {
 public:
  // Pure. What cannot be understood is left out with a warning that names the line: a broken file must not lock out
  // `trainyard configure`.
  static Settings parse(const std::string& text, const std::string& path);

  // Empty: not set.
  std::string get(const std::string& name) const;
  // Checks and sets; an empty value removes. Paths become absolute. Not saved yet.
  Status set(const std::string& name, const std::string& value);
  // The file's text: lines that set() did not touch stay as they were.
  std::string text() const;

  const std::string& path() const { return x_path; }  // empty: there is no place for it (no HOME)
  const std::vector<std::string>& warnings() const { return x_warnings; }

 private:
  std::string x_path;
  std::vector<std::string> x_lines;
  std::map<std::string, std::size_t> x_line_of;  // setting → its line
  std::map<std::string, std::string> x_values;
  std::vector<std::string> x_warnings;
};

// The user's, read once.
const Settings& user_settings();
// Replaces the file as a whole; only its owner can read it.
Status save(const Settings& settings);

}  // namespace trainyard::cli
