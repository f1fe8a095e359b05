#include "controller/core/volumes.h"

#include <algorithm>

#include "common/model_json.h"
#include "controller/core/engine.h"

namespace trainyard::core {
namespace {

std::string text_of(const State& state, const Share& share) {
  return "share " + share.name + " of storage account " + state.accounts.at(share.account).name;
}

Result<Volume> find_volume(const State& state, const std::string& field, const std::string& account,
                           const std::string& share, const std::string& relative_mount_path) {
  auto found = state.account_by_name.find(lower(account));
  if (found == state.account_by_name.end()) {
    return Error{Code::not_found, field + ": storage account " + account +
                                      " does not exist; create it with `trainyard storage account create`"};
  }
  const Account& row = state.accounts.at(found->second);
  auto there = state.share_by_path.find(path_key({account, share}));
  if (there == state.share_by_path.end()) {
    return Error{Code::not_found, field + ": share " + share + " is not in storage account " + row.name +
                                      "; create it with `trainyard storage share create`"};
  }
  const Share& found_share = state.shares.at(there->second);
  if (found_share.deleting) {
    return Error{Code::failed_precondition, field + ": " + text_of(state, found_share) + " is being deleted"};
  }
  Volume volume = volume_of(state, found_share);
  volume.relative_mount_path = relative_mount_path;
  return volume;
}

Result<Volume> find_export(const State& state, const std::string& field, const WorkspaceRef& home,
                           const FileServerMount& mount) {
  const auto found = state.file_server_by_path.find(lower(mount.file_server));
  if (found == state.file_server_by_path.end()) {
    return Error{Code::not_found, field + ": file server " + mount.file_server +
                                      " does not exist; create it with `trainyard file-server create`"};
  }
  const FileServer& row = state.file_servers.at(found->second);
  if (const std::string of = path_key({home.group, home.workspace}) + "/"; !lower(mount.file_server).starts_with(of)) {
    return Error{Code::failed_precondition, field + ": file server " + mount.file_server +
                                                " is of another workspace: only those of " + home.group + "/" +
                                                home.workspace + " can be mounted here"};
  }
  if (row.state != Provisioning::succeeded) {
    std::string text = field + ": file server " + mount.file_server + " is " + name_of(row.state);
    if (row.state == Provisioning::creating) text += ": wait until it has succeeded";
    return Error{Code::failed_precondition, row.error.empty() ? text : text + ": " + row.error};
  }
  Volume volume{Volume::Kind::nfs, mount.source_directory, mount.relative_mount_path};
  volume.options = mount.mount_options;
  volume.file_server = path_of(state, row);
  return volume;
}

template <class Mounts, class Resolve>
std::optional<Error> add(const std::string& at, const Mounts& mounts, std::vector<Volume>& volumes, Resolve resolve) {
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    Result<Volume> volume = resolve(at + "[" + std::to_string(i) + "]", mounts[i]);
    if (!volume.ok()) return volume.error();
    volumes.push_back(std::move(*volume));
  }
  return std::nullopt;
}

}  // namespace

Volume volume_in(const std::string& place, const std::string& share) {
  if (!place.starts_with("{")) return Volume{Volume::Kind::local, place + "/" + share, {}};
  Volume volume = nlohmann::json::parse(place).get<Volume>();
  volume.source += (volume.source.empty() ? "" : "/") + share;
  return volume;
}

Volume volume_of(const State& state, const Share& share) {
  return volume_in(state.accounts.at(share.account).place, share.name);
}

bool same_place(const Volume& a, const Volume& b) {
  return a.kind == b.kind && a.source == b.source && a.endpoint == b.endpoint && a.file_server == b.file_server;
}

template <class Spec>
Result<std::vector<Volume>> resolve_volumes(const State& state, const std::string& at, const WorkspaceRef& home,
                                            const Spec& spec) {
  std::vector<Volume> volumes;
  auto error = add(at + "azureFileShares", spec.file_shares, volumes,
                   [&](const std::string& field, const FileShareMount& mount) {
                     return find_volume(state, field, mount.account_name, mount.share, mount.relative_mount_path);
                   });
  if (error) return *error;
  error = add(at + "azureBlobFileSystems", spec.blob_file_systems, volumes,
              [&](const std::string& field, const BlobMount& mount) {
                return find_volume(state, field, mount.account_name, mount.container_name, mount.relative_mount_path);
              });
  if (error) return *error;
  error = add(
      at + "fileServers", spec.file_server_mounts, volumes,
      [&](const std::string& field, const FileServerMount& mount) { return find_export(state, field, home, mount); });
  if (error) return *error;
  for (const UnmanagedMount& mount : spec.unmanaged_mounts) {
    volumes.push_back({Volume::Kind::command, mount.mount_command, mount.relative_mount_path});
  }
  return volumes;
}

template Result<std::vector<Volume>> resolve_volumes(const State&, const std::string&, const WorkspaceRef&,
                                                     const JobSpec&);
template Result<std::vector<Volume>> resolve_volumes(const State&, const std::string&, const WorkspaceRef&,
                                                     const NodeSetup&);

std::vector<Volume> with_addresses(const State& state, std::vector<Volume> volumes) {
  for (Volume& volume : volumes) {
    if (volume.file_server.empty()) continue;
    const auto found = state.file_server_by_path.find(lower(volume.file_server));
    if (found == state.file_server_by_path.end()) {
      volume.source.clear();
      continue;
    }
    const FileServer& row = state.file_servers.at(found->second);
    std::string source = row.address + ":" + row.export_path;
    if (!volume.source.empty()) source += "/" + volume.source;
    volume.source = source;
    constexpr std::uint32_t kNfsPort = 2049;
    if (row.port != 0 && row.port != kNfsPort) {
      volume.options += (volume.options.empty() ? "port=" : ",port=") + std::to_string(row.port);
    }
  }
  return volumes;
}

std::string listed(const std::vector<std::string>& names) {
  constexpr std::size_t kMost = 5;
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kMost); ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kMost) text += " and " + std::to_string(names.size() - kMost) + " more";
  return text;
}

}  // namespace trainyard::core
