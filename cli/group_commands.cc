#include "cli/commands.h"
#include "cli/show.h"
#include "trainyard/v1/groups.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Groups::Stub;

struct Options {
  std::string name, location;
  std::vector<std::string> tags;
};

int create(Program& program, const Options& options) {
  v1::CreateGroupRequest request;
  request.set_request_id(new_request_id());
  request.set_name(options.name);
  request.set_location(options.location);
  if (const auto set = set_tags(options.tags, *request.mutable_tags()); !set) return program.fail(set.error());
  const auto group = program.ask(&Stub::CreateGroup, request);
  return group ? program.print(show_one(*group)) : program.exit_code();
}

int update(Program& program, const Options& options) {
  v1::UpdateGroupRequest request;
  request.set_request_id(new_request_id());
  request.set_name(options.name);
  if (const auto set = set_tags(options.tags, *request.mutable_tags()); !set) return program.fail(set.error());
  const auto group = program.ask(&Stub::UpdateGroup, request);
  return group ? program.print(show_one(*group)) : program.exit_code();
}

int show(Program& program, const Options& options) {
  v1::GetGroupRequest request;
  request.set_name(options.name);
  const auto group = program.ask(&Stub::GetGroup, request);
  return group ? program.print(show_one(*group)) : program.exit_code();
}

int list(Program& program) {
  const auto groups = program.ask(&Stub::ListGroups, v1::ListGroupsRequest());
  return groups ? program.print(show_all(groups->groups())) : program.exit_code();
}

// As Azure's command line: true or false, and either is a success.
int exists(Program& program, const Options& options) {
  auto client = program.client();
  if (!client) return program.fail(client.error());
  v1::GetGroupRequest request;
  request.set_name(options.name);
  const auto group = (*client)->call(&Stub::GetGroup, request);
  if (!group && group.error().code != Code::not_found) return program.fail(group.error());
  return program.print(Answer{Json(group.ok()), Table{{"Result"}, {{group.ok() ? "True" : "False"}}}});
}

int remove(Program& program, const Options& options) {
  if (!program.confirmed()) return program.exit_code();
  v1::DeleteGroupRequest request;
  request.set_request_id(new_request_id());
  request.set_name(options.name);
  if (!program.ask(&Stub::DeleteGroup, request)) return program.exit_code();
  if (!program.waits()) return kDone;
  v1::GetGroupRequest get;
  get.set_name(options.name);
  return wait_gone(program, "group " + options.name, &Stub::GetGroup, get);
}

}  // namespace

void add_group_commands(CLI::App& app, Program& program) {
  CLI::App& groups = program.group(app, "group", "Resource groups: the outermost containers");
  auto options = std::make_shared<Options>();
  const auto add_name = [&](CLI::App& command) {
    command.add_option("-n,--name,-g,--resource-group", options->name, "Name of the group")->required();
  };
  CLI::App& creating = program.command(groups, "create", "Create a group",
                                       "trainyard group create --name batchai.horovod --location eastus",
                                       [=, &program] { return create(program, *options); });
  add_name(creating);
  creating.add_option("-l,--location", options->location, "Free text, shown only");
  creating.add_option("--tags", options->tags, "NAME=VALUE ...");
  CLI::App& updating = program.command(groups, "update", "Replace a group's tags",
                                       "trainyard group update -n mygroup --tags team=vision",
                                       [=, &program] { return update(program, *options); });
  add_name(updating);
  updating.add_option("--tags", options->tags, "NAME=VALUE ...; none: no tags any more")->expected(0, -1)->required();
  add_name(program.command(groups, "show", "Show a group", "trainyard group show -n batchai.horovod",
                           [=, &program] { return show(program, *options); }));
  add_name(program.command(groups, "exists", "Whether there is a group", "trainyard group exists -n batchai.horovod",
                           [=, &program] { return exists(program, *options); }));
  program.command(groups, "list", "List the groups", "trainyard group list -o table",
                  [&program] { return list(program); });
  CLI::App& deleting = program.command(groups, "delete", "End and delete everything in a group; files on shares stay",
                                       "trainyard group delete --name batchai.horovod",
                                       [=, &program] { return remove(program, *options); });
  add_name(deleting);
  program.add_confirmation(deleting);
}

}  // namespace trainyard::cli
