#include "cli/program.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <thread>

namespace trainyard::cli {
namespace {

int exit_code_of(Code code) {
  if (code == Code::not_found) return kNotFound;
  return code == Code::unavailable ? kUnreachable : kRequestFailed;
}

// The innermost command that was named, e.g. for "see `trainyard job create --help`".
const CLI::App* innermost(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  return at;
}

std::string full_name(const CLI::App* app) {
  std::string name = app->get_name();
  for (app = app->get_parent(); app != nullptr; app = app->get_parent()) name = app->get_name() + " " + name;
  return name;
}

}  // namespace

CLI::App& Program::group(CLI::App& parent, const std::string& name, const std::string& what) {
  CLI::App* group = parent.add_subcommand(name, what);
  group->require_subcommand(1);
  group->set_help_flag("-h,--help", "Show this help");
  return *group;
}

CLI::App& Program::command(CLI::App& parent, const std::string& name, const std::string& what,
                           const std::string& example, std::function<int()> run) {
  CLI::App* command = parent.add_subcommand(name, what);
  command->set_help_flag("-h,--help", "Show this help");
  command->footer("Example:\n  " + example + "\n");
  command->final_callback([this, run = std::move(run)] { x_action = run; });
  add_common(*command);
  return *command;
}

void Program::add_common(CLI::App& command) {
  const std::string group = "Common";
  command.add_option("-o,--output", x_output, "json (default), table or tsv")
      ->check(CLI::IsMember({"json", "table", "tsv"}, CLI::ignore_case))
      ->group(group);
  command.add_option("--query", x_query, "Part of the answer, e.g. executionState, [0].name, [].{n:name}")
      ->group(group);
  command.add_option("--controller", x_endpoint.controller, "host:port of the controller [127.0.0.1:7470]")
      ->envname("TRAINYARD_CONTROLLER")
      ->group(group);
  command.add_option("--ca", x_endpoint.ca, "The operator's CA certificate")->envname("TRAINYARD_CA")->group(group);
  command.add_option("--cert", x_endpoint.certificate, "Your certificate")->envname("TRAINYARD_CERT")->group(group);
  command.add_option("--key", x_endpoint.key, "Your certificate's key")->envname("TRAINYARD_KEY")->group(group);
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

void Program::refuse_command(CLI::App& parent, const std::string& name) {
  CLI::App* command = parent.add_subcommand(name, "not supported yet");
  command->group("");
  command->set_help_flag();
  command->allow_extras();
  command->prefix_command();
  command->final_callback(
      [this, command] { x_refused = full_name(command->get_parent()) + " " + command->get_name(); });
}

void Program::add_confirmation(CLI::App& command) {
  command.add_flag("-y,--yes", x_yes, "Do not ask");
  command.add_flag("--no-wait", x_no_wait, "Return as soon as the controller has taken it on");
}

int Program::run(int argc, char** argv, CLI::App& app) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();  // goes down to the command that was named
    return kDone;
  } catch (const CLI::CallForVersion& version) {
    std::cout << version.what() << "\n";
    return kDone;
  } catch (const CLI::ParseError& error) {
    // A refused flag is the better news: its command may well lack others because of it.
    if (!x_refused.empty()) {
      fmt::print(stderr, "trainyard: not supported yet: {}\n", x_refused);
      return kUsage;
    }
    std::string message = error.what();
    while (message.ends_with('\n')) message.pop_back();
    fmt::print(stderr, "trainyard: {}; see `{} --help`\n", message, full_name(innermost(app)));
    return kUsage;
  }
  if (!x_refused.empty()) {
    fmt::print(stderr, "trainyard: not supported yet: {}\n", x_refused);
    return kUsage;
  }
  // Said before the request goes out: a mistyped --query must not follow a create that went through.
  if (const auto checked = apply_query(Json(nullptr), x_query); !checked) {
    fmt::print(stderr, "trainyard: {}\n", checked.error().message);
    return kUsage;
  }
  return x_action ? x_action() : static_cast<int>(kUsage);
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
  fmt::print(stderr, "trainyard: {}\n", error.message);
  x_exit_code = exit_code_of(error.code);
  return x_exit_code;
}

int Program::print(const Answer& answer) {
  const auto text = render(answer, CLI::detail::to_lower(x_output), x_query);
  if (!text) return fail(text.error());
  std::fwrite(text->data(), 1, text->size(), stdout);
  if (std::fflush(stdout) != 0) return fail(Error{Code::internal, "cannot write the answer to standard output"});
  return kDone;
}

bool Program::confirmed() {
  if (x_yes) return true;
  if (isatty(STDIN_FILENO) == 0) {
    fail(Error{Code::failed_precondition, "this needs a confirmation and there is no terminal to ask on: use -y"});
    return false;
  }
  for (;;) {
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
  using Clock = std::chrono::steady_clock;
  const auto started = Clock::now();
  auto spoke = started;
  std::chrono::milliseconds pause(10);
  std::string said;
  for (;;) {
    std::string detail;
    const auto now_gone = gone(detail);
    if (!now_gone) {
      fail(now_gone.error());
      return false;
    }
    if (*now_gone) return true;
    const auto now = Clock::now();
    const std::string line = "waiting for " + what + (detail.empty() ? "" : ": " + detail);
    if (now - started > std::chrono::seconds(1) && (line != said || now - spoke > std::chrono::seconds(30))) {
      fmt::print(stderr, "{} ({} s)\n", line, std::chrono::duration_cast<std::chrono::seconds>(now - started).count());
      said = line;
      spoke = now;
    }
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
