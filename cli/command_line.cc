#include "cli/command_line.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/settings.h"
#include "cli/suggest.h"

namespace trainyard::cli {
namespace {

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

const CLI::App* command_named(const CLI::App& app, const std::string& name) {
  for (const CLI::App* each : commands_of(app)) {
    if (each->check_name(name)) return each;
  }
  return nullptr;
}

bool takes_value(const CLI::Option& option) {
  return option.get_items_expected_max() > 0;
}

// The values of a CLI::IsMember check, from its own description.
std::vector<std::string> choices_of(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const auto open = type.find(":{"), close = type.find('}');
  if (open == std::string::npos || close == std::string::npos) return {};
  return CLI::detail::split(type.substr(open + 2, close - open - 2), ',');
}

bool is_option(const std::string& word) {
  return word.size() > 1 && word[0] == '-' && word != "--" && std::isdigit(static_cast<unsigned char>(word[1])) == 0;
}

bool is_dashed(const std::string& word) {
  return word.starts_with('-');
}

std::string first_sentence(const std::string& text) {
  return text.substr(0, std::min(text.find(';'), text.find(". ")));
}

// Refused commands and options are hidden: nobody needs to be led to them.
bool is_shown(const CLI::App& command) {
  return !command.get_group().empty();
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* each : commands_of(app)) {
    if (is_shown(*each)) names.push_back(each->get_name());
  }
  return names;
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// An option of the walk's command; the walk goes on with its value, or stops.
void take_option(Walk& walk, const std::string& word) {
  const bool is_long = word.starts_with("--");
  const std::string name = is_long ? word.substr(0, word.find('=')) : word.substr(0, 2);
  const CLI::Option* option = walk.command->get_option_no_throw(name);
  if (option == nullptr) {
    walk.unknown = name;
  } else if (takes_value(*option)) {
    const bool inside = is_long ? word.find('=') != std::string::npos : word.size() > 2;
    walk.pending = inside ? nullptr : option;
  }
}

}  // namespace

std::string full_name_of(const CLI::App& command) {
  std::string name = command.get_name();
  for (const CLI::App* app = command.get_parent(); app != nullptr; app = app->get_parent()) {
    name = app->get_name() + " " + name;
  }
  return name;
}

Walk walk_words(const CLI::App& app, const std::vector<std::string>& words) {
  Walk walk;
  walk.command = &app;
  for (const std::string& word : words) {
    if (word == "--") break;
    if (walk.pending != nullptr && word == "=") continue;  // bash splits --output=table into three words
    if (is_option(word)) {
      walk.pending = nullptr;
      take_option(walk, word);
    } else if (walk.pending != nullptr) {
      if (walk.pending->get_items_expected_max() < 2) walk.pending = nullptr;
    } else if (const CLI::App* inner = command_named(*walk.command, word); inner != nullptr) {
      walk.command = inner;
    } else if (!commands_of(*walk.command).empty()) {
      walk.unknown = word;
    }
    if (!walk.unknown.empty()) break;
  }
  return walk;
}

std::string unknown_word(const Walk& walk) {
  if (walk.unknown.empty()) return "";
  const bool option = is_option(walk.unknown);
  const std::string near = nearest(walk.unknown, option ? option_names(*walk.command) : command_names(*walk.command));
  return fmt::format("{} has no {} `{}`{}", full_name_of(*walk.command), option ? "option" : "command", walk.unknown,
                     near.empty() ? "" : " (did you mean `" + near + "`?)");
}

const Setting* required_setting(const std::string& message) {
  if (message.find("is required") == std::string::npos) return nullptr;
  if (message.starts_with("--resource-group")) return find_setting("group");
  if (message.starts_with("--workspace")) return find_setting("workspace");
  return message.starts_with("--experiment") ? find_setting("experiment") : nullptr;
}

std::vector<Candidate> complete(const CLI::App& app, std::vector<std::string> words) {
  std::string last;
  if (!words.empty()) {
    last = words.back();
    words.pop_back();
  }
  std::vector<Candidate> all;
  std::string before;  // of --output=ta: what stays as it is
  const auto add_choices = [&](const CLI::Option& option) {
    for (const std::string& choice : choices_of(option)) all.push_back({before + choice, ""});
  };
  Walk walk = walk_words(app, words);
  if (!walk.unknown.empty()) return {};
  const auto equals = last.find('=');
  if (last == "=") last = "";
  if (last.starts_with("--") && equals != std::string::npos) {
    before = last.substr(0, equals + 1);
    const CLI::Option* option = walk.command->get_option_no_throw(last.substr(0, equals));
    if (option != nullptr) add_choices(*option);
  } else if (walk.pending != nullptr && !is_dashed(last)) {
    add_choices(*walk.pending);
  } else {
    for (const CLI::App* each : commands_of(*walk.command)) {
      if (is_shown(*each)) all.push_back({each->get_name(), first_sentence(each->get_description())});
    }
    const bool options_too = all.empty() || is_dashed(last);
    for (const CLI::Option* option : walk.command->get_options()) {
      if (option->get_positional()) add_choices(*option);
      if (!options_too || option->get_group().empty()) continue;
      const std::string what = first_sentence(option->get_description());
      for (const std::string& name : option->get_lnames()) all.push_back({"--" + name, what});
      if (!is_dashed(last)) continue;
      for (const std::string& name : option->get_snames()) all.push_back({"-" + name, what});
    }
  }
  std::erase_if(all, [&](const Candidate& each) { return !each.word.starts_with(last); });
  return all;
}

}  // namespace trainyard::cli
