#include "cli/commands.h"
#include "cli/show.h"
#include "trainyard/v1/workspaces.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Workspaces::Stub;

struct Options {
  Place place;
  std::string location;
  std::vector<std::string> tags;
  std::uint32_t limit = 0, guaranteed = 0, weight = 1;
};

v1::GetWorkspaceRequest get_request(const Place& place) {
  v1::GetWorkspaceRequest request;
  request.set_resource_group(place.group);
  request.set_name(place.name);
  return request;
}

int create(Program& program, const Options& options) {
  v1::CreateWorkspaceRequest request;
  request.set_request_id(new_request_id());
  request.set_resource_group(options.place.group);
  request.set_name(options.place.name);
  request.set_location(options.location);
  if (const auto set = set_tags(options.tags, *request.mutable_tags()); !set) return program.fail(set.error());
  const auto workspace = program.ask(&Stub::CreateWorkspace, request);
  return workspace ? program.print(show_one(*workspace)) : program.exit_code();
}

int update(Program& program, const Options& options) {
  v1::UpdateWorkspaceRequest request;
  request.set_request_id(new_request_id());
  request.set_resource_group(options.place.group);
  request.set_name(options.place.name);
  if (const auto set = set_tags(options.tags, *request.mutable_tags()); !set) return program.fail(set.error());
  const auto workspace = program.ask(&Stub::UpdateWorkspace, request);
  return workspace ? program.print(show_one(*workspace)) : program.exit_code();
}

int set_quota(Program& program, const Options& options) {
  v1::SetWorkspaceQuotaRequest request;
  request.set_request_id(new_request_id());
  request.set_resource_group(options.place.group);
  request.set_name(options.place.name);
  request.mutable_quota()->set_limit(options.limit);
  request.mutable_quota()->set_guaranteed(options.guaranteed);
  request.mutable_quota()->set_weight(options.weight);
  const auto workspace = program.ask(&Stub::SetWorkspaceQuota, request);
  return workspace ? program.print(show_one(*workspace)) : program.exit_code();
}

int show(Program& program, const Options& options) {
  const auto workspace = program.ask(&Stub::GetWorkspace, get_request(options.place));
  return workspace ? program.print(show_one(*workspace)) : program.exit_code();
}

int list(Program& program, const Options& options) {
  v1::ListWorkspacesRequest request;
  request.set_resource_group(options.place.group);
  const auto workspaces = program.ask(&Stub::ListWorkspaces, request);
  return workspaces ? program.print(show_all(workspaces->workspaces())) : program.exit_code();
}

int remove(Program& program, const Options& options) {
  if (!program.confirmed()) return program.exit_code();
  v1::DeleteWorkspaceRequest request;
  request.set_request_id(new_request_id());
  request.set_resource_group(options.place.group);
  request.set_name(options.place.name);
  if (!program.ask(&Stub::DeleteWorkspace, request)) return program.exit_code();
  if (!program.waits()) return kDone;
  return wait_gone(program, "workspace " + options.place.name, &Stub::GetWorkspace, get_request(options.place));
}

}  // namespace

void add_workspace_commands(CLI::App& app, Program& program) {
  CLI::App& workspaces = program.group(app, "workspace", "Workspaces: they hold clusters and experiments");
  auto options = std::make_shared<Options>();
  const auto add_place = [&](CLI::App& command) {
    add_group_flag(command, options->place.group);
    command.add_option("-n,--name,-w,--workspace", options->place.name, "Name of the workspace")->required();
  };
  CLI::App& creating =
      program.command(workspaces, "create", "Create a workspace",
                      "trainyard workspace create --resource-group batchai.horovod --workspace batchaidev",
                      [=, &program] { return create(program, *options); });
  add_place(creating);
  creating.add_option("-l,--location", options->location, "Free text, shown only [the group's]");
  creating.add_option("--tags", options->tags, "NAME=VALUE ...");
  CLI::App& updating = program.command(workspaces, "update", "Replace a workspace's tags",
                                       "trainyard workspace update -g mygroup -n batchaidev --tags team=vision",
                                       [=, &program] { return update(program, *options); });
  add_place(updating);
  updating.add_option("--tags", options->tags, "NAME=VALUE ...; none: no tags any more")->expected(0, -1)->required();
  CLI::App& quota =
      program.command(workspaces, "set-quota", "Set how much of the GPUs a workspace's jobs get, all of it anew",
                      "trainyard workspace set-quota -g mygroup -n batchaidev --limit 16 --guaranteed 8 --weight 2",
                      [=, &program] { return set_quota(program, *options); });
  add_place(quota);
  quota.add_option("--limit", options->limit,
                   "GPUs that its jobs never exceed together (a node without any counts as one); 0: no limit [0]");
  quota.add_option(
      "--guaranteed", options->guaranteed,
      "While they have fewer, they go before others of their class, and take back what others borrowed [0]");
  quota.add_option("--weight", options->weight, "Of its fair share: with 2 twice as much as with 1 [1]")
      ->check(CLI::Range(1U, 1'000'000U));
  add_place(program.command(workspaces, "show", "Show a workspace", "trainyard workspace show -g mygroup -n batchaidev",
                            [=, &program] { return show(program, *options); }));
  CLI::App& listing =
      program.command(workspaces, "list", "List workspaces", "trainyard workspace list -g mygroup -o table",
                      [=, &program] { return list(program, *options); });
  use_setting(*listing.add_option("-g,--resource-group", options->place.group, "Only this group's"), "group",
              options->place.group);
  CLI::App& deleting = program.command(
      workspaces, "delete", "Delete a workspace with its clusters, experiments and jobs",
      "trainyard workspace delete -g mygroup -n batchaidev -y", [=, &program] { return remove(program, *options); });
  add_place(deleting);
  program.add_confirmation(deleting);
}

}  // namespace trainyard::cli
