#include "cli/program.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <thread>

#include "cli/command_line.h"
#include "cli/old_spellings.h"
#include "cli/progress.h"
#include "cli/settings.h"

namespace trainyard::cli {
namespace {

int exit_code_of(Code code) {
  if (code == Code::not_found) return kNotFound;
  return code == Code::unavailable ? kUnreachable : kRequestFailed;
}

// Colours only where they are seen and wanted (no-color.org).
bool wants_colours() {
  const char* no_color = std::getenv("NO_COLOR");
  const char* terminal = std::getenv("TERM");
  return isatty(STDOUT_FILENO) != 0 && (no_color == nullptr || *no_color == '\0') &&
         (terminal == nullptr || std::string_view(terminal) != "dumb");
}

}  // namespace

bool use_setting(CLI::Option& option, const std::string& setting, std::string& target) {
  option.envname(find_setting(setting)->variable);
  const std::string value = user_settings().get(setting);
  if (value.empty()) return false;
  target = value;
  option.default_str(value);
  return true;
}

CLI::App& Program::group(CLI::App& parent, const std::string& name, const std::string& what) {
  CLI::App* group = parent.add_subcommand(name, what);
  group->require_subcommand(1);
  group->set_help_flag("-h,--help", "Show this help");
  return *group;
}

CLI::App& Program::command(CLI::App& parent, const std::string& name, const std::string& what,
                           const std::string& example, std::function<int()> run) {
  CLI::App& command = plain_command(parent, name, what, example, std::move(run));
  add_common(command);
  return command;
}

CLI::App& Program::plain_command(CLI::App& parent, const std::string& name, const std::string& what,
                                 const std::string& example, std::function<int()> run) {
  CLI::App* command = parent.add_subcommand(name, what);
  command->set_help_flag("-h,--help", "Show this help");
  command->footer("Example:\n  " + example + "\n");
  // With this callback CLI11 reads the environment for the command that was named only: otherwise other commands'
  // options would take their variables, and with them the place of this one's flags.
  command->parse_complete_callback([this, run = std::move(run)] { x_action = run; });
  return *command;
}

void Program::add_common(CLI::App& command) {
  const std::string group = "Common";
  const auto add = [&](const char* names, std::string& target, const std::string& what, const char* setting) {
    CLI::Option* option = command.add_option(names, target, what)->group(group);
    if (setting != nullptr) use_setting(*option, setting, target);
    return option;
  };
  add("-o,--output", x_output, "How to answer [json]; jsonc: coloured on a terminal", "output")
      ->check(CLI::IsMember(kOutputFormats, CLI::ignore_case));
  add("--query", x_query, "Part of the answer, as JMESPath: executionState, [?name=='a'].{n:name}, length(@)", nullptr);
  add("--controller", x_endpoint.controller, "host:port of the controller [127.0.0.1:7470]", "controller");
  add("--ca", x_endpoint.ca, "The operator's CA certificate", "ca");
  add("--cert", x_endpoint.certificate, "Your certificate", "cert");
  add("--key", x_endpoint.key, "Your certificate's key", "key");
  command.add_option("--retry-for", x_endpoint.retry_for_s, "Seconds to go on when the controller is away [20]")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
}

void Program::refuse_flags(CLI::App& command, std::initializer_list<const char*> flags) {
  for (const char* flag : flags) {
    const std::string names = flag;
    const std::string longest = names.substr(names.rfind(',') + 1);
    command
        .add_option_function<std::vector<std::string>>(
            names,
            [this, longest](const std::vector<std::string>&) {
              if (x_refused.empty()) x_refused = longest;
            },
            "not supported yet")
        ->expected(0, 1)
        ->group("");
  }
}

void Program::refuse_command(CLI::App& parent, const std::string& name, const std::string& why) {
  CLI::App* command = parent.add_subcommand(name, "not supported yet");
  command->group("");
  command->set_help_flag();
  command->allow_extras();
  command->prefix_command();
  command->final_callback(
      [this, command, why] { x_refused = full_name_of(*command) + (why.empty() ? "" : ": " + why); });
}

void Program::add_yes(CLI::App& command) {
  command.add_flag("-y,--yes", x_yes, "Do not ask");
}

void Program::add_confirmation(CLI::App& command) {
  add_yes(command);
  command.add_flag("--no-wait", x_no_wait, "Return as soon as the controller has taken it on");
}

int Program::run(int argc, char** argv, CLI::App& app) {
  const std::vector<std::string> words = in_new_spelling({argv + std::min(argc, 1), argv + argc});
  if (words.size() >= 2 && words[0] == kCompleteLine && words[1] == "--") {
    for (const Candidate& each : complete(app, {words.begin() + 2, words.end()})) {
      fmt::print("{}\t{}\n", each.word, each.what);
    }
    return kDone;
  }
  for (const std::string& warning : user_settings().warnings()) fmt::print(stderr, "trainyard: warning: {}\n", warning);
  try {
    app.parse(std::vector<std::string>(words.rbegin(), words.rend()));  // CLI11 takes the last word first
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();  // goes down to the command that was named
    return kDone;
  } catch (const CLI::CallForVersion& version) {
    std::cout << version.what() << "\n";
    return kDone;
  } catch (const CLI::ParseError& error) {
    return parse_failed(app, error, words);
  }
  if (!x_refused.empty()) return usage(Error{Code::unimplemented, "not supported yet: " + x_refused});
  // Said before the request goes out: a mistyped --query must not follow a create that went through.
  if (const auto checked = check_query(x_query); !checked) return usage(checked.error());
  catch_interrupts();
  return x_action ? x_action() : static_cast<int>(kUsage);
}

int Program::parse_failed(const CLI::App& app, const CLI::ParseError& error, const std::vector<std::string>& words) {
  // A refused flag is the better news: its command may well lack others because of it.
  if (!x_refused.empty()) return usage(Error{Code::unimplemented, "not supported yet: " + x_refused});
  const Walk walk = walk_words(app, words);
  std::string message = unknown_word(walk);
  if (message.empty()) {
    message = error.what();
    while (message.ends_with('\n')) message.pop_back();
    if (const Setting* setting = required_setting(message); setting != nullptr) {
      message += fmt::format(" (or a default: `trainyard configure --defaults {}=NAME`)", setting->name);
    }
  }
  return usage(Error{Code::invalid_argument, fmt::format("{}; see `{} --help`", message, full_name_of(*walk.command))});
}

Result<Client*> Program::client() {
  if (!x_client) {
    auto opened = Client::open(x_endpoint);
    if (!opened) return opened.error();
    x_client = std::move(opened).value();
  }
  return x_client.get();
}

int Program::fail(const Error& error) {
  hide_progress();
  fmt::print(stderr, "trainyard: {}\n", error.message);
  x_exit_code = exit_code_of(error.code);
  return x_exit_code;
}

int Program::usage(const Error& error) {
  fail(error);
  return x_exit_code = kUsage;
}

int Program::print(const Answer& answer) {
  const auto text = render(answer, Style{CLI::detail::to_lower(x_output), x_query, wants_colours()});
  if (!text) return usage(Error{text.error().code, text.error().message + " (the request itself was carried out)"});
  hide_progress();
  std::fwrite(text->data(), 1, text->size(), stdout);
  if (std::fflush(stdout) != 0) return fail(Error{Code::internal, "cannot write the answer to standard output"});
  return kDone;
}

bool Program::confirmed(const std::string& loss, Scripts scripts) {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  if (x_yes || (!terminal && scripts == Scripts::go_on)) return true;
  if (!terminal) {
    fail(Error{Code::failed_precondition, "this needs a confirmation and there is no terminal to ask on: use -y"});
    return false;
  }
  for (;;) {
    if (!loss.empty()) fmt::print(stderr, "{}\n", loss);
    fmt::print(stderr, "Are you sure you want to perform this operation? (y/n): ");
    std::fflush(stderr);
    std::string line;
    if (!std::getline(std::cin, line)) break;
    if (line == "y" || line == "Y" || line == "yes") return true;
    if (line == "n" || line == "N" || line == "no") break;
  }
  fail(Error{Code::aborted, "cancelled: nothing was changed"});
  return false;
}

bool Program::wait_until(const std::string& what, const std::function<Result<bool>(std::string& detail)>& gone) {
  ProgressLine progress("waiting for " + what);
  set_interrupt_note("what was asked of the controller goes on");
  std::chrono::milliseconds pause(10);
  for (;;) {
    std::string detail;
    const auto now_gone = gone(detail);
    if (!now_gone || *now_gone) {
      set_interrupt_note(nullptr);
      if (!now_gone) fail(now_gone.error());
      return now_gone.ok();
    }
    progress.say("waiting for " + what + (detail.empty() ? "" : ": " + detail));
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds(500));
  }
}

Result<std::string> read_text_file(const std::string& path, std::size_t most_bytes) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error{Code::invalid_argument, path + ": cannot be read; check the path"};
  std::string text;
  char buffer[65536];
  while (file.read(buffer, sizeof buffer) || file.gcount() > 0) {
    text.append(buffer, static_cast<std::size_t>(file.gcount()));
    if (text.size() > most_bytes) {
      return Error{Code::invalid_argument,
                   fmt::format("{}: more than {} MB; keep data on a share", path, most_bytes / (1024 * 1024))};
    }
  }
  if (file.bad()) return Error{Code::invalid_argument, path + ": cannot be read to its end"};
  return text;
}

}  // namespace trainyard::cli
