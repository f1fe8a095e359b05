#include "cli/storage_files.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>

#include "trainyard/v1/volumes.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Volumes::Stub;

constexpr std::size_t kChunkBytes = 256 * 1024;

// One try of an upload; the file appears whole or not at all, so another try is harmless.
grpc::Status send_file(Client& client, const v1::SharePath& target, const std::string& source, Progress& progress,
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
  *part.mutable_target() = target;
  bool open = writer->Write(part);
  std::string chunk(kChunkBytes, '\0');
  unsigned long long sent = 0;
  while (open) {
    file.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    if (file.gcount() == 0) break;
    part.set_data(chunk.data(), static_cast<std::size_t>(file.gcount()));
    open = writer->Write(part);
    sent += static_cast<unsigned long long>(file.gcount());
    progress.say(fmt::format("{}: {} sent", source, spoken_size(sent)));
  }
  if (file.bad()) {
    local_error = source + ": cannot be read to its end";
    context.TryCancel();
  } else {
    writer->WritesDone();
  }
  return writer->Finish();
}

// One try of a download into `file`, from the start.
grpc::Status receive_file(Client& client, const v1::SharePath& path, std::FILE* file, Progress& progress,
                          std::string& local_error, std::uint64_t& size) {
  size = 0;
  v1::DownloadFileRequest request;
  *request.mutable_file() = path;
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
    progress.say(fmt::format("{}: {} received", path.path(), spoken_size(size)));
  }
  if (!local_error.empty()) context.TryCancel();
  grpc::Status status = reader->Finish();
  if (status.ok() && local_error.empty() && std::fflush(file) != 0) {
    local_error = std::string("cannot write: ") + std::strerror(errno);
  }
  return status;
}

Status add_files_below(Client& client, const ShareName& share, const std::string& path, int depth,
                       std::vector<std::string>& out) {
  constexpr int kDeepest = 100;
  if (depth > kDeepest) return Error{Code::failed_precondition, path + ": directories nested too deeply"};
  const auto entries = list_directory(client, share, path);
  if (!entries) return entries.error();
  for (const v1::FileEntry& entry : *entries) {
    // Becomes a path of this machine: it must be a name.
    if (entry.name().find('/') != std::string::npos || entry.name() == "..") continue;
    const std::string below = joined_path(path, entry.name());
    if (!entry.is_directory()) {
      out.push_back(below);
    } else if (const auto done = add_files_below(client, share, below, depth + 1, out); !done) {
      return done.error();
    }
  }
  return {};
}

}  // namespace

std::string relative_path(const std::string& path) {
  std::string out;
  std::size_t from = 0;
  while (from <= path.size()) {
    const std::size_t slash = std::min(path.find('/', from), path.size());
    const std::string part = path.substr(from, slash - from);
    if (!part.empty() && part != ".") out = joined_path(out, part);
    from = slash + 1;
  }
  return out;
}

std::string last_part(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

std::string joined_path(const std::string& directory, const std::string& name) {
  return directory.empty() || name.empty() ? directory + name : directory + "/" + name;
}

v1::SharePath share_path(const ShareName& share, const std::string& path) {
  v1::SharePath out;
  out.set_account(share.account);
  out.set_share(share.share);
  out.set_path(path);
  return out;
}

Result<std::vector<v1::FileEntry>> list_directory(Client& client, const ShareName& share, const std::string& path) {
  v1::ListFilesRequest request;
  *request.mutable_directory() = share_path(share, path);
  auto listing = client.call(&Stub::ListFiles, request);
  if (!listing) return listing.error();
  return std::vector<v1::FileEntry>(listing->files().begin(), listing->files().end());
}

Result<std::optional<v1::FileEntry>> find_entry(Client& client, const ShareName& share, const std::string& path) {
  if (path.empty()) {
    v1::FileEntry root;
    root.set_is_directory(true);
    return std::optional(root);
  }
  const std::string name = last_part(path);
  const std::string directory = path.size() == name.size() ? "" : path.substr(0, path.size() - name.size() - 1);
  const auto entries = list_directory(client, share, directory);
  if (!entries && !directory.empty()) {
    // A parent that is missing, or a file: then nothing can be below it. Without the share itself it is an error.
    const auto parent = find_entry(client, share, directory);
    if (!parent) return parent.error();
    const bool is_directory = parent->has_value() && (*parent)->is_directory();
    if (!is_directory) return std::optional<v1::FileEntry>();
  }
  if (!entries) return entries.error();
  const auto found =
      std::find_if(entries->begin(), entries->end(), [&](const auto& each) { return each.name() == name; });
  return found == entries->end() ? std::nullopt : std::optional(*found);
}

Result<std::vector<std::string>> files_below(Client& client, const ShareName& share, const std::string& path) {
  std::vector<std::string> out;
  if (const auto done = add_files_below(client, share, path, 0, out); !done) return done.error();
  return out;
}

Result<std::uint64_t> upload_file(Client& client, const ShareName& share, const std::string& source,
                                  const std::string& path, Progress& progress) {
  Patience patience(client);
  for (;;) {
    std::string local_error;
    v1::UploadFileResponse response;
    const grpc::Status status = send_file(client, share_path(share, path), source, progress, local_error, response);
    if (!local_error.empty()) return Error{Code::invalid_argument, local_error};
    if (status.ok()) return response.size();
    if (!patience.again(status)) return client.error_of(status);
  }
}

// Into a file beside, renamed when whole: a half download never has the name.
Result<std::uint64_t> download_file(Client& client, const ShareName& share, const std::string& path,
                                    const std::string& destination, Progress& progress) {
  const std::string part = fmt::format("{}.part-{}", destination, getpid());
  Patience patience(client);
  for (;;) {
    const PartialFile partial(part);
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(part.c_str(), "wb"), std::fclose);
    if (!file) {
      return Error{Code::invalid_argument, destination + ": cannot be written: " + std::strerror(errno)};
    }
    std::string local_error;
    std::uint64_t size = 0;
    const grpc::Status status = receive_file(client, share_path(share, path), file.get(), progress, local_error, size);
    if (status.ok() && local_error.empty() && std::rename(part.c_str(), destination.c_str()) != 0) {
      local_error = std::string("cannot be renamed: ") + std::strerror(errno);
    }
    if (status.ok() && local_error.empty()) return size;
    std::remove(part.c_str());
    if (!local_error.empty()) return Error{Code::internal, destination + ": " + local_error};
    if (!patience.again(status)) return client.error_of(status);
  }
}

}  // namespace trainyard::cli
