// The command groups: each adds its commands to the program's line.
#pragma once

#include "cli/program.h"

namespace trainyard::cli {

void add_group_commands(CLI::App& app, Program& program);
void add_workspace_commands(CLI::App& app, Program& program);
void add_experiment_commands(CLI::App& app, Program& program);
void add_cluster_commands(CLI::App& app, Program& program);
void add_cluster_file_commands(CLI::App& cluster, Program& program);  // cluster file list | stream
void add_job_commands(CLI::App& app, Program& program);
void add_job_array_commands(CLI::App& job, Program& program);     // job array create | show | list | ...
void add_job_schedule_commands(CLI::App& job, Program& program);  // job schedule create | show | list | ...
void add_job_file_commands(CLI::App& job, Program& program);      // job file list | stream | download
void add_job_node_commands(CLI::App& jobs, Program& program);     // job node list | exec
void add_cluster_node_commands(CLI::App& clusters, Program& program);
void add_storage_commands(CLI::App& app, Program& program);
void add_share_commands(CLI::App& storage, Program& program);  // storage directory | file
void add_node_commands(CLI::App& app, Program& program);
void add_reservation_commands(CLI::App& app, Program& program);
void add_file_server_commands(CLI::App& app, Program& program);
void add_usage_commands(CLI::App& app, Program& program);
void add_configure_command(CLI::App& app, Program& program);
void add_completion_command(CLI::App& app, Program& program);

// Where a thing is; the flags differ a little per noun.
struct Place {
  std::string group, workspace, experiment, name;
};

// A request about the thing at a place of a workspace.
template <class Request>
Request request_for(const Place& place) {
  Request request;
  request.set_resource_group(place.group);
  request.set_workspace(place.workspace);
  request.set_name(place.name);
  return request;
}

// Required, unless the user keeps a default (cli/settings.h).
inline CLI::Option* add_group_flag(CLI::App& command, std::string& group) {
  CLI::Option* option = command.add_option("-g,--resource-group", group, "Resource group");
  return option->required(!use_setting(*option, "group", group));
}
inline CLI::Option* add_workspace_flag(CLI::App& command, std::string& workspace) {
  CLI::Option* option = command.add_option("-w,--workspace", workspace, "Workspace");
  return option->required(!use_setting(*option, "workspace", workspace));
}
inline CLI::Option* add_experiment_flag(CLI::App& command, std::string& experiment) {
  CLI::Option* option = command.add_option("-e,--experiment", experiment, "Experiment");
  return option->required(!use_setting(*option, "experiment", experiment));
}

inline void add_experiment_flags(CLI::App& command, Place& place) {
  add_group_flag(command, place.group);
  add_workspace_flag(command, place.workspace);
  add_experiment_flag(command, place.experiment);
}

// The account of a share; storage_account (cli/share_files.h) finds it when the flag is not given.
inline void add_account_flag(CLI::App& command, std::string& account, Program& program) {
  command.add_option("--account-name", account, "Storage account [$TRAINYARD_STORAGE_ACCOUNT]");
  program.refuse_flags(command, {"--account-key", "--connection-string", "--sas-token"});
}

// "a=b c=d" into a protobuf map; an error names the word that is not of that form.
template <class Map>
Status set_tags(const std::vector<std::string>& words, Map& tags) {
  for (const std::string& word : words) {
    const auto equals = word.find('=');
    if (equals == 0 || word.empty()) return Error{Code::invalid_argument, "--tags: \"" + word + "\" is not NAME=VALUE"};
    tags[word.substr(0, equals)] = equals == std::string::npos ? "" : word.substr(equals + 1);
  }
  return {};
}

// Waits until `get` answers NOT_FOUND, or something younger has the name.
template <class Stub, class Request, class Response>
int wait_gone(Program& program, const std::string& what,
              grpc::Status (Stub::*get)(grpc::ClientContext*, const Request&, Response*), const Request& request,
              const std::function<std::string(const Response&)>& detail = nullptr) {
  auto client = program.client();
  if (!client) return program.fail(client.error());
  std::optional<std::pair<long long, int>> born;
  const bool done = program.wait_until(what + " to be gone", [&](std::string& why) -> Result<bool> {
    auto answer = (*client)->call(get, request);
    if (!answer && answer.error().code == Code::not_found) return true;
    if (!answer) {
      return Error{answer.error().code, answer.error().message + " (the delete was taken on and goes on)"};
    }
    const std::pair<long long, int> now{answer->creation_time().seconds(), answer->creation_time().nanos()};
    if (born && *born != now) return true;
    born = now;
    if (detail) why = detail(*answer);
    return false;
  });
  return done ? static_cast<int>(kDone) : program.exit_code();
}

}  // namespace trainyard::cli
