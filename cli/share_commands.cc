// What is on a share, and whole directories, to, from and on it. storage_commands.cc has the commands for one file.
#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "cli/commands.h"
#include "cli/share_files.h"
#include "cli/show.h"
#include "trainyard/v1/volumes.grpc.pb.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string account, share, path, source, destination, pattern;
  bool no_progress = false, dry_run = false;
};
using Shared = std::shared_ptr<Options>;

// As Azure's command line has it: a flag, or the environment.
std::string account_of(const Options& options) {
  std::string account = options.account;
  for (const char* variable : {"TRAINYARD_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT"}) {
    const char* value = std::getenv(variable);
    if (account.empty() && value != nullptr) account = value;
  }
  return account;
}

// The share, when there are an account and a connection; else nullopt, and the error is said.
std::optional<ShareFiles> open_share(Program& program, const Options& options) {
  const std::string account = account_of(options);
  if (account.empty()) {
    program.usage(
        Error{Code::invalid_argument, "no storage account: give --account-name, or set TRAINYARD_STORAGE_ACCOUNT"});
    return std::nullopt;
  }
  auto client = program.client();
  if (!client) {
    program.fail(client.error());
    return std::nullopt;
  }
  return ShareFiles(**client, account, options.share);
}

// As Azure's command line answers "exists": yes or no, and either is a success.
Answer exists(bool there) {
  return Answer{Json{{"exists", there}}, Table{{"Exists"}, {{there ? "True" : "False"}}}};
}

int share_exists(Program& program, const Options& options) {
  if (!open_share(program, options)) return program.exit_code();
  v1::ListSharesRequest request;
  request.set_account(account_of(options));
  const auto shares = program.ask(&v1::Volumes::Stub::ListShares, request);
  if (!shares) return program.exit_code();
  const auto& all = shares->shares();
  return program.print(exists(std::any_of(all.begin(), all.end(), [&](const auto& share) {
    return CLI::detail::to_lower(share.name()) == CLI::detail::to_lower(options.share);
  })));
}

int entry_exists(Program& program, const Options& options, bool directory) {
  auto share = open_share(program, options);
  if (!share) return program.exit_code();
  const auto entry = share->find(ShareFiles::relative(options.path));
  if (!entry) return program.fail(entry.error());
  return program.print(exists(entry->has_value() && (*entry)->is_directory() == directory));
}

int list_directories(Program& program, const Options& options) {
  auto share = open_share(program, options);
  if (!share) return program.exit_code();
  auto entries = share->list(ShareFiles::relative(options.path));
  if (!entries) return program.fail(entries.error());
  std::erase_if(*entries, [](const v1::FileEntry& entry) { return !entry.is_directory(); });
  return program.print(show_all(*entries));
}

// Looks first: one RPC deletes files and empty directories alike.
int delete_directory(Program& program, const Options& options) {
  auto share = open_share(program, options);
  if (!share || !program.confirmed()) return program.exit_code();
  const std::string path = ShareFiles::relative(options.path);
  const auto entry = share->find(path);
  if (!entry) return program.fail(entry.error());
  if (path.empty() || !entry->has_value() || !(*entry)->is_directory()) {
    return program.fail(Error{Code::not_found, "there is no directory \"" + options.path + "\" in the share"});
  }
  const auto done = share->remove(path);
  return done ? static_cast<int>(kDone) : program.fail(done.error());
}

// Of the path below the given directory; * matches / too, as in Azure's command line.
bool is_wanted(const Options& options, const std::string& path) {
  return options.pattern.empty() || ::fnmatch(options.pattern.c_str(), path.c_str(), 0) == 0;
}

// SHARE or SHARE/DIRECTORY: sets the share, returns the directory.
std::string split_share(const std::string& given, Options& options) {
  const std::string path = ShareFiles::relative(given);
  const auto slash = path.find('/');
  options.share = path.substr(0, slash);
  return slash == std::string::npos ? "" : path.substr(slash + 1);
}

struct Item {
  std::string from, to;
};

// Does `one` for each, or only says what it would do. Those that went well, in `answer`; the number of the others.
std::size_t do_each(const Options& options, const std::vector<Item>& items, const std::string& verb, Answer& answer,
                    const std::function<Status(const Item&, ProgressLine&)>& one) {
  ProgressLine progress(verb, !options.no_progress);
  for (const Item& item : items) {
    progress.say(fmt::format("{} {} of {}: {}", verb, answer.value.size() + 1, items.size(), item.from));
    if (const Status done = options.dry_run ? Status() : one(item, progress); !done) {
      progress.remark("trainyard: " + item.from + ": " + done.error().message);
      if (done.error().code == Code::unavailable) break;
      continue;
    }
    answer.value.push_back(item.to);
    answer.table.rows.push_back({item.to});
  }
  return items.size() - answer.value.size();
}

int for_each(Program& program, const Options& options, const std::vector<Item>& items, const std::string& verb,
             const std::function<Status(const Item&, ProgressLine&)>& one) {
  Answer answer{Json::array(), Table{{"Path"}, {}}};
  const std::size_t failed = do_each(options, items, verb, answer, one);
  if (failed == 0) return program.print(answer);
  return program.fail(
      Error{Code::failed_precondition, fmt::format("{} of {} files were not done; see above", failed, items.size())});
}

Result<std::vector<Item>> local_files(const Options& options, const std::string& target) {
  std::vector<Item> items;
  std::error_code problem;
  const fs::path root(options.source);
  for (fs::recursive_directory_iterator at(root, problem), end; !problem && at != end; at.increment(problem)) {
    if (!at->is_regular_file(problem) || problem) continue;
    const std::string below = at->path().lexically_relative(root).generic_string();
    if (is_wanted(options, below)) items.push_back({at->path().string(), ShareFiles::join(target, below)});
  }
  if (problem) return Error{Code::invalid_argument, "--source: " + options.source + ": " + problem.message()};
  std::sort(items.begin(), items.end(), [](const Item& left, const Item& right) { return left.to < right.to; });
  return items;
}

int upload_batch(Program& program, Options& options) {
  const std::string below = split_share(options.destination, options);
  const auto items = local_files(options, ShareFiles::join(below, ShareFiles::relative(options.path)));
  if (!items) return program.fail(items.error());
  auto share = open_share(program, options);
  if (!share) return program.exit_code();
  std::set<std::string> made;
  return for_each(program, options, *items, "uploading", [&](const Item& item, ProgressLine& progress) -> Status {
    const std::string directory = fs::path(item.to).parent_path().string();
    if (!directory.empty() && made.insert(directory).second) {
      if (const auto done = share->make_directory(directory); !done) return done;
    }
    return share->upload(item.from, item.to, progress);
  });
}

// What is on the share, with where each would be below `to`.
Result<std::vector<Item>> remote_files(ShareFiles& share, const Options& options, const std::string& directory,
                                       const std::string& to) {
  const auto paths = share.below(directory);
  if (!paths) return paths.error();
  std::vector<Item> items;
  for (const std::string& path : *paths) {
    const std::string below = directory.empty() ? path : path.substr(directory.size() + 1);
    if (is_wanted(options, below)) items.push_back({path, to.empty() ? path : (fs::path(to) / below).string()});
  }
  return items;
}

int download_batch(Program& program, Options& options) {
  const std::string directory = split_share(options.source, options);
  if (std::error_code ignored; !fs::is_directory(options.destination, ignored)) {
    return program.fail(Error{Code::invalid_argument, "--destination: " + options.destination + " is no directory"});
  }
  auto share = open_share(program, options);
  if (!share) return program.exit_code();
  const auto items = remote_files(*share, options, directory, options.destination);
  if (!items) return program.fail(items.error());
  return for_each(program, options, *items, "downloading", [&](const Item& item, ProgressLine& progress) -> Status {
    std::error_code problem;
    fs::create_directories(fs::path(item.to).parent_path(), problem);
    if (problem) return Error{Code::invalid_argument, item.to + ": " + problem.message()};
    return share->download(item.from, item.to, progress);
  });
}

int delete_batch(Program& program, Options& options) {
  const std::string directory = split_share(options.source, options);
  auto share = open_share(program, options);
  if (!share || (!options.dry_run && !program.confirmed())) return program.exit_code();
  const auto items = remote_files(*share, options, directory, "");
  if (!items) return program.fail(items.error());
  return for_each(program, options, *items, "deleting",
                  [&](const Item& item, ProgressLine&) -> Status { return share->remove(item.from); });
}

void add_account_flag(CLI::App& command, const Shared& options, Program& program) {
  command.add_option("--account-name", options->account, "Storage account [$TRAINYARD_STORAGE_ACCOUNT]");
  program.refuse_flags(command, {"--account-key", "--connection-string", "--sas-token"});
}

void add_share_flag(CLI::App& command, const Shared& options) {
  command.add_option("-s,--share-name", options->share, "Share")->required();
}

void add_share_queries(CLI::App& shares, CLI::App& files, Program& program, const Shared& options) {
  CLI::App& asking = program.command(shares, "exists", "Whether there is a share",
                                     "trainyard storage share exists --name myshare --account-name mystorageaccount",
                                     [=, &program] { return share_exists(program, *options); });
  asking.add_option("-n,--name", options->share, "Name of the share")->required();
  add_account_flag(asking, options, program);
  for (const char* later : {"delete", "show", "update"}) program.refuse_command(shares, later);
  CLI::App& looking =
      program.command(files, "exists", "Whether there is a file",
                      "trainyard storage file exists -p cifar/train.py -s myshare --account-name mystorageaccount",
                      [=, &program] { return entry_exists(program, *options, false); });
  looking.add_option("-p,--path", options->path, "Path of the file in the share")->required();
  add_share_flag(looking, options);
  add_account_flag(looking, options, program);
}

void add_directories(CLI::App& directories, Program& program, const Shared& options) {
  CLI::App& asking =
      program.command(directories, "exists", "Whether there is a directory",
                      "trainyard storage directory exists -n cifar -s myshare --account-name mystorageaccount",
                      [=, &program] { return entry_exists(program, *options, true); });
  CLI::App& deleting =
      program.command(directories, "delete", "Delete an empty directory",
                      "trainyard storage directory delete -n cifar/old -s myshare --account-name mystorageaccount -y",
                      [=, &program] { return delete_directory(program, *options); });
  program.add_confirmation(deleting);
  CLI::App& listing =
      program.command(directories, "list", "List the directories in a directory",
                      "trainyard storage directory list -s myshare --account-name mystorageaccount -o table",
                      [=, &program] { return list_directories(program, *options); });
  for (CLI::App* command : {&asking, &deleting}) {
    command->add_option("-n,--name,-p,--path", options->path, "Path of the directory in the share")->required();
  }
  listing.add_option("-n,--name,-p,--path", options->path, "Directory in the share [its root]");
  for (CLI::App* command : {&asking, &deleting, &listing}) {
    add_share_flag(*command, options);
    add_account_flag(*command, options, program);
  }
}

void add_batches(CLI::App& files, Program& program, const Shared& options) {
  CLI::App& uploading =
      program.command(files, "upload-batch", "Copy a directory's files to a share, with those of its directories",
                      "trainyard storage file upload-batch -s data -d myshare/cifar --account-name mystorageaccount",
                      [=, &program] { return upload_batch(program, *options); });
  uploading.add_option("-s,--source", options->source, "The directory here")->required();
  uploading.add_option("-d,--destination", options->destination, "SHARE, or SHARE/DIRECTORY")->required();
  uploading.add_option("--destination-path", options->path, "Directory of the share that they go into [its root]");
  CLI::App& downloading =
      program.command(files, "download-batch", "Copy a share's files, or those of one of its directories",
                      "trainyard storage file download-batch -s myshare/cifar -d . --account-name mystorageaccount",
                      [=, &program] { return download_batch(program, *options); });
  downloading.add_option("-s,--source", options->source, "SHARE, or SHARE/DIRECTORY")->required();
  downloading.add_option("-d,--destination", options->destination, "A directory here")->required();
  CLI::App& deleting = program.command(
      files, "delete-batch", "Delete a share's files, or those of one of its directories; the directories stay",
      "trainyard storage file delete-batch -s myshare/cifar --pattern '*.log' --account-name mystorageaccount -y",
      [=, &program] { return delete_batch(program, *options); });
  deleting.add_option("-s,--source", options->source, "SHARE, or SHARE/DIRECTORY")->required();
  program.add_confirmation(deleting);
  for (CLI::App* command : {&uploading, &downloading, &deleting}) {
    command->add_option("--pattern", options->pattern, "Only paths that match, e.g. '*.py'; * matches / too");
    command->add_flag("--dryrun", options->dry_run, "Only show what would be done");
    command->add_flag("--no-progress", options->no_progress, "Show no progress, on a terminal either");
    add_account_flag(*command, options, program);
  }
}

}  // namespace

void add_share_commands(CLI::App& app, Program& program) {
  CLI::App& storage = *app.get_subcommand("storage");
  auto options = std::make_shared<Options>();
  CLI::App& files = *storage.get_subcommand("file");
  add_share_queries(*storage.get_subcommand("share"), files, program, options);
  add_directories(*storage.get_subcommand("directory"), program, options);
  add_batches(files, program, options);
}

}  // namespace trainyard::cli
