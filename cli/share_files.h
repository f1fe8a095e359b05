// Files of a share, both ways: what the commands for whole directories are made of. Blocking; retries as Patience has
// it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/client.h"
#include "cli/progress.h"
#include "trainyard/v1/volumes.pb.h"

namespace trainyard::cli {

class ShareFiles {
 public:
  ShareFiles(Client& client, std::string account, std::string share)
      : x_client(client), x_account(std::move(account)), x_share(std::move(share)) {}

  // Users write "cifar/", "./cifar" or "/cifar"; the API takes "cifar".
  static std::string relative(const std::string& path);
  static std::string join(const std::string& directory, const std::string& name);

  Result<std::vector<v1::FileEntry>> list(const std::string& path);
  // By the listing of its directory; nullopt: there is no such thing. The share's root is a directory.
  Result<std::optional<v1::FileEntry>> find(const std::string& path);
  // The files below a directory, by their paths in the share, in order.
  Result<std::vector<std::string>> below(const std::string& path);

  Status make_directory(const std::string& path);
  Status remove(const std::string& path);  // a file, or an empty directory
  // The file appears under its name only when whole.
  Status upload(const std::string& source, const std::string& path, ProgressLine& progress);
  Status download(const std::string& path, const std::string& destination, ProgressLine& progress);

 private:
  v1::SharePath at(const std::string& path) const;
  Status add_below(const std::string& path, int depth, std::vector<std::string>& out);
  grpc::Status send(const std::string& path, const std::string& source, ProgressLine& progress,
                    std::string& local_error);
  grpc::Status receive(const std::string& path, std::FILE* file, ProgressLine& progress, std::string& local_error);

  Client& x_client;
  std::string x_account, x_share;
};

}  // namespace trainyard::cli
