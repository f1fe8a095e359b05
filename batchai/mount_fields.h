// `mountVolumes` of a cluster or job file. Pure.
#pragma once

#include <optional>
#include <string>

#include "batchai/json_fields.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard::batchai {

// `account` replaces <AZURE_BATCHAI_STORAGE_ACCOUNT> and missing account names; may be empty. Keys in the file go no
// further: the operator's storage table gives access. The arrays that are not carried out are refused by name.
void read_mounts(Fields mounts, const std::string& account,
                 google::protobuf::RepeatedPtrField<v1::AzureFileShare>& shares,
                 google::protobuf::RepeatedPtrField<v1::AzureBlobFileSystem>& containers);

// --afs-name, --afs-mount-path, --bfs-name, --bfs-mount-path: one more share or container of the account.
struct MountFlags {
  std::string afs_name, afs_mount_path = "afs", bfs_name, bfs_mount_path = "bfs";
};
std::optional<Error> add_mounts(const MountFlags& flags, const std::string& account,
                                google::protobuf::RepeatedPtrField<v1::AzureFileShare>& shares,
                                google::protobuf::RepeatedPtrField<v1::AzureBlobFileSystem>& containers);

}  // namespace trainyard::batchai
