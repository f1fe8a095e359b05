// What the storage commands share.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "cli/program.h"
#include "cli/storage_files.h"

namespace trainyard::cli {

struct StorageOptions {
  std::string group, name, location, sku;
  std::string account, share, path, source, destination, pattern;
  bool no_progress = false, dry_run = false;
  ShareName at() const { return {account, share}; }
};

// Fills `account` from the environment when no flag named one.
Status find_account(StorageOptions& options);
void add_account_flag(CLI::App& command, const std::shared_ptr<StorageOptions>& options, Program& program);
void add_share_flag(CLI::App& command, const std::shared_ptr<StorageOptions>& options);

// storage file upload-batch | download-batch | delete-batch
void add_file_batch_commands(CLI::App& files, Program& program, const std::shared_ptr<StorageOptions>& options);

}  // namespace trainyard::cli
