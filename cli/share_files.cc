#include "cli/share_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "trainyard/v1/volumes.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Volumes::Stub;

constexpr std::size_t kChunkBytes = 256 * 1024;

}  // namespace

Result<std::string> storage_account(const std::string& given) {
  if (!given.empty()) return given;
  for (const char* variable : {"TRAINYARD_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT"}) {
    const char* value = std::getenv(variable);
    if (value != nullptr && *value != '\0') return std::string(value);
  }
  return Error{Code::invalid_argument, "no storage account: give --account-name, or set TRAINYARD_STORAGE_ACCOUNT"};
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
    if (join_path(directory, entry.name()) == path) return std::optional(entry);
  }
  return std::optional<v1::FileEntry>();
}

Result<std::vector<ShareFiles::File>> ShareFiles::below(const std::string& path) {
  std::vector<File> out;
  if (const auto done = add_below(path, 0, out); !done) return done.error();
  return out;
}

Status ShareFiles::add_below(const std::string& path, int depth, std::vector<File>& out) {
  constexpr int kDeepest = 100;
  if (depth > kDeepest) return Error{Code::failed_precondition, path + ": directories nested too deeply"};
  const auto entries = list(path);
  if (!entries) return entries.error();
  for (const v1::FileEntry& entry : *entries) {
    // Becomes a path of this machine: it must be a name.
    if (entry.name().find('/') != std::string::npos || entry.name() == "..") continue;
    const std::string inner = join_path(path, entry.name());
    if (!entry.is_directory()) {
      out.push_back({inner, entry});
    } else if (const auto done = add_below(inner, depth + 1, out); !done) {
      return done.error();
    }
  }
  return {};
}

Result<bool> ShareFiles::make_directory(const std::string& path) {
  v1::CreateDirectoryRequest request;
  request.set_request_id(new_request_id());
  *request.mutable_directory() = at(path);
  const auto made = x_client.call(&Stub::CreateDirectory, request);
  if (!made) return made.error();
  return made->created();
}

Status ShareFiles::remove(const std::string& path) {
  v1::DeleteFileRequest request;
  request.set_request_id(new_request_id());
  *request.mutable_file() = at(path);
  const auto done = x_client.call(&Stub::DeleteFile, request);
  return done ? Status() : Status(done.error());
}

// The tries of one upload.
class ShareFiles::Upload {
 public:
  Upload(Client& client, v1::SharePath target, const std::string& source, ProgressLine& progress)
      : x_client(client), x_target(std::move(target)), x_source(source), x_progress(progress), x_patience(client) {}

  Result<std::uint64_t> run() {
    for (;;) {
      const auto begun = Patience::Clock::now();
      const grpc::Status status = send();
      if (!x_local_error.empty()) return Error{Code::invalid_argument, x_local_error};
      if (status.ok()) return x_response.size();
      if (!x_patience.again(status, begun)) return x_client.error_of(status);
    }
  }

 private:
  grpc::Status send() {
    std::ifstream file(x_source, std::ios::binary | std::ios::ate);
    const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : -1;
    if (size < 0 || !file.seekg(0)) {
      x_local_error = x_source + ": cannot be read; check the path";
      return grpc::Status::CANCELLED;
    }
    Stub stub(x_client.channel());
    grpc::ClientContext context;
    const auto writer = stub.UploadFile(&context, &x_response);
    v1::UploadFileRequest part;
    *part.mutable_target() = x_target;
    part.set_size(static_cast<std::uint64_t>(size));
    bool open = writer->Write(part);
    std::string chunk(kChunkBytes, '\0');
    std::uint64_t sent = 0;
    while (open && file.read(chunk.data(), static_cast<std::streamsize>(chunk.size())).gcount() > 0) {
      part.set_data(chunk.data(), static_cast<std::size_t>(file.gcount()));
      open = writer->Write(part);
      if (open) sent += part.data().size();
      if (sent > std::exchange(x_furthest, std::max(x_furthest, sent))) x_patience.progress();
      x_progress.say(fmt::format("{}: {} of {} sent", x_source, spoken_size(sent),
                                 spoken_size(static_cast<unsigned long long>(size))));
    }
    if (file.bad()) {
      x_local_error = x_source + ": cannot be read to its end";
      context.TryCancel();
    } else {
      writer->WritesDone();
    }
    return writer->Finish();
  }

  Client& x_client;
  const v1::SharePath x_target;
  const std::string& x_source;
  ProgressLine& x_progress;
  Patience x_patience;
  v1::UploadFileResponse x_response;
  std::string x_local_error;
  std::uint64_t x_furthest = 0;  // of all tries
};

Result<std::uint64_t> ShareFiles::upload(const std::string& source, const std::string& path, ProgressLine& progress) {
  return Upload(x_client, at(path), source, progress).run();
}

FileSource ShareFiles::source() {
  FileSource source;
  source.list = [this](const std::string& path) { return list(path); };
  source.read = [this](grpc::ClientContext& context, const std::string& path, std::uint64_t offset) {
    v1::DownloadFileRequest request;
    *request.mutable_file() = at(path);
    request.set_offset(offset);
    Stub stub(x_client.channel());
    return stub.DownloadFile(&context, request);
  };
  return source;
}

}  // namespace trainyard::cli
