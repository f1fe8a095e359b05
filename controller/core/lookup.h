// Names of users -> ids, NOT_FOUND naming the first part that does not exist. Pure.
#pragma once

#include "common/result.h"
#include "controller/core/event.h"
#include "controller/core/state.h"

namespace trainyard::core {

Result<GroupId> find_group(const State&, const std::string& name);
Result<WorkspaceId> find_workspace(const State&, const std::string& group, const std::string& workspace);
Result<ExperimentId> find_experiment(const State&, const ExperimentRef&);
Result<ClusterId> find_cluster(const State&, const ClusterRef&);
Result<JobId> find_job(const State&, const JobRef&);
Result<JobArrayId> find_array(const State&, const JobRef&);
Result<JobScheduleId> find_schedule(const State&, const JobRef&);
Result<FileServerId> find_file_server(const State&, const FileServerRef&);
Result<NodeId> find_node(const State&, const std::string& name);
Result<AccountId> find_account(const State&, const std::string& name);
Result<ShareId> find_share(const State&, const std::string& account, const std::string& share);

// The files behind a share; without a relative mount path.
Volume volume_of(const State&, const Share&);
// Volumes of file servers with the addresses and exports that those have now; one that is gone leaves its volume
// without a source.
std::vector<Volume> with_addresses(const State&, std::vector<Volume> volumes);

}  // namespace trainyard::core
