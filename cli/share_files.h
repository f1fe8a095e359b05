// Files of a share: what the storage commands are made of. Blocking; retries as Patience has it. cli/transfer.h copies
// them to here.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/client.h"
#include "cli/progress.h"
#include "cli/transfer.h"
#include "trainyard/v1/volumes.pb.h"

namespace trainyard::cli {

// "": not given. A flag, or the environment, as Azure's command line has it; INVALID_ARGUMENT when neither says.
Result<std::string> storage_account(const std::string& given);

class ShareFiles {
 public:
  ShareFiles(Client& client, std::string account, std::string share)
      : x_client(client), x_account(std::move(account)), x_share(std::move(share)) {}

  struct File {
    std::string path;
    v1::FileEntry entry;
  };

  Result<std::vector<v1::FileEntry>> list(const std::string& path);
  // By the listing of its directory; nullopt: there is no such thing. The share's root is a directory.
  Result<std::optional<v1::FileEntry>> find(const std::string& path);
  // The files below a directory, in order.
  Result<std::vector<File>> below(const std::string& path);

  Result<bool> make_directory(const std::string& path);  // with its parents; false: it was there
  Status remove(const std::string& path);                // a file, or an empty directory
  // The file appears under its name only when whole; until then what had the name stays. A try that broke is repeated
  // from the file's beginning, for as long as tries get further than those before. Answers with its size.
  Result<std::uint64_t> upload(const std::string& source, const std::string& path, ProgressLine& progress);

  FileSource source();  // for downloads; not longer than this
  Client& client() const { return x_client; }

 private:
  class Upload;
  v1::SharePath at(const std::string& path) const;
  Status add_below(const std::string& path, int depth, std::vector<File>& out);

  Client& x_client;
  std::string x_account, x_share;
};

}  // namespace trainyard::cli
