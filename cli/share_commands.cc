// Files and directories of shares: one by one, and whole directories to, from and on a share.
#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>

#include "cli/commands.h"
#include "cli/share_files.h"
#include "cli/show.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string account, share, path, source, destination, pattern;
  bool no_progress = false, dry_run = false;
};
using Shared = std::shared_ptr<Options>;

// The share, when there are an account and a connection; else nullopt, and the error is said.
std::optional<ShareFiles> open_share(Program& program, const Options& options) {
  const auto account = storage_account(options.account);
  if (!account) {
    program.usage(account.error());
    return std::nullopt;
  }
  auto client = program.client();
  if (!client) {
    program.fail(client.error());
    return std::nullopt;
  }
  return ShareFiles(**client, *account, options.share);
}

int done_or(Program& program, const Status& done) {
  return done ? static_cast<int>(kDone) : program.fail(done.error());
}

int list(Program& program, const Options& options, bool directories_only) {
  auto share = open_share(program, options);
  if (!share) return program.exit_code();
  auto entries = share->list(relative_path(options.path));
  if (!entries) return program.fail(entries.error());
  if (directories_only) std::erase_if(*entries, [](const v1::FileEntry& entry) { return !entry.is_directory(); });
  return program.print(show_all(*entries));
}

int entry_exists(Program& program, const Options& options, bool directory) {
  auto share = open_share(program, options);
  if (!share) return program.exit_code();
  const auto entry = share->find(relative_path(options.path));
  if (!entry) return program.fail(entry.error());
  return program.print(show_flag("exists", entry->has_value() && (*entry)->is_directory() == directory));
}

int create_directory(Program& program, const Options& options) {
  auto share = open_share(program, options);
  if (!share) return program.exit_code();
  const auto made = share->make_directory(relative_path(options.path));
  return made ? program.print(show_flag("created", *made)) : program.fail(made.error());
}

int delete_file(Program& program, const Options& options) {
  auto share = open_share(program, options);
  if (!share || !program.confirmed("", Program::Scripts::go_on)) return program.exit_code();
  return done_or(program, share->remove(relative_path(options.path)));
}

// Looks first: one RPC deletes files and empty directories alike.
int delete_directory(Program& program, const Options& options) {
  auto share = open_share(program, options);
  if (!share || !program.confirmed("", Program::Scripts::go_on)) return program.exit_code();
  const std::string path = relative_path(options.path);
  const auto entry = share->find(path);
  if (!entry) return program.fail(entry.error());
  if (path.empty() || !entry->has_value() || !(*entry)->is_directory()) {
    return program.fail(Error{Code::not_found, "there is no directory \"" + options.path + "\" in the share"});
  }
  return done_or(program, share->remove(path));
}

// ---- Copies ----

struct Item {
  std::string from, to;
  v1::FileEntry entry = {};  // of what is on the share
};

// The files of directory `source` that are wanted, with where each would be below `target`; also its
// directories, each before what is in it.
Result<std::vector<Item>> local_items(const Options& options, const std::string& target) {
  std::vector<Item> items;
  std::error_code problem;
  const fs::path root(options.source);
  constexpr auto kFollow = fs::directory_options::follow_directory_symlink;
  for (fs::recursive_directory_iterator at(root, kFollow, problem), end; !problem && at != end; at.increment(problem)) {
    const std::string below = at->path().lexically_relative(root).generic_string();
    if (at->is_directory(problem)) {
      items.push_back({at->path().string(), join_path(target, below)});
      items.back().entry.set_is_directory(true);
      continue;
    }
    // As in Azure's command line, * matches / too.
    if (!options.pattern.empty() && ::fnmatch(options.pattern.c_str(), below.c_str(), 0) != 0) continue;
    if (!at->is_regular_file(problem) || problem) {
      return Error{Code::invalid_argument, at->path().string() + ": is neither a file nor a directory; move it away"};
    }
    items.push_back({at->path().string(), join_path(target, below)});
  }
  if (problem) return Error{Code::invalid_argument, "--source: " + options.source + ": " + problem.message()};
  std::sort(items.begin(), items.end(), [](const Item& left, const Item& right) { return left.to < right.to; });
  return items;
}

// What is on the share, with where each would be below `to`.
Result<std::vector<Item>> remote_files(ShareFiles& share, const Options& options, const std::string& directory,
                                       const std::string& to) {
  const auto files = share.below(directory);
  if (!files) return files.error();
  std::vector<Item> items;
  for (const ShareFiles::File& file : *files) {
    const std::string below = directory.empty() ? file.path : file.path.substr(directory.size() + 1);
    if (!options.pattern.empty() && ::fnmatch(options.pattern.c_str(), below.c_str(), 0) != 0) continue;
    items.push_back({file.path, to.empty() ? file.path : (fs::path(to) / below).string(), file.entry});
  }
  return items;
}

Result<std::vector<Item>> local_files(const Options& options, const std::string& target) {
  auto items = local_items(options, target);
  if (items) std::erase_if(*items, [](const Item& item) { return item.entry.is_directory(); });
  return items;
}

// Uploads into directories of a share, which it makes once.
class Uploader {
 public:
  explicit Uploader(ShareFiles& share) : x_share(share) {}
  Status directory(const std::string& path) {
    if (path.empty() || x_made.contains(path)) return {};
    if (const auto made = x_share.make_directory(path); !made) return made.error();
    x_made.insert(path);
    return {};
  }
  Result<std::uint64_t> file(const Item& item, ProgressLine& progress) {
    if (const auto made = directory(fs::path(item.to).parent_path().string()); !made) return made.error();
    return x_share.upload(item.from, item.to, progress);
  }

 private:
  ShareFiles& x_share;
  std::set<std::string> x_made;
};

// Where one file goes: into --path when that is a directory of the share, else --path is the file itself.
Result<Item> upload_target(ShareFiles& share, const Options& options) {
  const std::string name = fs::path(options.source).filename().string(), path = relative_path(options.path);
  const auto there = share.find(path);
  if (!there) return there.error();
  const bool directory = there->has_value() && (*there)->is_directory();
  if (directory) return Item{options.source, join_path(path, name)};
  if (options.path.ends_with('/')) {
    return Error{Code::not_found, "--path: there is no directory \"" + options.path + "\" in the share"};
  }
  return Item{options.source, path};
}

void add_upload(Answer& answer, const std::string& path, std::uint64_t size) {
  answer.value.push_back({{"contentLength", size}, {"name", last_part(path)}, {"path", path}});
  answer.table.rows.push_back({last_part(path), path, std::to_string(size)});
}

int upload(Program& program, const Options& options) {
  std::error_code ignored;
  const bool directory = fs::is_directory(options.source, ignored);
  if (!directory && !fs::is_regular_file(options.source, ignored)) {
    return program.fail(
        Error{Code::invalid_argument, "--source: " + options.source + " is not a file or directory that can be read"});
  }
  auto share = open_share(program, options);
  if (!share) return program.exit_code();
  ProgressLine progress("uploading " + options.source, !options.no_progress);
  Answer answer{Json::array(), Table{{"Name", "Path", "Size"}, {}}};
  if (!directory) {
    const auto item = upload_target(*share, options);
    if (!item) return program.fail(item.error());
    const auto size = share->upload(item->from, item->to, progress);
    if (!size) return program.fail(size.error());
    add_upload(answer, item->to, *size);
    answer.value = Json(answer.value.at(0));
    return program.print(answer);
  }
  const std::string target = relative_path(options.path);
  const auto items = local_items(options, target);
  if (!items) return program.fail(items.error());
  Uploader one(*share);
  if (const auto made = one.directory(target); !made) return program.fail(made.error());
  for (const Item& item : *items) {
    if (item.entry.is_directory()) {
      if (const auto made = one.directory(item.to); !made) return program.fail(made.error());
      continue;
    }
    const auto size = one.file(item, progress);
    if (!size) return program.fail(size.error());
    add_upload(answer, item.to, *size);
  }
  return program.print(answer);
}

int download(Program& program, const Options& options) {
  auto share = open_share(program, options);
  if (!share) return program.exit_code();
  ProgressLine progress("looking for " + options.path, !options.no_progress);
  const auto copies = download(share->client(), share->source(), options.path, options.destination, progress);
  return copies ? program.print(show_copies(*copies)) : program.fail(copies.error());
}

// ---- Batches ----

// SHARE or SHARE/DIRECTORY: sets the share, returns the directory.
std::string split_share(const std::string& given, Options& options) {
  const std::string path = relative_path(given);
  const auto slash = path.find('/');
  options.share = path.substr(0, slash);
  return slash == std::string::npos ? "" : path.substr(slash + 1);
}

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

int upload_batch(Program& program, Options& options) {
  const std::string below = split_share(options.destination, options);
  const auto items = local_files(options, join_path(below, relative_path(options.path)));
  if (!items) return program.fail(items.error());
  auto share = open_share(program, options);
  if (!share) return program.exit_code();
  Uploader uploader(*share);
  return for_each(program, options, *items, "uploading", [&](const Item& item, ProgressLine& progress) -> Status {
    const auto size = uploader.file(item, progress);
    return size ? Status() : Status(size.error());
  });
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
  const FileSource source = share->source();
  return for_each(program, options, *items, "downloading", [&](const Item& item, ProgressLine& progress) -> Status {
    std::error_code problem;
    fs::create_directories(fs::path(item.to).parent_path(), problem);
    if (problem) return Error{Code::invalid_argument, item.to + ": " + problem.message()};
    return download_file(share->client(), source, item.from, item.entry, item.to, progress);
  });
}

int delete_batch(Program& program, Options& options) {
  const std::string directory = split_share(options.source, options);
  auto share = open_share(program, options);
  if (!share || (!options.dry_run && !program.confirmed("", Program::Scripts::go_on))) return program.exit_code();
  const auto items = remote_files(*share, options, directory, "");
  if (!items) return program.fail(items.error());
  return for_each(program, options, *items, "deleting",
                  [&](const Item& item, ProgressLine&) -> Status { return share->remove(item.from); });
}

// ---- The command line ----

void add_place(CLI::App& command, Program& program, const Shared& options) {
  command.add_option("-s,--share-name", options->share, "Share")->required();
  add_account_flag(command, options->account, program);
}

void add_directories(CLI::App& storage, Program& program, const Shared& options) {
  CLI::App& directories = program.group(storage, "directory", "Directories of a share");
  CLI::App& making =
      program.command(directories, "create", "Create a directory, with its parents",
                      "trainyard storage directory create -n cifar -s myshare --account-name mystorageaccount",
                      [=, &program] { return create_directory(program, *options); });
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
                      [=, &program] { return list(program, *options, true); });
  for (CLI::App* command : {&making, &asking, &deleting}) {
    command->add_option("-n,--name,-p,--path", options->path, "Path of the directory in the share")->required();
  }
  listing.add_option("-n,--name,-p,--path", options->path, "Directory in the share [its root]");
  for (CLI::App* command : {&making, &asking, &deleting, &listing}) add_place(*command, program, options);
}

void add_files(CLI::App& files, Program& program, const Shared& options) {
  CLI::App& looking =
      program.command(files, "exists", "Whether there is a file",
                      "trainyard storage file exists -p cifar/train.py -s myshare --account-name mystorageaccount",
                      [=, &program] { return entry_exists(program, *options, false); });
  CLI::App& listing = program.command(files, "list", "List a directory of a share",
                                      "trainyard storage file list -s myshare -p cifar --account-name mystorageaccount",
                                      [=, &program] { return list(program, *options, false); });
  listing.add_option("-p,--path", options->path, "Directory in the share [its root]");
  CLI::App& deleting =
      program.command(files, "delete", "Delete a file of a share",
                      "trainyard storage file delete -p cifar/old.py -s myshare --account-name mystorageaccount -y",
                      [=, &program] { return delete_file(program, *options); });
  program.add_confirmation(deleting);
  for (CLI::App* command : {&looking, &deleting}) {
    command->add_option("-p,--path", options->path, "Path of the file in the share")->required();
  }
  for (CLI::App* command : {&looking, &listing, &deleting}) add_place(*command, program, options);
}

void add_copies(CLI::App& files, Program& program, const Shared& options) {
  CLI::App& uploading = program.command(
      files, "upload", "Copy a file, or a directory's content, to a share; each file appears when it is whole",
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
  for (CLI::App* command : {&uploading, &downloading}) {
    add_place(*command, program, options);
    command->add_flag("--no-progress", options->no_progress, "Show no progress, on a terminal either");
    program.refuse_flags(*command, {"--metadata", "--content-type", "--max-connections", "--validate-content"});
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
  CLI::App& downloading = program.command(
      files, "download-batch",
      "Copy a share's files, or those of one of its directories; goes on where it stopped, skips what is here",
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
    add_account_flag(*command, options->account, program);
  }
}

}  // namespace

void add_share_commands(CLI::App& storage, Program& program) {
  auto options = std::make_shared<Options>();
  add_directories(storage, program, options);
  CLI::App& files = program.group(storage, "file", "Files of a share");
  add_files(files, program, options);
  add_copies(files, program, options);
  add_batches(files, program, options);
}

}  // namespace trainyard::cli
