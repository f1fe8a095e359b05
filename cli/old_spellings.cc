#include "cli/old_spellings.h"

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
  for (const OldCommand& command : old_commands()) {
    if (words[0] != command.group || words[1] != command.old) continue;
    std::vector<std::string> now = {command.group, command.inner_group, command.command};
    for (std::size_t at = 2; at < words.size(); ++at) now.push_back(renamed(command, words[at]));
    return now;
  }
  return words;
}

}  // namespace trainyard::cli
