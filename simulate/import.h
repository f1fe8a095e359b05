// Published traces, read as they are published. Pure. What they lack is assumed, and said here:
//   philly  columns timestamp,duration,num_gpus,cluster (Microsoft's Philly cluster as the Pollux authors filtered it).
//           There are no users: the virtual cluster is both user and workspace. A job of more GPUs than a node has is
//           spread evenly over as few nodes as can be; a smaller one is a part of one node.
//   openb   columns num_gpu,qos,creation_time,deletion_time,scheduled_time (Alibaba's cluster-trace-gpu-v2023, pods). A
//           pod is a job on one node, its class of service is user and workspace. A fraction of a GPU is a whole GPU
//           here; pods without a GPU, and those that were never scheduled or deleted, are left out.
// Neither has time limits: see assume_limits.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "simulate/trace.h"

namespace trainyard::simulate {

struct Format {
  const char* name;
  const char* what;
  // `most_gpus` of a node of the cluster, for jobs that are spread over nodes.
  Result<Trace> (*read)(std::string_view text, const std::string& name, std::uint32_t most_gpus);
  bool has_limits;
};

// The first is Trainyard's own.
const std::vector<Format>& formats();
const Format* find_format(const std::string& name);  // null: there is none of that name

}  // namespace trainyard::simulate
