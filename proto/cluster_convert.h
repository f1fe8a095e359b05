// Clusters and nodes between the API's messages and our structs. Everything a user may get wrong in a cluster is said
// here, naming the field as it stands in a cluster file. Pure; any thread.
#pragma once

#include "common/result.h"
#include "controller/core/event.h"
#include "controller/core/view.h"
#include "trainyard/v1/clusters.pb.h"
#include "trainyard/v1/nodes.pb.h"

namespace trainyard {

// `home`: the cluster's own workspace, in which plain names of file servers are looked up.
Result<core::ClusterSpec> from_proto(const v1::ClusterSpec& message, const core::WorkspaceRef& home);
Result<std::uint32_t> node_target_from_proto(std::int32_t target);
Result<core::AutoScale> from_proto(const v1::AutoScaleSettings& message);
Result<core::DeallocationOption> from_proto(v1::DeallocationOption option);

void to_proto(const core::ClusterSpec& spec, v1::ClusterSpec& message);
void to_proto(const core::ClusterView& view, v1::Cluster& message);
void to_proto(const core::NodeView& view, v1::Node& message);

}  // namespace trainyard
