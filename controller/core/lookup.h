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
Result<FileServerId> find_file_server(const State&, const FileServerRef&);
Result<AccountId> find_account(const State&, const std::string& name);
Result<ShareId> find_share(const State&, const std::string& account, const std::string& share);

// On the nodes.
std::string directory_of(const State&, const Share&);

}  // namespace trainyard::core
