#include "batchai/mount_fields.h"

#include <fmt/format.h>

namespace trainyard::batchai {
namespace {

using Need = Fields::Need;

constexpr const char* kAccountPlaceholder = "<AZURE_BATCHAI_STORAGE_ACCOUNT>";
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

void read_credentials(Fields& mount) {
  Fields credentials = mount.object("credentials");
  credentials.text("accountKey");
  if (credentials.has("accountKeySecretReference")) {
    credentials.refuse("accountKeySecretReference",
                       "there is no key vault; the operator's storage table gives access: remove the reference");
  }
  credentials.object("accountKeySecretReference");
  credentials.finish();
}

}  // namespace

void read_mounts(Fields mounts, const std::string& account,
                 google::protobuf::RepeatedPtrField<v1::AzureFileShare>& shares,
                 google::protobuf::RepeatedPtrField<v1::AzureBlobFileSystem>& containers) {
  mounts.each("azureFileShares", [&](Fields& share) {
    v1::AzureFileShare& out = *shares.Add();
    out.set_account_name(with_account(share, "accountName", Need::optional, account));
    out.set_azure_file_url(with_account(share, "azureFileUrl", Need::required, account));
    out.set_relative_mount_path(share.text("relativeMountPath", Need::required));
    out.set_file_mode(share.text("fileMode"));
    out.set_directory_mode(share.text("directoryMode"));
    read_credentials(share);
  });
  mounts.each("azureBlobFileSystems", [&](Fields& container) {
    v1::AzureBlobFileSystem& out = *containers.Add();
    out.set_account_name(with_account(container, "accountName", Need::optional, account));
    if (out.account_name().empty()) out.set_account_name(account);
    if (out.account_name().empty()) {
      container.fail("accountName", fmt::format("is missing: give it, or {}", kHowToGiveAccount));
    }
    out.set_container_name(container.text("containerName", Need::required));
    out.set_relative_mount_path(container.text("relativeMountPath", Need::required));
    out.set_mount_options(container.text("mountOptions"));
    read_credentials(container);
  });
  if (mounts.count("fileServers") != 0) {
    mounts.refuse("fileServers", "mount the data as a share of a storage account instead");
  }
  if (mounts.count("unmanagedFileSystems") != 0) {
    mounts.refuse("unmanagedFileSystems",
                  "the operator maps file systems in the controller's storage table; use azureFileShares");
  }
  mounts.finish();
}

std::optional<Error> add_mounts(const MountFlags& flags, const std::string& account,
                                google::protobuf::RepeatedPtrField<v1::AzureFileShare>& shares,
                                google::protobuf::RepeatedPtrField<v1::AzureBlobFileSystem>& containers) {
  if (account.empty() && !(flags.afs_name.empty() && flags.bfs_name.empty())) {
    return Error{Code::invalid_argument,
                 "--afs-name and --bfs-name: give --storage-account-name too, or set AZURE_BATCHAI_STORAGE_ACCOUNT"};
  }
  if (!flags.afs_name.empty()) {
    v1::AzureFileShare& share = *shares.Add();
    share.set_account_name(account);
    share.set_azure_file_url("https://" + account + ".file.core.windows.net/" + flags.afs_name);
    share.set_relative_mount_path(flags.afs_mount_path);
  }
  if (!flags.bfs_name.empty()) {
    v1::AzureBlobFileSystem& container = *containers.Add();
    container.set_account_name(account);
    container.set_container_name(flags.bfs_name);
    container.set_relative_mount_path(flags.bfs_mount_path);
  }
  return std::nullopt;
}

}  // namespace trainyard::batchai
