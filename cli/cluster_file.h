// A cluster file (Batch AI's cluster.json) and the flags of `cluster create` to a ClusterSpec. Pure.
#pragma once

#include <optional>
#include <string>

#include "common/result.h"
#include "trainyard/v1/clusters.pb.h"

namespace trainyard::cli {

// What the command line gave; it wins over the file.
struct ClusterFlags {
  std::string vm_size, vm_priority;
  std::optional<std::int32_t> target;
  std::string user_name, ssh_public_key;
};

// `text` may be empty: no file. Errors name the field and say which flag gives it.
Result<v1::ClusterSpec> make_cluster_spec(const std::string& text, const std::string& file_name,
                                          const ClusterFlags& flags);

std::optional<v1::DeallocationOption> deallocation_option_named(const std::string& name);

}  // namespace trainyard::cli
