// A cluster file (Batch AI's cluster.json) and the flags of `cluster create` to a ClusterSpec. Pure. As Batch AI's
// command line did it: the flags win over the file, unknown keys are ignored, here with a warning. A known field that
// Trainyard does not carry out is refused by its path; one that has no meaning on-prem is ignored with a warning that
// says why (docs/batch-ai-compatibility.md has the list).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/result.h"
#include "trainyard/v1/clusters.pb.h"

namespace trainyard::batchai {

// What the command line gave; it wins over the file.
struct ClusterFlags {
  std::string vm_size, vm_priority;
  std::optional<std::int32_t> target, minimum, maximum, idle_seconds;
  std::string user_name, ssh_public_key;
  std::string setup_task, setup_task_output;
  std::string storage_account_name;  // also replaces <AZURE_BATCHAI_STORAGE_ACCOUNT>
  std::string storage_account_key;   // likewise <AZURE_BATCHAI_STORAGE_KEY>
  std::string afs_name, afs_mount_path = "afs", bfs_name, bfs_mount_path = "bfs", nfs, nfs_mount_path = "nfs";
};

// `text` may be empty: no file. Errors name the field and say which flag gives it. `warnings` is appended to.
Result<v1::ClusterSpec> make_cluster_spec(const std::string& text, const std::string& file_name,
                                          const ClusterFlags& flags, std::vector<std::string>& warnings);

// For `cluster auto-scale`: the same checks as of --min and --max at the creation.
Result<v1::AutoScaleSettings> make_auto_scale(std::int32_t minimum, std::int32_t maximum,
                                              std::optional<std::int32_t> idle_seconds);

std::optional<v1::DeallocationOption> deallocation_option_named(const std::string& name);

// "UbuntuLTS", "UbuntuDSVM" or publisher:offer:sku:version, as --image takes it.
bool is_image_alias(const std::string& text);

}  // namespace trainyard::batchai
