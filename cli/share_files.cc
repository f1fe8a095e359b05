#include "cli/share_files.h"

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

}  // namespace

std::string ShareFiles::relative(const std::string& path) {
  std::string out;
  std::size_t from = 0;
  while (from <= path.size()) {
    const std::size_t slash = std::min(path.find('/', from), path.size());
    const std::string part = path.substr(from, slash - from);
    if (!part.empty() && part != ".") out = join(out, part);
    from = slash + 1;
  }
  return out;
}

std::string ShareFiles::join(const std::string& directory, const std::string& name) {
  return directory.empty() || name.empty() ? directory + name : directory + "/" + name;
}

v1::SharePath ShareFiles::at(const std::string& path) const {
  v1::SharePath out;
  out.set_account(x_account);
  out.set_share(x_share);
  out.set_path(path);
  return out;
}

Result<std::vector<v1::FileEntry>> ShareFiles::list(const std::string& path) {
  v1::ListFilesRequest request;
  *request.mutable_directory() = at(path);
  auto listing = x_client.call(&Stub::ListFiles, request);
  if (!listing) return listing.error();
  return std::vector<v1::FileEntry>(listing->files().begin(), listing->files().end());
}

Result<std::optional<v1::FileEntry>> ShareFiles::find(const std::string& path) {
  if (path.empty()) {
    v1::FileEntry root;
    root.set_is_directory(true);
    return std::optional(root);
  }
  const auto slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "" : path.substr(0, slash);
  const auto entries = list(directory);
  if (!entries && !directory.empty()) {
    // A parent that is missing, or a file: then nothing can be below it. Without the share itself it is an error.
    const auto parent = find(directory);
    if (!parent) return parent.error();
    const bool is_directory = parent->has_value() && (*parent)->is_directory();
    if (!is_directory) return std::optional<v1::FileEntry>();
  }
  if (!entries) return entries.error();
  for (const v1::FileEntry& entry : *entries) {
    if (ShareFiles::join(directory, entry.name()) == path) return std::optional(entry);
  }
  return std::optional<v1::FileEntry>();
}

Result<std::vector<std::string>> ShareFiles::below(const std::string& path) {
  std::vector<std::string> out;
  if (const auto done = add_below(path, 0, out); !done) return done.error();
  return out;
}

Status ShareFiles::add_below(const std::string& path, int depth, std::vector<std::string>& out) {
  constexpr int kDeepest = 100;
  if (depth > kDeepest) return Error{Code::failed_precondition, path + ": directories nested too deeply"};
  const auto entries = list(path);
  if (!entries) return entries.error();
  for (const v1::FileEntry& entry : *entries) {
    // Becomes a path of this machine: it must be a name.
    if (entry.name().find('/') != std::string::npos || entry.name() == "..") continue;
    const std::string inner = join(path, entry.name());
    if (!entry.is_directory()) {
      out.push_back(inner);
    } else if (const auto done = add_below(inner, depth + 1, out); !done) {
      return done.error();
    }
  }
  return {};
}

Status ShareFiles::make_directory(const std::string& path) {
  v1::CreateDirectoryRequest request;
  request.set_request_id(new_request_id());
  *request.mutable_directory() = at(path);
  const auto made = x_client.call(&Stub::CreateDirectory, request);
  return made ? Status() : Status(made.error());
}

Status ShareFiles::remove(const std::string& path) {
  v1::DeleteFileRequest request;
  request.set_request_id(new_request_id());
  *request.mutable_file() = at(path);
  const auto done = x_client.call(&Stub::DeleteFile, request);
  return done ? Status() : Status(done.error());
}

// One try; the file appears whole or not at all, so another try is harmless.
grpc::Status ShareFiles::send(const std::string& path, const std::string& source, ProgressLine& progress,
                              std::string& local_error) {
  std::ifstream file(source, std::ios::binary);
  if (!file) {
    local_error = source + ": cannot be read; check the path";
    return grpc::Status::CANCELLED;
  }
  Stub stub(x_client.channel());
  grpc::ClientContext context;
  v1::UploadFileResponse response;
  const auto writer = stub.UploadFile(&context, &response);
  v1::UploadFileRequest part;
  *part.mutable_target() = at(path);
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

Status ShareFiles::upload(const std::string& source, const std::string& path, ProgressLine& progress) {
  Patience patience(x_client);
  for (;;) {
    std::string local_error;
    const grpc::Status status = send(path, source, progress, local_error);
    if (!local_error.empty()) return Error{Code::invalid_argument, local_error};
    if (status.ok()) return {};
    if (!patience.again(status)) return x_client.error_of(status);
  }
}

// One try, from the start.
grpc::Status ShareFiles::receive(const std::string& path, std::FILE* file, ProgressLine& progress,
                                 std::string& local_error) {
  std::uint64_t size = 0;
  v1::DownloadFileRequest request;
  *request.mutable_file() = at(path);
  Stub stub(x_client.channel());
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
    progress.say(fmt::format("{}: {} received", path, spoken_size(size)));
  }
  if (!local_error.empty()) context.TryCancel();
  grpc::Status status = reader->Finish();
  if (status.ok() && local_error.empty() && std::fflush(file) != 0) {
    local_error = std::string("cannot write: ") + std::strerror(errno);
  }
  return status;
}

// Into a file beside, renamed when whole: a half download never has the name.
Status ShareFiles::download(const std::string& path, const std::string& destination, ProgressLine& progress) {
  const std::string part = fmt::format("{}.part-{}", destination, getpid());
  Patience patience(x_client);
  for (;;) {
    const PartialFile partial(part);
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(part.c_str(), "wb"), std::fclose);
    if (!file) return Error{Code::invalid_argument, destination + ": cannot be written: " + std::strerror(errno)};
    std::string local_error;
    const grpc::Status status = receive(path, file.get(), progress, local_error);
    if (status.ok() && local_error.empty() && std::rename(part.c_str(), destination.c_str()) != 0) {
      local_error = std::string("cannot be renamed: ") + std::strerror(errno);
    }
    if (status.ok() && local_error.empty()) return {};
    std::remove(part.c_str());
    if (!local_error.empty()) return Error{Code::internal, destination + ": " + local_error};
    if (!patience.again(status)) return x_client.error_of(status);
  }
}

}  // namespace trainyard::cli
