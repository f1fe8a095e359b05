// `trainyard configure`: the user's defaults.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "cli/commands.h"
#include "cli/settings.h"

namespace trainyard::cli {
namespace {

struct Options {
  std::vector<std::string> defaults;
  bool list = false;
};

// What is in effect, and where it comes from.
Answer listing(const Settings& settings) {
  Answer answer{Json::array(), Table{{"Name", "Value", "Source"}, {}}};
  for (const Setting& each : all_settings()) {
    const char* variable = std::getenv(each.variable);
    const bool from_variable = variable != nullptr && *variable != '\0';
    const std::string value = from_variable ? variable : settings.get(each.name);
    if (value.empty()) continue;
    const std::string source = from_variable ? std::string("$") + each.variable : settings.path();
    answer.value.push_back({{"name", each.name}, {"source", source}, {"value", value}});
    answer.table.rows.push_back({each.name, value, source});
  }
  return answer;
}

int set_defaults(Program& program, const std::vector<std::string>& words) {
  Settings settings = user_settings();
  for (const std::string& word : words) {
    const auto equals = word.find('=');
    if (equals == std::string::npos) {
      return program.usage(Error{Code::invalid_argument,
                                 fmt::format("--defaults: \"{}\" is not NAME=VALUE (NAME= removes a default)", word)});
    }
    const auto done = settings.set(word.substr(0, equals), word.substr(equals + 1));
    if (!done) return program.usage(Error{done.error().code, "--defaults: " + done.error().message});
  }
  const auto saved = save(settings);
  return saved ? static_cast<int>(kDone) : program.fail(saved.error());
}

// Asks for each default in turn; a wrong answer is asked for again.
int ask_for_defaults(Program& program) {
  Settings settings = user_settings();
  fmt::print(stderr, "Defaults are kept in {}. Enter keeps what is in brackets, - removes it.\n", settings.path());
  for (const Setting& each : all_settings()) {
    for (bool done = false; !done;) {
      const std::string now = settings.get(each.name);
      fmt::print(stderr, "{} [{}]: ", each.what, now.empty() ? "none" : now);
      std::fflush(stderr);
      std::string answer;
      if (!std::getline(std::cin, answer)) {
        return program.fail(Error{Code::aborted, "cancelled: nothing was changed"});
      }
      if (answer.empty()) break;
      const auto set = settings.set(each.name, answer == "-" ? "" : answer);
      if (!set) fmt::print(stderr, "{}\n", set.error().message);
      done = set.ok();
    }
  }
  const auto saved = save(settings);
  return saved ? static_cast<int>(kDone) : program.fail(saved.error());
}

int configure(Program& program, const Options& options) {
  if (!options.defaults.empty()) {
    const int code = set_defaults(program, options.defaults);
    if (code != kDone) return code;
  }
  if (options.list) {
    if (options.defaults.empty()) return program.print(listing(user_settings()));
    return program.usage(Error{Code::invalid_argument, "--list-defaults and --defaults go one at a time"});
  }
  if (!options.defaults.empty()) return kDone;
  if (isatty(STDIN_FILENO) == 0) {
    return program.usage(Error{Code::invalid_argument,
                               "there is no terminal to ask on: use --defaults NAME=VALUE ... or --list-defaults"});
  }
  return ask_for_defaults(program);
}

}  // namespace

void add_configure_command(CLI::App& app, Program& program) {
  auto options = std::make_shared<Options>();
  CLI::App& command = program.command(
      app, "configure", "Keep defaults for group, workspace, experiment, controller and output; asks on a terminal",
      "trainyard configure --defaults group=mygroup workspace=batchaidev controller=head:7470 output=table",
      [=, &program] { return configure(program, *options); });
  std::string names;
  for (const Setting& each : all_settings()) {
    names += fmt::format("  {:<11} {:<22} {}\n", each.name, std::string("$") + each.variable, each.what);
  }
  command.footer(command.get_footer() + "\nDefaults, their environment variables, and what they stand for:\n" + names +
                 "\nThey are kept in " +
                 (user_settings().path().empty() ? "~/.config/trainyard/config" : user_settings().path()) +
                 "\n($TRAINYARD_CONFIG_DIR names another folder). What wins: flag, environment, this file, built in.\n"
                 "Passwords and keys themselves are never kept.\n");
  command.add_option("-d,--defaults", options->defaults, "NAME=VALUE ...; NAME= removes a default");
  command.add_flag("-l,--list-defaults", options->list, "Show the defaults in effect, and where they come from");
}

}  // namespace trainyard::cli
