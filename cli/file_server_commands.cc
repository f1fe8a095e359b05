// trainyard file-server ...: names for the operator's NFS exports, with Batch AI's flags.
#include "cli/commands.h"
#include "cli/show.h"
#include "trainyard/v1/file_servers.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::FileServers::Stub;

struct Options {
  Place place;
  std::string vm_size, caching_type = "none", storage_sku = "Premium_LRS", user, key, subnet;
  int disk_count = 1, disk_size = 10;
  bool ignored = false;
};

int create(Program& program, const Options& options) {
  auto request = request_for<v1::CreateFileServerRequest>(options.place);
  request.set_request_id(new_request_id());
  v1::FileServerSpec& spec = *request.mutable_spec();
  spec.set_vm_size(options.vm_size);
  spec.set_disk_count(options.disk_count);
  spec.set_disk_size_in_gb(options.disk_size);
  spec.set_storage_account_type(options.storage_sku);
  spec.set_caching_type(options.caching_type);
  spec.set_admin_user_name(options.user);
  spec.set_admin_user_ssh_public_key(options.key);
  const auto server = program.ask(&Stub::CreateFileServer, request);
  return server ? program.print(show_one(*server)) : program.exit_code();
}

int show(Program& program, const Options& options) {
  const auto server = program.ask(&Stub::GetFileServer, request_for<v1::GetFileServerRequest>(options.place));
  return server ? program.print(show_one(*server)) : program.exit_code();
}

int list(Program& program, const Options& options) {
  v1::ListFileServersRequest request;
  request.set_resource_group(options.place.group);
  request.set_workspace(options.place.workspace);
  const auto servers = program.ask(&Stub::ListFileServers, request);
  return servers ? program.print(show_all(servers->file_servers())) : program.exit_code();
}

int remove(Program& program, const Options& options) {
  if (!program.confirmed()) return program.exit_code();
  auto request = request_for<v1::DeleteFileServerRequest>(options.place);
  request.set_request_id(new_request_id());
  return program.ask(&Stub::DeleteFileServer, request) ? static_cast<int>(kDone) : program.exit_code();
}

void add_create_flags(CLI::App& command, Options& options) {
  command.add_option("-s,--vm-size", options.vm_size, "Kept and shown; no machine is made")->required();
  command.add_option("--disk-count", options.disk_count, "Kept and shown")->capture_default_str();
  command.add_option("--disk-size", options.disk_size, "In GB; kept and shown")->capture_default_str();
  command.add_option("--caching-type", options.caching_type, "none, readonly or readwrite; kept and shown")
      ->capture_default_str();
  command.add_option("--storage-sku", options.storage_sku, "Premium_LRS or Standard_LRS; kept and shown")
      ->capture_default_str();
  command.add_option("-u,--user-name", options.user, "Kept and shown; no account is made");
  command.add_option("-k,--ssh-key", options.key, "Kept and shown");
  command.add_flag("--generate-ssh-keys", options.ignored, "No effect: nobody logs in to an export");
  command.add_flag("--no-wait", options.ignored, "No effect: the answer comes at once");
}

}  // namespace

void add_file_server_commands(CLI::App& app, Program& program) {
  CLI::App& servers = program.group(app, "file-server", "File servers: names for NFS exports of the operator");
  auto options = std::make_shared<Options>();
  const auto add_home = [&](CLI::App& command) {
    add_group_flag(command, options->place.group);
    add_workspace_flag(command, options->place.workspace);
  };
  const auto add_place = [&](CLI::App& command) {
    add_home(command);
    command.add_option("-n,--name", options->place.name, "Name of the file server")->required();
  };
  CLI::App& creating = program.command(servers, "create", "Register an NFS export of the controller's configuration",
                                       "trainyard file-server create -g mygroup -w batchaidev -n nfs -s Standard_DS2 "
                                       "--disk-count 2 --disk-size 10 --storage-sku Premium_LRS --generate-ssh-keys",
                                       [=, &program] { return create(program, *options); });
  add_place(creating);
  add_create_flags(creating, *options);
  program.refuse_flags(creating, {"--subnet", "-p,--password", "-f,--config-file"});
  add_place(program.command(servers, "show", "Show a file server", "trainyard file-server show -g mygroup -w w -n nfs",
                            [=, &program] { return show(program, *options); }));
  add_home(program.command(servers, "list", "List a workspace's file servers",
                           "trainyard file-server list -g mygroup -w batchaidev -o table",
                           [=, &program] { return list(program, *options); }));
  CLI::App& deleting = program.command(servers, "delete", "Forget a file server; the export and its files stay",
                                       "trainyard file-server delete -g mygroup -w batchaidev -n nfs -y",
                                       [=, &program] { return remove(program, *options); });
  add_place(deleting);
  program.add_confirmation(deleting);
}

}  // namespace trainyard::cli
