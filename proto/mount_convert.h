// The mounts that jobs and clusters have alike beside shares and containers: file servers and commands of users. Pure;
// any thread.
#pragma once

#include <string>
#include <vector>

#include "common/model.h"
#include "common/result.h"
#include "controller/core/event.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard {

// Checks and converts `message`'s lists into `spec`'s. `at`: "properties.mountVolumes."; `home`: the workspace in which
// a plain name is looked up; `paths`: the relative mount paths so far, which no other may overlap with.
template <class Message, class Spec>
Status more_mounts_from_proto(const std::string& at, const Message& message, const core::WorkspaceRef& home,
                              std::vector<std::string>& paths, Spec& spec);
template <class Spec, class Message>
void more_mounts_to_proto(const Spec& spec, Message& message);

// ---- Details ----

Result<FileServerMount> file_server_mount_from_proto(const std::string& field, const v1::FileServerMount& message,
                                                     const core::WorkspaceRef& home, std::vector<std::string>& paths);
Result<UnmanagedMount> unmanaged_mount_from_proto(const std::string& field, const v1::UnmanagedFileSystem& message,
                                                  std::vector<std::string>& paths);
void to_proto(const FileServerMount& mount, v1::FileServerMount& message);

template <class Message, class Spec>
Status more_mounts_from_proto(const std::string& at, const Message& message, const core::WorkspaceRef& home,
                              std::vector<std::string>& paths, Spec& spec) {
  for (int i = 0; i < message.file_servers_size(); ++i) {
    auto mount = file_server_mount_from_proto(at + "fileServers[" + std::to_string(i) + "]", message.file_servers(i),
                                              home, paths);
    if (!mount) return mount.error();
    spec.file_server_mounts.push_back(std::move(mount).value());
  }
  for (int i = 0; i < message.unmanaged_file_systems_size(); ++i) {
    auto mount = unmanaged_mount_from_proto(at + "unmanagedFileSystems[" + std::to_string(i) + "]",
                                            message.unmanaged_file_systems(i), paths);
    if (!mount) return mount.error();
    spec.unmanaged_mounts.push_back(std::move(mount).value());
  }
  return {};
}

template <class Spec, class Message>
void more_mounts_to_proto(const Spec& spec, Message& message) {
  for (const FileServerMount& mount : spec.file_server_mounts) to_proto(mount, *message.add_file_servers());
  for (const UnmanagedMount& mount : spec.unmanaged_mounts) {
    auto& out = *message.add_unmanaged_file_systems();
    out.set_mount_command(mount.mount_command);
    out.set_relative_mount_path(mount.relative_mount_path);
  }
}

}  // namespace trainyard
