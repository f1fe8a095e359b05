// What all commands share: their common flags, how they say what went wrong, and how they answer. One object per run.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>

#include "cli/client.h"
#include "cli/output.h"

namespace trainyard::cli {

enum ExitCode { kDone = 0, kRequestFailed = 1, kUsage = 2, kNotFound = 3, kUnreachable = 4, kUnknownJobExit = 255 };

// Gives an option the user's default: the variable of the environment, then the file of `trainyard configure`, which
// `target` gets now. False: neither of the two kinds is kept in the file, so the flag may be required.
bool use_setting(CLI::Option& option, const std::string& setting, std::string& target);

class Program {
 public:
  // A group of commands: `trainyard NAME ...`.
  CLI::App& group(CLI::App& parent, const std::string& name, const std::string& what);
  // A command, with the common flags, --help and its example. `run` is called after parsing.
  CLI::App& command(CLI::App& parent, const std::string& name, const std::string& what, const std::string& example,
                    std::function<int()> run);
  // The same without the common flags: what it answers is not for -o and --query.
  CLI::App& plain_command(CLI::App& parent, const std::string& name, const std::string& what,
                          const std::string& example, std::function<int()> run);
  // Flags and commands of Batch AI that Trainyard does not carry out yet: known by name, refused by name.
  void refuse_flags(CLI::App& command, std::initializer_list<const char*> flags);
  void refuse_command(CLI::App& parent, const std::string& name, const std::string& why = "");
  // -y/--yes and --no-wait.
  void add_confirmation(CLI::App& command);
  void add_yes(CLI::App& command);  // -y/--yes alone: what does not go on without the command

  int run(int argc, char** argv, CLI::App& app);

  // The connection, made on first use. REQUIRES: inside a command's run.
  Result<Client*> client();
  // Calls the controller and prints the error if there is one; nullopt then, with exit_code() set.
  template <class Stub, class Request, class Response>
  std::optional<Response> ask(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                              const Request& request);

  int fail(const Error& error);   // prints it, returns its exit code
  int usage(const Error& error);  // the same for what is wrong with the command line
  int print(const Answer& answer);
  int exit_code() const { return x_exit_code; }
  // "Are you sure ... (y/n): " unless -y, after a line that says what will be lost. False: said no, or no terminal; the
  // error is printed. What Azure's command line does without asking is done without a terminal, too
  // (docs/decisions/0034).
  enum class Scripts { need_yes, go_on };
  bool confirmed(const std::string& loss = "", Scripts scripts = Scripts::need_yes);
  bool waits() const { return !x_no_wait; }

  // Asks `gone` now and then until it is true; on a terminal says after a second what it waits for. False on an error,
  // which is printed. `gone` gets a place to put what is still missing.
  bool wait_until(const std::string& what, const std::function<Result<bool>(std::string& detail)>& gone);

  double retry_for_s() const { return x_endpoint.retry_for_s; }

 private:
  void add_common(CLI::App& command);
  int parse_failed(const CLI::App& app, const CLI::ParseError& error, const std::vector<std::string>& words);

  Endpoint x_endpoint;
  std::string x_output = "json", x_query;
  bool x_yes = false, x_no_wait = false;
  std::function<int()> x_action;
  std::string x_refused;  // "not supported yet: ..."
  std::unique_ptr<Client> x_client;
  int x_exit_code = kDone;
};

// Text of a file; an error names it.
Result<std::string> read_text_file(const std::string& path, std::size_t most_bytes);

template <class Stub, class Request, class Response>
std::optional<Response> Program::ask(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                     const Request& request) {
  auto connected = client();
  if (!connected) {
    fail(connected.error());
    return std::nullopt;
  }
  auto answer = (*connected)->call(method, request);
  if constexpr (requires(Response page) { page.next_page_token(); }) {
    // A list: all of its pages, as one.
    Request next = request;
    while (answer && !answer->next_page_token().empty()) {
      next.set_page_token(answer->next_page_token());
      answer->clear_next_page_token();
      auto page = (*connected)->call(method, next);
      if (page) {
        answer->MergeFrom(*page);
      } else {
        answer = page.error();
      }
    }
  }
  if (!answer) {
    fail(answer.error());
    return std::nullopt;
  }
  return std::move(answer).value();
}

}  // namespace trainyard::cli
