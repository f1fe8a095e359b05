// Files of a share, both ways: what the storage commands are made of. Blocking; retries as Patience has it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/client.h"
#include "cli/progress.h"
#include "trainyard/v1/volumes.pb.h"

namespace trainyard::cli {

struct ShareName {
  std::string account, share;
};

// Users write "cifar/", "./cifar" or "/cifar"; the API takes "cifar".
std::string relative_path(const std::string& path);
std::string last_part(const std::string& path);
std::string joined_path(const std::string& directory, const std::string& name);
v1::SharePath share_path(const ShareName& share, const std::string& path);

Result<std::vector<v1::FileEntry>> list_directory(Client& client, const ShareName& share, const std::string& path);
// By the listing of its directory; nullopt: there is no such thing. The share's root is a directory.
Result<std::optional<v1::FileEntry>> find_entry(Client& client, const ShareName& share, const std::string& path);
// The files below a directory, by their paths in the share, in order.
Result<std::vector<std::string>> files_below(Client& client, const ShareName& share, const std::string& path);

// The size. The file appears under its name only when whole.
Result<std::uint64_t> upload_file(Client& client, const ShareName& share, const std::string& source,
                                  const std::string& path, Progress& progress);
Result<std::uint64_t> download_file(Client& client, const ShareName& share, const std::string& path,
                                    const std::string& destination, Progress& progress);

}  // namespace trainyard::cli
