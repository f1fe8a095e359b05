#include "batchai/mount_fields.h"

#include <fmt/format.h>

namespace trainyard::batchai {
namespace {

using Need = Fields::Need;

constexpr const char* kAccountPlaceholder = "<AZURE_BATCHAI_STORAGE_ACCOUNT>";
constexpr const char* kKeyPlaceholder = "<AZURE_BATCHAI_STORAGE_KEY>";
constexpr const char* kHowToGiveAccount = "--storage-account-name, or set AZURE_BATCHAI_STORAGE_ACCOUNT";

std::string with_account(Fields& mount, const char* key, Need need, const std::string& account) {
  std::string text = mount.text(key, need);
  for (std::size_t at = text.find(kAccountPlaceholder); at != std::string::npos; at = text.find(kAccountPlaceholder)) {
    if (account.empty()) {
      mount.fail(key, fmt::format("contains {}: give {}", kAccountPlaceholder, kHowToGiveAccount));
      return text;
    }
    text.replace(at, std::string(kAccountPlaceholder).size(), account);
  }
  return text;
}

// The key of a mount: its own, or the command line's when that is for the mount's account.
std::string read_key(Fields& mount, const StorageAccount& account, const std::string& of_account) {
  Fields credentials = mount.object("credentials");
  std::string key = credentials.text("accountKey");
  if (credentials.has("accountKeySecretReference")) {
    credentials.refuse("accountKeySecretReference",
                       "there is no key vault; give the key itself, which is kept encrypted, or remove the reference "
                       "where the operator's storage table gives access");
  }
  credentials.object("accountKeySecretReference");
  credentials.finish();
  if (key == kKeyPlaceholder || (key.empty() && Fields::same_word(of_account, account.name))) return account.key;
  return key;
}

// The host's first label in https://ACCOUNT.file.core.windows.net/SHARE.
std::string account_of_url(const std::string& url) {
  const auto start = url.find("://");
  if (start == std::string::npos) return {};
  return url.substr(start + 3, url.find('.', start) - start - 3);
}

void read_file_server(Fields& mount, v1::FileServerMount& out) {
  Fields server = mount.object("fileServer", Need::required);
  out.set_file_server(server.text("id", Need::required));
  server.finish();
  out.set_relative_mount_path(mount.text("relativeMountPath", Need::required));
  out.set_source_directory(mount.text("sourceDirectory"));
  out.set_mount_options(mount.text("mountOptions"));
}

}  // namespace

void read_mounts(Fields mounts, const StorageAccount& account, MountLists lists) {
  mounts.each("azureFileShares", [&](Fields& share) {
    v1::AzureFileShare& out = *lists.shares.Add();
    out.set_account_name(with_account(share, "accountName", Need::optional, account.name));
    out.set_azure_file_url(with_account(share, "azureFileUrl", Need::required, account.name));
    out.set_relative_mount_path(share.text("relativeMountPath", Need::required));
    out.set_file_mode(share.text("fileMode"));
    out.set_directory_mode(share.text("directoryMode"));
    out.set_account_key(read_key(share, account, account_of_url(out.azure_file_url())));
  });
  mounts.each("azureBlobFileSystems", [&](Fields& container) {
    v1::AzureBlobFileSystem& out = *lists.containers.Add();
    out.set_account_name(with_account(container, "accountName", Need::optional, account.name));
    if (out.account_name().empty()) out.set_account_name(account.name);
    if (out.account_name().empty()) {
      container.fail("accountName", fmt::format("is missing: give it, or {}", kHowToGiveAccount));
    }
    out.set_container_name(container.text("containerName", Need::required));
    out.set_relative_mount_path(container.text("relativeMountPath", Need::required));
    out.set_mount_options(container.text("mountOptions"));
    out.set_account_key(read_key(container, account, out.account_name()));
  });
  mounts.each("fileServers", [&](Fields& mount) { read_file_server(mount, *lists.file_servers.Add()); });
  mounts.each("unmanagedFileSystems", [&](Fields& mount) {
    v1::UnmanagedFileSystem& out = *lists.unmanaged.Add();
    out.set_mount_command(mount.text("mountCommand", Need::required));
    out.set_relative_mount_path(mount.text("relativeMountPath", Need::required));
  });
  mounts.finish();
}

std::optional<Error> add_mounts(const MountFlags& flags, const StorageAccount& account, MountLists lists) {
  if (account.name.empty() && !(flags.afs_name.empty() && flags.bfs_name.empty())) {
    return Error{Code::invalid_argument,
                 "--afs-name and --bfs-name: give --storage-account-name too, or set AZURE_BATCHAI_STORAGE_ACCOUNT"};
  }
  if (!flags.afs_name.empty()) {
    v1::AzureFileShare& share = *lists.shares.Add();
    share.set_account_name(account.name);
    share.set_azure_file_url("https://" + account.name + ".file.core.windows.net/" + flags.afs_name);
    share.set_relative_mount_path(flags.afs_mount_path);
    share.set_account_key(account.key);
  }
  if (!flags.bfs_name.empty()) {
    v1::AzureBlobFileSystem& container = *lists.containers.Add();
    container.set_account_name(account.name);
    container.set_container_name(flags.bfs_name);
    container.set_relative_mount_path(flags.bfs_mount_path);
    container.set_account_key(account.key);
  }
  if (!flags.nfs.empty()) {
    v1::FileServerMount& mount = *lists.file_servers.Add();
    mount.set_file_server(flags.nfs);
    mount.set_relative_mount_path(flags.nfs_mount_path);
    mount.set_mount_options("rw");
  }
  return std::nullopt;
}

}  // namespace trainyard::batchai
