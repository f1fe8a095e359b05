#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "cli/commands.h"
#include "cli/show.h"
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

// Users write "cifar/", "./cifar" or "/cifar"; the API takes "cifar".
std::string relative(const std::string& path) {
  std::string out;
  std::size_t from = 0;
  while (from <= path.size()) {
    const std::size_t slash = std::min(path.find('/', from), path.size());
    const std::string part = path.substr(from, slash - from);
    if (!part.empty() && part != ".") out += (out.empty() ? "" : "/") + part;
    from = slash + 1;
  }
  return out;
}

std::string last_part(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
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
  set_path(*request.mutable_directory(), options, relative(options.name));
  const auto answer = program.ask(&Stub::CreateDirectory, request);
  return answer ? program.print(created(answer->created())) : program.exit_code();
}

int list_files(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) return program.fail(found.error());
  v1::ListFilesRequest request;
  set_path(*request.mutable_directory(), options, relative(options.path));
  const auto files = program.ask(&Stub::ListFiles, request);
  return files ? program.print(show_all(files->files())) : program.exit_code();
}

int delete_file(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) return program.fail(found.error());
  if (!program.confirmed()) return program.exit_code();
  v1::DeleteFileRequest request;
  request.set_request_id(new_request_id());
  set_path(*request.mutable_file(), options, relative(options.path));
  return program.ask(&Stub::DeleteFile, request) ? static_cast<int>(kDone) : program.exit_code();
}

// Where an upload goes: into --path when that is a directory of the share, else --path is the file itself.
Result<std::string> upload_target(Client& client, const Options& options) {
  const std::string name = std::filesystem::path(options.source).filename().string();
  const std::string path = relative(options.path);
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

// One try of an upload; the file appears whole or not at all, so another try is harmless.
grpc::Status send_file(Client& client, const Options& options, const std::string& target, std::string& local_error,
                       v1::UploadFileResponse& response) {
  std::ifstream file(options.source, std::ios::binary);
  if (!file) {
    local_error = options.source + ": cannot be read; check the path";
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
    local_error = options.source + ": cannot be read to its end";
    context.TryCancel();
  } else {
    writer->WritesDone();
  }
  return writer->Finish();
}

int upload(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) return program.fail(found.error());
  if (std::error_code ignored; !std::filesystem::is_regular_file(options.source, ignored)) {
    return program.fail(
        Error{Code::invalid_argument, "--source: " + options.source + " is not a file that can be read"});
  }
  auto client = program.client();
  if (!client) return program.fail(client.error());
  const auto target = upload_target(**client, options);
  if (!target) return program.fail(target.error());
  Patience patience(**client);
  for (;;) {
    std::string local_error;
    v1::UploadFileResponse response;
    const grpc::Status status = send_file(**client, options, *target, local_error, response);
    if (!local_error.empty()) return program.fail(Error{Code::invalid_argument, local_error});
    if (status.ok()) {
      const std::string size = std::to_string(response.size());
      return program.print(
          Answer{Json{{"contentLength", response.size()}, {"name", last_part(*target)}, {"path", *target}},
                 Table{{"Name", "Path", "Size"}, {{last_part(*target), *target, size}}}});
    }
    if (!patience.again(status)) return program.fail((*client)->error_of(status));
  }
}

// One try of a download into `file`, from the start.
grpc::Status receive_file(Client& client, const Options& options, std::FILE* file, std::string& local_error,
                          std::uint64_t& size) {
  size = 0;
  v1::DownloadFileRequest request;
  set_path(*request.mutable_file(), options, relative(options.path));
  Stub stub(client.channel());
  grpc::ClientContext context;
  const auto reader = stub.DownloadFile(&context, request);
  v1::FileChunk chunk;
  while (local_error.empty() && reader->Read(&chunk)) {
    const std::string& data = chunk.data();
    if (chunk.offset() != size) {
      local_error =
          fmt::format("the controller sent byte {} where byte {} comes next; start again", chunk.offset(), size);
    } else if (std::fwrite(data.data(), 1, data.size(), file) != data.size()) {
      local_error = std::string("cannot write: ") + std::strerror(errno);
    }
    size += data.size();
  }
  if (!local_error.empty()) context.TryCancel();
  grpc::Status status = reader->Finish();
  if (status.ok() && local_error.empty() && std::fflush(file) != 0) {
    local_error = std::string("cannot write: ") + std::strerror(errno);
  }
  return status;
}

std::string download_destination(const Options& options) {
  const std::string name = last_part(relative(options.path));
  if (options.destination.empty()) return name;
  std::error_code ignored;
  const bool directory = std::filesystem::is_directory(options.destination, ignored);
  return directory ? (std::filesystem::path(options.destination) / name).string() : options.destination;
}

// Into a file beside, renamed when whole: a half download never has the name.
int download(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) return program.fail(found.error());
  const std::string destination = download_destination(options);
  const std::string part = fmt::format("{}.part-{}", destination, getpid());
  auto client = program.client();
  if (!client) return program.fail(client.error());
  Patience patience(**client);
  for (;;) {
    std::FILE* file = std::fopen(part.c_str(), "wb");
    if (file == nullptr) {
      return program.fail(Error{Code::invalid_argument, destination + ": cannot be written: " + std::strerror(errno)});
    }
    std::string local_error;
    std::uint64_t size = 0;
    const grpc::Status status = receive_file(**client, options, file, local_error, size);
    std::fclose(file);
    if (status.ok() && local_error.empty() && std::rename(part.c_str(), destination.c_str()) != 0) {
      local_error = std::string("cannot be renamed: ") + std::strerror(errno);
    }
    if (status.ok() && local_error.empty()) {
      return program.print(Answer{
          Json{{"contentLength", size}, {"destination", destination}, {"name", last_part(relative(options.path))}},
          Table{{"Name", "Destination", "Size"},
                {{last_part(relative(options.path)), destination, std::to_string(size)}}}});
    }
    std::remove(part.c_str());
    if (!local_error.empty()) return program.fail(Error{Code::internal, destination + ": " + local_error});
    if (!patience.again(status)) return program.fail((*client)->error_of(status));
  }
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
    command->add_flag("--no-progress", options->no_progress, "Accepted; none is shown");
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
