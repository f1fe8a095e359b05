#include "cli/old_spellings.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

namespace trainyard::cli {
namespace {

struct OldCommand {
  const char* group;
  const char* old;
  const char* inner_group;
  const char* command;
  std::vector<std::pair<std::string, std::string>> flags;  // old → new
};

const std::vector<OldCommand>& old_commands() {
  static const std::vector<OldCommand> commands = {
      {"job", "list-files", "file", "list", {{"--job-name", "--job"}}},
      {"job", "stream-file", "file", "stream", {{"--job-name", "--job"}, {"--name", "--file-name"}, {"-n", "-f"}}},
      {"job", "list-nodes", "node", "list", {{"--job-name", "--job"}, {"--name", "--job"}, {"-n", "-j"}}},
      {"cluster", "list-nodes", "node", "list", {{"--name", "--cluster"}, {"-n", "-c"}}},
  };
  return commands;
}

// Whether the word is this flag, alone or with its value: "-c", "--config", "--config=x", "-cx".
bool is_flag(const std::string& word, const std::string& flag) {
  const bool is_long = flag.starts_with("--");
  return word == flag || word.starts_with(is_long ? flag + "=" : flag);
}

// `job create` had -c for the file and -r for the cluster; now -c is the cluster. A line that names the cluster in the
// old way, and no file in another, means the file.
void rename_config_file(std::vector<std::string>& words) {
  const auto has = [&](std::initializer_list<const char*> flags) {
    return std::any_of(words.begin(), words.end(), [&](const std::string& word) {
      return std::any_of(flags.begin(), flags.end(), [&](const char* flag) { return is_flag(word, flag); });
    });
  };
  if (!has({"-r", "--cluster-name"}) || has({"-f", "--config-file", "--config", "--cluster"})) return;
  for (std::string& word : words) {
    if (is_flag(word, "-c")) word[1] = 'f';
  }
}

// "--name" and "--name=VALUE"
std::string renamed(const OldCommand& command, const std::string& word) {
  for (const auto& [old, now] : command.flags) {
    if (word == old) return now;
    if (word.starts_with(old + "=")) return now + word.substr(old.size());
  }
  return word;
}

}  // namespace

std::vector<std::string> in_new_spelling(std::vector<std::string> words) {
  if (words.size() < 2) return words;
  if (words[0] == "job" && words[1] == "create") rename_config_file(words);
  for (const OldCommand& command : old_commands()) {
    if (words[0] != command.group || words[1] != command.old) continue;
    std::vector<std::string> now = {command.group, command.inner_group, command.command};
    for (std::size_t at = 2; at < words.size(); ++at) now.push_back(renamed(command, words[at]));
    return now;
  }
  return words;
}

}  // namespace trainyard::cli
