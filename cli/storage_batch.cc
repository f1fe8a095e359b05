// Whole directories, to, from and on a share, file by file. One that fails does not stop the others.
#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "cli/commands.h"
#include "cli/show.h"
#include "cli/storage_options.h"
#include "trainyard/v1/volumes.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Options = StorageOptions;
using Stub = v1::Volumes::Stub;
namespace fs = std::filesystem;

// Of the path below the given directory; * matches / too, as in Azure's command line.
bool is_wanted(const Options& options, const std::string& path) {
  return options.pattern.empty() || ::fnmatch(options.pattern.c_str(), path.c_str(), 0) == 0;
}

// SHARE or SHARE/DIRECTORY
std::string split_share(const std::string& given, Options& options) {
  const std::string path = relative_path(given);
  const auto slash = path.find('/');
  options.share = path.substr(0, slash);
  return slash == std::string::npos ? "" : path.substr(slash + 1);
}

struct Item {
  std::string from, to;
};

// Does `one` for each, or only says what it would do; prints the ones that went well.
int for_each(Program& program, const Options& options, const std::vector<Item>& items, const std::string& verb,
             const std::function<Status(const Item&, Progress&)>& one) {
  Progress progress(verb, !options.no_progress);
  Answer answer{Json::array(), Table{{"Path"}, {}}};
  int failed = 0;
  for (const Item& item : items) {
    progress.say(fmt::format("{} {} of {}: {}", verb, answer.value.size() + 1, items.size(), item.from));
    if (const Status done = options.dry_run ? Status() : one(item, progress); !done) {
      ++failed;
      progress.remark("trainyard: " + item.from + ": " + done.error().message);
      if (done.error().code == Code::unavailable) break;
      continue;
    }
    answer.value.push_back(item.to);
    answer.table.rows.push_back({item.to});
  }
  if (failed > 0) {
    return program.fail(Error{
        Code::failed_precondition,
        fmt::format("{} of {} files were not done; see above", items.size() - answer.value.size(), items.size())});
  }
  return program.print(answer);
}

Result<std::vector<Item>> local_files(const Options& options, const std::string& target) {
  std::vector<Item> items;
  std::error_code problem;
  const fs::path root(options.source);
  for (fs::recursive_directory_iterator at(root, problem), end; !problem && at != end; at.increment(problem)) {
    if (!at->is_regular_file(problem) || problem) continue;
    const std::string below = at->path().lexically_relative(root).generic_string();
    if (is_wanted(options, below)) items.push_back({at->path().string(), joined_path(target, below)});
  }
  if (problem) return Error{Code::invalid_argument, "--source: " + options.source + ": " + problem.message()};
  std::sort(items.begin(), items.end(), [](const Item& left, const Item& right) { return left.to < right.to; });
  return items;
}

Status make_directory(Client& client, const ShareName& share, const std::string& path) {
  v1::CreateDirectoryRequest request;
  request.set_request_id(new_request_id());
  *request.mutable_directory() = share_path(share, path);
  const auto made = client.call(&Stub::CreateDirectory, request);
  return made ? Status() : Status(made.error());
}

int upload_batch(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) return program.fail(found.error());
  const std::string below = split_share(options.destination, options);
  const auto items = local_files(options, joined_path(below, relative_path(options.path)));
  if (!items) return program.fail(items.error());
  auto client = program.client();
  if (!client) return program.fail(client.error());
  std::set<std::string> made;
  return for_each(program, options, *items, "uploading", [&](const Item& item, Progress& progress) -> Status {
    const std::string directory = fs::path(item.to).parent_path().string();
    if (!directory.empty() && made.insert(directory).second) {
      if (const auto done = make_directory(**client, options.at(), directory); !done) return done;
    }
    const auto size = upload_file(**client, options.at(), item.from, item.to, progress);
    return size ? Status() : Status(size.error());
  });
}

// What is on the share, with where each would be below `to`.
Result<std::vector<Item>> remote_files(Client& client, const Options& options, const std::string& directory,
                                       const std::string& to) {
  const auto paths = files_below(client, options.at(), directory);
  if (!paths) return paths.error();
  std::vector<Item> items;
  for (const std::string& path : *paths) {
    const std::string below = directory.empty() ? path : path.substr(directory.size() + 1);
    if (is_wanted(options, below)) items.push_back({path, to.empty() ? path : (fs::path(to) / below).string()});
  }
  return items;
}

int download_batch(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) return program.fail(found.error());
  const std::string directory = split_share(options.source, options);
  if (std::error_code ignored; !fs::is_directory(options.destination, ignored)) {
    return program.fail(Error{Code::invalid_argument, "--destination: " + options.destination + " is no directory"});
  }
  auto client = program.client();
  if (!client) return program.fail(client.error());
  const auto items = remote_files(**client, options, directory, options.destination);
  if (!items) return program.fail(items.error());
  return for_each(program, options, *items, "downloading", [&](const Item& item, Progress& progress) -> Status {
    std::error_code problem;
    fs::create_directories(fs::path(item.to).parent_path(), problem);
    if (problem) return Error{Code::invalid_argument, item.to + ": " + problem.message()};
    const auto size = download_file(**client, options.at(), item.from, item.to, progress);
    return size ? Status() : Status(size.error());
  });
}

int delete_batch(Program& program, Options& options) {
  if (const auto found = find_account(options); !found) return program.fail(found.error());
  const std::string directory = split_share(options.source, options);
  if (!options.dry_run && !program.confirmed()) return program.exit_code();
  auto client = program.client();
  if (!client) return program.fail(client.error());
  const auto items = remote_files(**client, options, directory, "");
  if (!items) return program.fail(items.error());
  return for_each(program, options, *items, "deleting", [&](const Item& item, Progress&) -> Status {
    v1::DeleteFileRequest request;
    request.set_request_id(new_request_id());
    *request.mutable_file() = share_path(options.at(), item.from);
    const auto done = (*client)->call(&Stub::DeleteFile, request);
    return done ? Status() : Status(done.error());
  });
}

}  // namespace

void add_file_batch_commands(CLI::App& files, Program& program, const std::shared_ptr<StorageOptions>& options) {
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

}  // namespace trainyard::cli
