// trainyard file-server ...: with Batch AI's flags.
#include "batchai/json_fields.h"
#include "cli/admin_account.h"
#include "cli/commands.h"
#include "cli/file_server_file.h"
#include "cli/show.h"
#include "trainyard/v1/file_servers.grpc.pb.h"

namespace trainyard::cli {
namespace {

using namespace batchai;
using Stub = v1::FileServers::Stub;

struct Options {
  Place place;
  FileServerFlags flags;
  std::string config_file, ssh_key, password, subnet;
  bool generate_ssh_keys = false, no_wait = false;
};

Result<v1::FileServerSpec> spec_of(const Options& options) {
  if (!options.subnet.empty()) warn("--subnet has no effect: the storage nodes' network is the operator's");
  if (!options.password.empty()) {
    warn("--password has no effect and is sent nowhere: no account is made on a storage node");
  }
  std::string text;
  if (!options.config_file.empty()) {
    auto read = read_text_file(options.config_file, kLargestFileBytes);
    if (!read) return read.error();
    text = std::move(*read);
    if (text.empty()) return Error{Code::invalid_argument, options.config_file + ": is empty"};
  }
  auto key = ssh_public_key(options.ssh_key, !options.config_file.empty());
  if (!key) return key.error();
  FileServerFlags flags = options.flags;
  flags.ssh_public_key = *key;
  std::vector<std::string> warnings;
  auto spec = make_file_server_spec(text, options.config_file, flags, warnings);
  for (const std::string& warning : warnings) warn(options.config_file + ": " + warning);
  if (spec && spec->admin_user_name().empty()) spec->set_admin_user_name(current_user());
  return spec;
}

// Waits until the storage node serves it, or says why it does not.
int wait_made(Program& program, const Options& options, v1::FileServer& server) {
  auto client = program.client();
  if (!client) return program.fail(client.error());
  const auto request = request_for<v1::GetFileServerRequest>(options.place);
  const bool done = program.wait_until("file server " + options.place.name, [&](std::string& why) -> Result<bool> {
    auto answer = (*client)->call(&Stub::GetFileServer, request);
    if (!answer)
      return Error{answer.error().code, answer.error().message + " (it was created; see `file-server show`)"};
    server = *answer;
    why = server.reason();
    return server.provisioning_state() != "creating";
  });
  if (!done) return program.exit_code();
  if (server.provisioning_state() == "succeeded") return kDone;
  return program.fail(
      Error{Code::failed_precondition, "file server " + options.place.name + " is " + server.provisioning_state() +
                                           ": " + server.reason() +
                                           ". The node goes on trying; `trainyard file-server delete` gives up"});
}

int create(Program& program, const Options& options) {
  auto spec = spec_of(options);
  if (!spec) return program.fail(spec.error());
  auto request = request_for<v1::CreateFileServerRequest>(options.place);
  request.set_request_id(new_request_id());
  *request.mutable_spec() = *spec;
  auto server = program.ask(&Stub::CreateFileServer, request);
  if (!server) return program.exit_code();
  if (server->provisioning_state() != "succeeded" && !options.no_wait) {
    if (const int code = wait_made(program, options, *server); code != kDone) return code;
  }
  return program.print(show_one(*server));
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
  if (!program.confirmed(
          "All files of file server " + options.place.name +
          " are deleted with it, unless it is only the name of an export that the operator registered.")) {
    return program.exit_code();
  }
  auto request = request_for<v1::DeleteFileServerRequest>(options.place);
  request.set_request_id(new_request_id());
  if (!program.ask(&Stub::DeleteFileServer, request)) return program.exit_code();
  if (!program.waits()) return kDone;
  return wait_gone<Stub, v1::GetFileServerRequest, v1::FileServer>(
      program, "file server " + options.place.name, &Stub::GetFileServer,
      request_for<v1::GetFileServerRequest>(options.place),
      [](const v1::FileServer& server) { return server.reason(); });
}

void add_create_flags(CLI::App& command, Options& options) {
  FileServerFlags& flags = options.flags;
  command.add_option("-s,--vm-size", flags.vm_size, "Kept and shown; no machine is made");
  command.add_option("--disk-count", flags.disk_count, "With --disk-size: what must fit when it is made [1]");
  command.add_option("--disk-size", flags.disk_size, "In GB, of each; nobody is held to it later [10]");
  command.add_option("--caching-type", flags.caching_type, "none, readonly or readwrite; kept and shown [none]");
  command.add_option("--storage-sku", flags.storage_sku, "Premium_LRS or Standard_LRS; kept and shown [Premium_LRS]");
  command.add_option("-f,--config-file", options.config_file,
                     "JSON file with properties as in Batch AI; flags win over it");
  command.add_option("-u,--user-name", flags.user_name, "Kept and shown; no account is made [you]");
  command.add_option("-k,--ssh-key", options.ssh_key, "Noted public key, or its file [~/.ssh/id_rsa.pub if there]");
  command.add_option("-p,--password", options.password, "Accepted without effect: no account is made");
  command.add_option("--subnet", options.subnet, "Accepted without effect: the network is the operator's");
  command.add_flag("--generate-ssh-keys", options.generate_ssh_keys, "Accepted; no ssh is used, so none are needed");
  command.add_flag("--no-wait", options.no_wait, "Do not wait until it serves");
}

}  // namespace

void add_file_server_commands(CLI::App& app, Program& program) {
  CLI::App& servers = program.group(app, "file-server",
                                    "File servers: NFS exports, registered by the operator or made on a storage node");
  auto options = std::make_shared<Options>();
  const auto add_home = [&](CLI::App& command) {
    add_group_flag(command, options->place.group);
    add_workspace_flag(command, options->place.workspace);
  };
  const auto add_place = [&](CLI::App& command) {
    add_home(command);
    command.add_option("-n,--name", options->place.name, "Name of the file server")->required();
  };
  CLI::App& creating = program.command(
      servers, "create", "Name an NFS export of the controller's configuration, or make one on a storage node",
      "trainyard file-server create -g mygroup -w batchaidev -n nfs -s Standard_DS2 "
      "--disk-count 2 --disk-size 10 --storage-sku Premium_LRS --generate-ssh-keys",
      [=, &program] { return create(program, *options); });
  add_place(creating);
  add_create_flags(creating, *options);
  add_place(program.command(servers, "show", "Show a file server, with what a client needs to mount it",
                            "trainyard file-server show -g mygroup -w batchaidev -n nfs --query mountSettings",
                            [=, &program] { return show(program, *options); }));
  add_home(program.command(servers, "list", "List a workspace's file servers",
                           "trainyard file-server list -g mygroup -w batchaidev -o table",
                           [=, &program] { return list(program, *options); }));
  CLI::App& deleting =
      program.command(servers, "delete", "Delete a file server and its files; a registered export stays",
                      "trainyard file-server delete -g mygroup -w batchaidev -n nfs -y",
                      [=, &program] { return remove(program, *options); });
  add_place(deleting);
  program.add_confirmation(deleting);
}

}  // namespace trainyard::cli
