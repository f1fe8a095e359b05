#include "proto/mount_convert.h"

#include <fmt/format.h>

#include <algorithm>

#include "proto/names.h"

namespace trainyard {
namespace {

constexpr std::size_t kMostCommand = 16 * 1024;
constexpr std::size_t kMostOptions = 4096;
constexpr std::size_t kMostMounts = 100;

Error invalid(const std::string& field, const std::string& text) {
  return {Code::invalid_argument, field + ": " + text};
}

// Two mounts at one place, or one inside the other, would hide files.
Result<std::string> path_of_mount(const std::string& field, const std::string& text, std::vector<std::string>& paths) {
  auto path = clean_path(field + ".relativeMountPath", text, false);
  if (!path) return path.error();
  if (paths.size() >= kMostMounts) return invalid(field, fmt::format("at most {} volumes are allowed", kMostMounts));
  for (const std::string& other : paths) {
    if (*path == other || path->starts_with(other + "/") || other.starts_with(*path + "/")) {
      return invalid(field + ".relativeMountPath",
                     fmt::format("\"{}\" overlaps with the mount at \"{}\"", *path, other));
    }
  }
  paths.push_back(*path);
  return path;
}

}  // namespace

Result<FileServerMount> file_server_mount_from_proto(const std::string& field, const v1::FileServerMount& message,
                                                     const core::WorkspaceRef& home, std::vector<std::string>& paths) {
  const auto server = parse_file_server(field + ".fileServer.id", message.file_server(), home);
  if (!server) return server.error();
  auto path = path_of_mount(field, message.relative_mount_path(), paths);
  if (!path) return path.error();
  std::string_view below = message.source_directory();
  while (below.starts_with("/")) below.remove_prefix(1);
  auto directory = clean_path(field + ".sourceDirectory", below, true);
  if (!directory) return directory.error();
  const std::string& options = message.mount_options();
  const bool good = options.size() <= kMostOptions &&
                    std::all_of(options.begin(), options.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (!good) return invalid(field + ".mountOptions", "must be options of NFS with commas between, without blanks");
  return FileServerMount{server->group + "/" + server->workspace + "/" + server->file_server, std::move(path).value(),
                         std::move(directory).value(), options};
}

Result<UnmanagedMount> unmanaged_mount_from_proto(const std::string& field, const v1::UnmanagedFileSystem& message,
                                                  std::vector<std::string>& paths) {
  const std::string& command = message.mount_command();
  if (command.empty()) return invalid(field + ".mountCommand", "is missing");
  if (command.size() > kMostCommand || command.find('\0') != command.npos) {
    return invalid(field + ".mountCommand", fmt::format("must be at most {} characters without NUL", kMostCommand));
  }
  auto path = path_of_mount(field, message.relative_mount_path(), paths);
  if (!path) return path.error();
  return UnmanagedMount{command, std::move(path).value()};
}

void to_proto(const FileServerMount& mount, v1::FileServerMount& message) {
  const auto parts = split(mount.file_server, '/');
  message.set_file_server(parts.size() == 3 ? arm_id(core::FileServerRef{std::string(parts[0]), std::string(parts[1]),
                                                                         std::string(parts[2])})
                                            : mount.file_server);
  message.set_relative_mount_path(mount.relative_mount_path);
  message.set_source_directory(mount.source_directory);
  message.set_mount_options(mount.mount_options);
}

}  // namespace trainyard
