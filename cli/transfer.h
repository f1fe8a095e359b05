// Copies files and whole directories from the controller to here. A copy that was cut off goes on where it stopped:
// what came so far lies beside the destination in a hidden file, ".NAME.SIZE-TIME.part", that names the version it is
// of. A destination of the same size and time is not copied again. Blocking.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/client.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard::cli {

// A tree of files: a job's output directory, or a share.
struct FileSource {
  using Reader = std::unique_ptr<grpc::ClientReader<v1::FileChunk>>;
  std::function<Result<std::vector<v1::FileEntry>>(const std::string& path)> list;
  std::function<Reader(grpc::ClientContext& context, const std::string& path, std::uint64_t offset)> read;
};

struct Copy {
  std::string name, destination;
  std::uint64_t size = 0;
};
struct Copies {
  std::vector<Copy> files;
  bool of_directory = false;
};

// Users write "cifar/", "./cifar" or "/cifar"; the API takes "cifar".
std::string relative_path(const std::string& path);
std::string last_part(const std::string& path);
std::string join_path(const std::string& directory, const std::string& name);  // either may be empty

// A file to `to` (into it when that is a directory; empty: its name, here), a directory's content into `to` (empty:
// here).
Result<Copies> download(Client& client, const FileSource& source, const std::string& path, const std::string& to,
                        ProgressLine& progress);
// The file `entry`, which is at `path` in the source, to exactly `to`.
Status download_file(Client& client, const FileSource& source, const std::string& path, const v1::FileEntry& entry,
                     const std::string& to, ProgressLine& progress);

// To standard output, all of it.
Status write_out(const std::string& data);

// As `storage file download` answers: an object for one file, an array for a directory.
Answer show_copies(const Copies& copies);

}  // namespace trainyard::cli
