#include <fmt/format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "cli/commands.h"
#include "cli/show.h"
#include "cli/transfer.h"
#include "trainyard/v1/volumes.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Volumes::Stub;

constexpr std::size_t kChunkBytes = 256 * 1024;

struct Options {
  std::string group, name, location, sku;
  std::string account, share, path, source, destination;
  std::vector<std::string> tags;
  bool no_progress = false;
};

// As Azure's command line has it: a flag, or the environment.
Status find_account(Options& options) {
  for (const char* variable : {"TRAINYARD_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT"}) {
    const char* value = std::getenv(variable);
    if (options.account.empty() && value != nullptr) options.account = value;
  }
  if (!options.account.empty()) return {};
  return Error{Code::invalid_argument, "no storage account: give --account-name, or set TRAINYARD_STORAGE_ACCOUNT"};
}

void set_path(v1::SharePath& target, const Options& options, const std::string& path) {
  target.set_account(options.account);
  target.set_share(options.share);
  target.set_path(path);
}

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
  set_path(*request.mutable_directory(), options, relative_path(options.name));
  const auto answer = program.ask(&Stub::CreateDirectory, request);
  return answer ? program.print(created(answer->created())) : program.exit_code();
}

int list_files(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) return program.fail(found.error());
  v1::ListFilesRequest request;
  set_path(*request.mutable_directory(), options, relative_path(options.path));
  const auto files = program.ask(&Stub::ListFiles, request);
  return files ? program.print(show_all(files->files())) : program.exit_code();
}

int delete_file(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) return program.fail(found.error());
  if (!program.confirmed()) return program.exit_code();
  v1::DeleteFileRequest request;
  request.set_request_id(new_request_id());
  set_path(*request.mutable_file(), options, relative_path(options.path));
  return program.ask(&Stub::DeleteFile, request) ? static_cast<int>(kDone) : program.exit_code();
}

// Where an upload goes: into --path when that is a directory of the share, else --path is the file itself.
Result<std::string> upload_target(Client& client, const Options& options) {
  const std::string name = std::filesystem::path(options.source).filename().string();
  const std::string path = relative_path(options.path);
  if (path.empty()) return name;
  v1::ListFilesRequest request;
  set_path(*request.mutable_directory(), options, path);
  const auto listing = client.call(&Stub::ListFiles, request);
  if (listing) return path + "/" + name;
  const Code code = listing.error().code;
  const bool no_directory =
      code == Code::not_found || code == Code::failed_precondition || code == Code::invalid_argument;
  if (!no_directory || options.path.ends_with('/')) return listing.error();
  return path;
}

void add_upload(Answer& answer, const std::string& path, std::uint64_t size) {
  answer.value.push_back({{"contentLength", size}, {"name", last_part(path)}, {"path", path}});
  answer.table.rows.push_back({last_part(path), path, std::to_string(size)});
}

// One try of an upload; the file appears whole or not at all, so another try is harmless.
grpc::Status send_file(Client& client, const Options& options, const std::string& source, const std::string& target,
                       std::string& local_error, v1::UploadFileResponse& response) {
  std::ifstream file(source, std::ios::binary);
  if (!file) {
    local_error = source + ": cannot be read; check the path";
    return grpc::Status::CANCELLED;
  }
  Stub stub(client.channel());
  grpc::ClientContext context;
  const auto writer = stub.UploadFile(&context, &response);
  v1::UploadFileRequest part;
  set_path(*part.mutable_target(), options, target);
  bool open = writer->Write(part);
  std::string chunk(kChunkBytes, '\0');
  while (open) {
    file.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    if (file.gcount() == 0) break;
    part.set_data(chunk.data(), static_cast<std::size_t>(file.gcount()));
    open = writer->Write(part);
  }
  if (file.bad()) {
    local_error = source + ": cannot be read to its end";
    context.TryCancel();
  } else {
    writer->WritesDone();
  }
  return writer->Finish();
}

// Tries while that may help. The size of what is there then.
Result<std::uint64_t> upload_file(Client& client, const Options& options, const std::string& source,
                                  const std::string& target) {
  Patience patience(client);
  for (;;) {
    std::string local_error;
    v1::UploadFileResponse response;
    const grpc::Status status = send_file(client, options, source, target, local_error, response);
    if (!local_error.empty()) return Error{Code::invalid_argument, local_error};
    if (status.ok()) return response.size();
    if (!patience.again(status)) return client.error_of(status);
  }
}

// The content of directory `source` into directory `target`, with all below.
Status upload_directory(Client& client, const Options& options, const std::filesystem::path& source,
                        const std::string& target, Answer& answer) {
  if (!target.empty()) {
    v1::CreateDirectoryRequest request;
    request.set_request_id(new_request_id());
    set_path(*request.mutable_directory(), options, target);
    if (const auto made = client.call(&Stub::CreateDirectory, request); !made) return made.error();
  }
  std::error_code failed;
  std::set<std::filesystem::path> entries;
  for (const auto& entry : std::filesystem::directory_iterator(source, failed)) entries.insert(entry.path());
  if (failed) return Error{Code::invalid_argument, source.string() + ": cannot be read: " + failed.message()};
  for (const std::filesystem::path& entry : entries) {
    const std::string below = (target.empty() ? "" : target + "/") + entry.filename().string();
    if (std::filesystem::is_directory(entry, failed)) {
      if (auto done = upload_directory(client, options, entry, below, answer); !done) return done;
      continue;
    }
    if (!std::filesystem::is_regular_file(entry, failed)) {
      return Error{Code::invalid_argument, entry.string() + ": is neither a file nor a directory; move it away"};
    }
    const auto size = upload_file(client, options, entry.string(), below);
    if (!size) return size.error();
    add_upload(answer, below, *size);
  }
  return {};
}

int upload(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) return program.fail(found.error());
  std::error_code ignored;
  const bool directory = std::filesystem::is_directory(options.source, ignored);
  if (!directory && !std::filesystem::is_regular_file(options.source, ignored)) {
    return program.fail(
        Error{Code::invalid_argument, "--source: " + options.source + " is not a file or directory that can be read"});
  }
  auto client = program.client();
  if (!client) return program.fail(client.error());
  Answer answer{Json::array(), Table{{"Name", "Path", "Size"}, {}}};
  if (directory) {
    const auto done = upload_directory(**client, options, options.source, relative_path(options.path), answer);
    return done ? program.print(answer) : program.fail(done.error());
  }
  const auto target = upload_target(**client, options);
  if (!target) return program.fail(target.error());
  const auto size = upload_file(**client, options, options.source, *target);
  if (!size) return program.fail(size.error());
  add_upload(answer, *target, *size);
  answer.value = Json(answer.value.at(0));
  return program.print(answer);
}

FileSource files_of(Client& client, const Options& options) {
  FileSource source;
  source.list = [&](const std::string& path) -> Result<std::vector<v1::FileEntry>> {
    v1::ListFilesRequest request;
    set_path(*request.mutable_directory(), options, path);
    const auto listing = client.call(&Stub::ListFiles, request);
    if (!listing) return listing.error();
    return std::vector<v1::FileEntry>(listing->files().begin(), listing->files().end());
  };
  source.read = [&](grpc::ClientContext& context, const std::string& path, std::uint64_t offset) {
    v1::DownloadFileRequest request;
    set_path(*request.mutable_file(), options, path);
    request.set_offset(offset);
    Stub stub(client.channel());
    return stub.DownloadFile(&context, request);
  };
  return source;
}

int download(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) return program.fail(found.error());
  auto client = program.client();
  if (!client) return program.fail(client.error());
  const auto copies = download(**client, files_of(**client, options), options.path, options.destination);
  return copies ? program.print(show_copies(*copies)) : program.fail(copies.error());
}

using Shared = std::shared_ptr<Options>;

void add_account_flag(CLI::App& command, const Shared& options, Program& program) {
  command.add_option("--account-name", options->account, "Storage account [$TRAINYARD_STORAGE_ACCOUNT]");
  program.refuse_flags(command, {"--account-key", "--connection-string", "--sas-token"});
}

void add_share_flag(CLI::App& command, const Shared& options) {
  command.add_option("-s,--share-name", options->share, "Share")->required();
}

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
  creating.add_option("-n,--name", options->name, "Name of the share")->required();
  add_account_flag(creating, options, program);
  program.refuse_flags(creating, {"--quota", "--metadata"});
  add_account_flag(program.command(shares, "list", "List an account's shares",
                                   "trainyard storage share list --account-name mystorageaccount -o table",
                                   [=, &program] { return list_shares(program, *options); }),
                   options, program);
  CLI::App& directories = program.group(storage, "directory", "Directories of a share");
  CLI::App& making =
      program.command(directories, "create", "Create a directory, with its parents",
                      "trainyard storage directory create -n cifar -s myshare --account-name mystorageaccount",
                      [=, &program] { return create_directory(program, *options); });
  making.add_option("-n,--name", options->name, "Path of the directory in the share")->required();
  add_share_flag(making, options);
  add_account_flag(making, options, program);
}

void add_files(CLI::App& storage, Program& program, const Shared& options) {
  CLI::App& files = program.group(storage, "file", "Files of a share");
  CLI::App& uploading = program.command(
      files, "upload", "Copy a file, or a directory's content, to a share",
      "trainyard storage file upload -p cifar -s myshare --source train.py --account-name mystorageaccount",
      [=, &program] { return upload(program, *options); });
  uploading.add_option("--source", options->source, "The file or directory here")->required();
  uploading.add_option("-p,--path", options->path, "A directory of the share, or the file's path there [its root]");
  CLI::App& downloading = program.command(
      files, "download", "Copy a file or a whole directory from a share; goes on where it stopped",
      "trainyard storage file download -p cifar/saved_models/model.h5 -s myshare --account-name mystorageaccount",
      [=, &program] { return download(program, *options); });
  downloading.add_option("-p,--path", options->path, "Path of the file or directory in the share")->required();
  downloading.add_option("--dest", options->destination, "File or directory here [the file's name, here]");
  CLI::App& listing = program.command(files, "list", "List a directory of a share",
                                      "trainyard storage file list -s myshare -p cifar --account-name mystorageaccount",
                                      [=, &program] { return list_files(program, *options); });
  listing.add_option("-p,--path", options->path, "Directory in the share [its root]");
  CLI::App& deleting =
      program.command(files, "delete", "Delete a file of a share",
                      "trainyard storage file delete -p cifar/old.py -s myshare --account-name mystorageaccount -y",
                      [=, &program] { return delete_file(program, *options); });
  deleting.add_option("-p,--path", options->path, "Path of the file in the share")->required();
  program.add_confirmation(deleting);
  for (CLI::App* command : {&uploading, &downloading, &listing, &deleting}) {
    add_share_flag(*command, options);
    add_account_flag(*command, options, program);
  }
  for (CLI::App* command : {&uploading, &downloading}) {
    command->add_flag("--no-progress", options->no_progress, "Accepted; it is shown on a terminal only");
    program.refuse_flags(*command, {"--metadata", "--content-type", "--max-connections", "--validate-content"});
  }
}

}  // namespace

void add_storage_commands(CLI::App& app, Program& program) {
  CLI::App& storage = program.group(app, "storage", "Storage: accounts, shares and their files");
  auto options = std::make_shared<Options>();
  add_accounts(storage, program, options);
  add_shares(storage, program, options);
  add_files(storage, program, options);
}

}  // namespace trainyard::cli
