// `mountVolumes` of a cluster or job file. Pure.
#pragma once

#include <optional>
#include <string>

#include "batchai/json_fields.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard::batchai {

// The storage account that the command line or the environment names: `name` replaces <AZURE_BATCHAI_STORAGE_ACCOUNT>
// and missing account names, `key` replaces <AZURE_BATCHAI_STORAGE_KEY> and missing keys of that account. Both may be
// empty: without a key the operator's storage table gives access.
struct StorageAccount {
  std::string name, key;
};

// Where a job's or a cluster's mounts go.
struct MountLists {
  google::protobuf::RepeatedPtrField<v1::AzureFileShare>& shares;
  google::protobuf::RepeatedPtrField<v1::AzureBlobFileSystem>& containers;
  google::protobuf::RepeatedPtrField<v1::FileServerMount>& file_servers;
  google::protobuf::RepeatedPtrField<v1::UnmanagedFileSystem>& unmanaged;
};
template <class Owner>  // v1::JobSpec or v1::NodeSetup
MountLists mounts_of(Owner& owner) {
  return {*owner.mutable_azure_file_shares(), *owner.mutable_azure_blob_file_systems(), *owner.mutable_file_servers(),
          *owner.mutable_unmanaged_file_systems()};
}

void read_mounts(Fields mounts, const StorageAccount& account, MountLists out);

// --afs-name, --bfs-name, --nfs and their mount paths: one more share, container or file server.
struct MountFlags {
  std::string afs_name, afs_mount_path = "afs", bfs_name, bfs_mount_path = "bfs", nfs, nfs_mount_path = "nfs";
  bool empty() const { return afs_name.empty() && bfs_name.empty() && nfs.empty(); }
};
std::optional<Error> add_mounts(const MountFlags& flags, const StorageAccount& account, MountLists out);

}  // namespace trainyard::batchai
