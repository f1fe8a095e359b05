// What the definitions of the commands say about a line of words: how far it is right, what is misspelt, and how it can
// go on. Shell completion and error messages both come from here, so neither can drift from what is parsed. Pure.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace trainyard::cli {

struct Walk {
  const CLI::App* command = nullptr;     // the innermost that was named
  const CLI::Option* pending = nullptr;  // its value comes next
  std::string unknown;                   // the first word that means nothing there; the walk ends before it
};
Walk walk_words(const CLI::App& app, const std::vector<std::string>& words);

std::string full_name_of(const CLI::App& command);  // "trainyard job create"

// "there is no command `clustr`; did you mean `cluster`?"; empty when every word is known.
std::string unknown_word(const Walk& walk);

struct Setting;
// The default that would have spared the user CLI11's "--workspace is required"; null: there is none.
const Setting* required_setting(const std::string& message);

struct Candidate {
  std::string word, what;
};
// What the last word can become. Empty where only the shell can know: a file's name, or a name of the user's.
std::vector<Candidate> complete(const CLI::App& app, std::vector<std::string> words);

// `trainyard complete-line -- WORDS`: what the shells' scripts ask.
inline constexpr const char* kCompleteLine = "complete-line";

}  // namespace trainyard::cli
