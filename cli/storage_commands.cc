// The storage commands that go by one thing at a time; storage_batch.cc has those for whole directories.
#include <cstdlib>
#include <filesystem>

#include "cli/commands.h"
#include "cli/show.h"
#include "cli/storage_options.h"
#include "trainyard/v1/volumes.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Volumes::Stub;
using Options = StorageOptions;

int create_account(Program& program, const Options& options) {
  v1::CreateAccountRequest request;
  request.set_request_id(new_request_id());
  request.set_resource_group(options.group);
  request.set_name(options.name);
  request.set_location(options.location);
  request.set_sku(options.sku);
  const auto account = program.ask(&Stub::CreateAccount, request);
  return account ? program.print(show_one(*account)) : program.exit_code();
}

int list_accounts(Program& program, const Options& options) {
  v1::ListAccountsRequest request;
  request.set_resource_group(options.group);
  const auto accounts = program.ask(&Stub::ListAccounts, request);
  return accounts ? program.print(show_all(accounts->accounts())) : program.exit_code();
}

// As Azure's command line answers these.
Answer created(bool was_created) {
  return Answer{Json{{"created", was_created}}, Table{{"Created"}, {{was_created ? "True" : "False"}}}};
}

int create_share(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) return program.fail(found.error());
  v1::CreateShareRequest request;
  request.set_request_id(new_request_id());
  request.set_account(options.account);
  request.set_name(options.name);
  return program.ask(&Stub::CreateShare, request) ? program.print(created(true)) : program.exit_code();
}

int list_shares(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) return program.fail(found.error());
  v1::ListSharesRequest request;
  request.set_account(options.account);
  const auto shares = program.ask(&Stub::ListShares, request);
  return shares ? program.print(show_all(shares->shares())) : program.exit_code();
}

int create_directory(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) return program.fail(found.error());
  v1::CreateDirectoryRequest request;
  request.set_request_id(new_request_id());
  *request.mutable_directory() = share_path(options.at(), relative_path(options.path));
  const auto answer = program.ask(&Stub::CreateDirectory, request);
  return answer ? program.print(created(answer->created())) : program.exit_code();
}

// The client, when there are an account and a connection; else null, and the error is said.
Client* client_for(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) {
    program.fail(found.error());
    return nullptr;
  }
  auto client = program.client();
  if (!client) program.fail(client.error());
  return client ? *client : nullptr;
}

int list_files(Program& program, Options& options, bool only_directories) {
  Client* client = client_for(program, options);
  if (client == nullptr) return program.exit_code();
  auto files = list_directory(*client, options.at(), relative_path(options.path));
  if (!files) return program.fail(files.error());
  if (only_directories) std::erase_if(*files, [](const v1::FileEntry& entry) { return !entry.is_directory(); });
  return program.print(show_all(*files));
}

// As Azure's command line answers "exists": yes or no, and either is a success.
Answer exists(bool there) {
  return Answer{Json{{"exists", there}}, Table{{"Exists"}, {{there ? "True" : "False"}}}};
}

int share_exists(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) return program.fail(found.error());
  v1::ListSharesRequest request;
  request.set_account(options.account);
  const auto shares = program.ask(&Stub::ListShares, request);
  if (!shares) return program.exit_code();
  const auto& all = shares->shares();
  return program.print(exists(std::any_of(all.begin(), all.end(), [&](const auto& share) {
    return CLI::detail::to_lower(share.name()) == CLI::detail::to_lower(options.name);
  })));
}

int entry_exists(Program& program, Options& options, const std::string& path, bool directory) {
  Client* client = client_for(program, options);
  if (client == nullptr) return program.exit_code();
  const auto entry = find_entry(*client, options.at(), relative_path(path));
  if (!entry) return program.fail(entry.error());
  return program.print(exists(entry->has_value() && (*entry)->is_directory() == directory));
}

// Looks first: one RPC deletes files and empty directories alike.
int remove_entry(Program& program, Options& options, const std::string& given, bool directory) {
  Client* client = client_for(program, options);
  if (client == nullptr || !program.confirmed()) return program.exit_code();
  const std::string path = relative_path(given);
  const auto entry = find_entry(*client, options.at(), path);
  if (!entry) return program.fail(entry.error());
  const char* wanted = directory ? "directory" : "file";
  if (path.empty() || !entry->has_value()) {
    return program.fail(
        Error{Code::not_found, "there is no " + std::string(wanted) + " \"" + given + "\" in the share"});
  }
  if ((*entry)->is_directory() != directory) {
    return program.fail(Error{Code::failed_precondition, path + " is no " + wanted + ": use `trainyard storage " +
                                                             (directory ? "file" : "directory") + " delete`"});
  }
  v1::DeleteFileRequest request;
  request.set_request_id(new_request_id());
  *request.mutable_file() = share_path(options.at(), path);
  return program.ask(&Stub::DeleteFile, request) ? static_cast<int>(kDone) : program.exit_code();
}

// Where an upload goes: into --path when that is a directory of the share, else --path is the file itself.
Result<std::string> upload_target(Client& client, const Options& options) {
  const std::string name = std::filesystem::path(options.source).filename().string();
  const std::string path = relative_path(options.path);
  if (path.empty()) return name;
  const auto listing = list_directory(client, options.at(), path);
  if (listing) return joined_path(path, name);
  const Code code = listing.error().code;
  const bool no_directory =
      code == Code::not_found || code == Code::failed_precondition || code == Code::invalid_argument;
  if (!no_directory || options.path.ends_with('/')) return listing.error();
  return path;
}

int upload(Program& program, Options& options) {
  Client* client = client_for(program, options);
  if (client == nullptr) return program.exit_code();
  if (std::error_code ignored; !std::filesystem::is_regular_file(options.source, ignored)) {
    return program.fail(
        Error{Code::invalid_argument, "--source: " + options.source + " is not a file that can be read"});
  }
  const auto target = upload_target(*client, options);
  if (!target) return program.fail(target.error());
  Progress progress("uploading " + options.source, !options.no_progress);
  const auto size = upload_file(*client, options.at(), options.source, *target, progress);
  if (!size) return program.fail(size.error());
  return program.print(Answer{Json{{"contentLength", *size}, {"name", last_part(*target)}, {"path", *target}},
                              Table{{"Name", "Path", "Size"}, {{last_part(*target), *target, std::to_string(*size)}}}});
}

int download(Program& program, Options& options) {
  Client* client = client_for(program, options);
  if (client == nullptr) return program.exit_code();
  const std::string path = relative_path(options.path), name = last_part(path);
  std::string destination = options.destination.empty() ? name : options.destination;
  if (std::error_code ignored; std::filesystem::is_directory(destination, ignored)) {
    destination = (std::filesystem::path(destination) / name).string();
  }
  Progress progress("downloading " + path, !options.no_progress);
  const auto size = download_file(*client, options.at(), path, destination, progress);
  if (!size) return program.fail(size.error());
  return program.print(Answer{Json{{"contentLength", *size}, {"destination", destination}, {"name", name}},
                              Table{{"Name", "Destination", "Size"}, {{name, destination, std::to_string(*size)}}}});
}

using Shared = std::shared_ptr<Options>;

void add_accounts(CLI::App& storage, Program& program, const Shared& options) {
  CLI::App& accounts = program.group(storage, "account", "Accounts: names for places the operator configured");
  CLI::App& creating =
      program.command(accounts, "create", "Create a storage account",
                      "trainyard storage account create -g mygroup -n mystorageaccount --sku Standard_LRS",
                      [=, &program] { return create_account(program, *options); });
  add_group_flag(creating, options->group);
  creating.add_option("-n,--name", options->name, "Name, unique over all groups")->required();
  creating.add_option("-l,--location", options->location, "Free text, shown only");
  creating.add_option("--sku", options->sku, "Free text, shown only");
  program.refuse_flags(creating, {"--kind", "--access-tier", "--tags", "--https-only", "--encryption-services"});
  CLI::App& listing =
      program.command(accounts, "list", "List storage accounts", "trainyard storage account list -o table",
                      [=, &program] { return list_accounts(program, *options); });
  use_setting(*listing.add_option("-g,--resource-group", options->group, "Only this group's"), "group", options->group);
}

void add_shares(CLI::App& storage, Program& program, const Shared& options) {
  CLI::App& shares = program.group(storage, "share", "Shares: volumes of an account");
  CLI::App& creating = program.command(shares, "create", "Create a share",
                                       "trainyard storage share create --name myshare --account-name mystorageaccount",
                                       [=, &program] { return create_share(program, *options); });
  CLI::App& asking = program.command(shares, "exists", "Whether there is a share",
                                     "trainyard storage share exists --name myshare --account-name mystorageaccount",
                                     [=, &program] { return share_exists(program, *options); });
  for (CLI::App* command : {&creating, &asking}) {
    command->add_option("-n,--name", options->name, "Name of the share")->required();
    add_account_flag(*command, options, program);
  }
  program.refuse_flags(creating, {"--quota", "--metadata"});
  add_account_flag(program.command(shares, "list", "List an account's shares",
                                   "trainyard storage share list --account-name mystorageaccount -o table",
                                   [=, &program] { return list_shares(program, *options); }),
                   options, program);
  for (const char* later : {"delete", "show", "update"}) program.refuse_command(shares, later);
}

void add_directories(CLI::App& storage, Program& program, const Shared& options) {
  CLI::App& directories = program.group(storage, "directory", "Directories of a share");
  const auto add = [&](const char* name, const char* what, const char* example, std::function<int()> run) {
    CLI::App& command = program.command(directories, name, what, example, std::move(run));
    command.add_option("-n,--name,-p,--path", options->path, "Path of the directory in the share")->required();
    add_share_flag(command, options);
    add_account_flag(command, options, program);
    return &command;
  };
  add("create", "Create a directory, with its parents",
      "trainyard storage directory create -n cifar -s myshare --account-name mystorageaccount",
      [=, &program] { return create_directory(program, *options); });
  add("exists", "Whether there is a directory",
      "trainyard storage directory exists -n cifar -s myshare --account-name mystorageaccount",
      [=, &program] { return entry_exists(program, *options, options->path, true); });
  program.add_confirmation(*add("delete", "Delete an empty directory",
                                "trainyard storage directory delete -n cifar/old -s myshare --account-name "
                                "mystorageaccount -y",
                                [=, &program] { return remove_entry(program, *options, options->path, true); }));
  CLI::App& listing =
      program.command(directories, "list", "List the directories in a directory",
                      "trainyard storage directory list -s myshare --account-name mystorageaccount -o table",
                      [=, &program] { return list_files(program, *options, true); });
  listing.add_option("-n,--name,-p,--path", options->path, "Directory in the share [its root]");
  add_share_flag(listing, options);
  add_account_flag(listing, options, program);
}

void add_files(CLI::App& storage, Program& program, const Shared& options) {
  CLI::App& files = program.group(storage, "file", "Files of a share");
  CLI::App& uploading = program.command(
      files, "upload", "Copy a file to a share",
      "trainyard storage file upload -p cifar -s myshare --source train.py --account-name mystorageaccount",
      [=, &program] { return upload(program, *options); });
  uploading.add_option("--source", options->source, "The file here")->required();
  uploading.add_option("-p,--path", options->path, "A directory of the share, or the file's path there [its root]");
  CLI::App& downloading = program.command(
      files, "download", "Copy a file from a share",
      "trainyard storage file download -p cifar/saved_models/model.h5 -s myshare --account-name mystorageaccount",
      [=, &program] { return download(program, *options); });
  downloading.add_option("-p,--path", options->path, "Path of the file in the share")->required();
  downloading.add_option("--dest", options->destination, "File or directory here [the file's name, here]");
  CLI::App& listing = program.command(files, "list", "List a directory of a share",
                                      "trainyard storage file list -s myshare -p cifar --account-name mystorageaccount",
                                      [=, &program] { return list_files(program, *options, false); });
  listing.add_option("-p,--path", options->path, "Directory in the share [its root]");
  CLI::App& asking =
      program.command(files, "exists", "Whether there is a file",
                      "trainyard storage file exists -p cifar/train.py -s myshare --account-name mystorageaccount",
                      [=, &program] { return entry_exists(program, *options, options->path, false); });
  asking.add_option("-p,--path", options->path, "Path of the file in the share")->required();
  CLI::App& deleting =
      program.command(files, "delete", "Delete a file of a share",
                      "trainyard storage file delete -p cifar/old.py -s myshare --account-name mystorageaccount -y",
                      [=, &program] { return remove_entry(program, *options, options->path, false); });
  deleting.add_option("-p,--path", options->path, "Path of the file in the share")->required();
  program.add_confirmation(deleting);
  for (CLI::App* command : {&uploading, &downloading, &listing, &asking, &deleting}) {
    add_share_flag(*command, options);
    add_account_flag(*command, options, program);
  }
  for (CLI::App* command : {&uploading, &downloading}) {
    command->add_flag("--no-progress", options->no_progress, "Show no progress, on a terminal either");
    program.refuse_flags(*command, {"--metadata", "--content-type", "--max-connections", "--validate-content"});
  }
  add_file_batch_commands(files, program, options);
}

}  // namespace

// As Azure's command line has it: a flag, or the environment.
Status find_account(StorageOptions& options) {
  for (const char* variable : {"TRAINYARD_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT"}) {
    const char* value = std::getenv(variable);
    if (options.account.empty() && value != nullptr) options.account = value;
  }
  if (!options.account.empty()) return {};
  return Error{Code::invalid_argument, "no storage account: give --account-name, or set TRAINYARD_STORAGE_ACCOUNT"};
}

void add_account_flag(CLI::App& command, const std::shared_ptr<StorageOptions>& options, Program& program) {
  command.add_option("--account-name", options->account, "Storage account [$TRAINYARD_STORAGE_ACCOUNT]");
  program.refuse_flags(command, {"--account-key", "--connection-string", "--sas-token"});
}

void add_share_flag(CLI::App& command, const std::shared_ptr<StorageOptions>& options) {
  command.add_option("-s,--share-name", options->share, "Share")->required();
}

void add_storage_commands(CLI::App& app, Program& program) {
  CLI::App& storage = program.group(app, "storage", "Storage: accounts, shares and their files");
  auto options = std::make_shared<Options>();
  add_accounts(storage, program, options);
  add_shares(storage, program, options);
  add_directories(storage, program, options);
  add_files(storage, program, options);
}

}  // namespace trainyard::cli
