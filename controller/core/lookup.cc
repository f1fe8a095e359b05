#include "controller/core/engine.h"

namespace trainyard::core {

namespace {
template <class Value>
Result<Value> found(const std::map<std::string, Value>& index, const std::string& key, const std::string& message) {
  auto it = index.find(key);
  if (it == index.end()) return Error{Code::not_found, message};
  return it->second;
}
}  // namespace

Result<GroupId> find_group(const State& state, const std::string& name) {
  return found(state.group_by_path, path_key({name}), "group " + name + " does not exist");
}

Result<WorkspaceId> find_workspace(const State& state, const std::string& group, const std::string& workspace) {
  auto parent = find_group(state, group);
  if (!parent.ok()) return parent.error();
  return found(state.workspace_by_path, path_key({group, workspace}),
               "workspace " + workspace + " is not in group " + group);
}

Result<ExperimentId> find_experiment(const State& state, const ExperimentRef& ref) {
  auto parent = find_workspace(state, ref.group, ref.workspace);
  if (!parent.ok()) return parent.error();
  return found(state.experiment_by_path, path_key({ref.group, ref.workspace, ref.experiment}),
               "experiment " + ref.experiment + " is not in workspace " + ref.workspace + " of group " + ref.group);
}

Result<ClusterId> find_cluster(const State& state, const ClusterRef& ref) {
  auto parent = find_workspace(state, ref.group, ref.workspace);
  if (!parent.ok()) return parent.error();
  return found(state.cluster_by_path, path_key({ref.group, ref.workspace, ref.cluster}),
               "cluster " + ref.cluster + " is not in workspace " + ref.workspace + " of group " + ref.group);
}

Result<JobId> find_job(const State& state, const JobRef& ref) {
  auto parent = find_experiment(state, {ref.group, ref.workspace, ref.experiment});
  if (!parent.ok()) return parent.error();
  return found(state.job_by_path, path_key({ref.group, ref.workspace, ref.experiment, ref.job}),
               "job " + ref.job + " is not in experiment " + ref.experiment + " of workspace " + ref.workspace +
                   ", group " + ref.group);
}

Result<JobArrayId> find_array(const State& state, const JobRef& ref) {
  auto parent = find_experiment(state, {ref.group, ref.workspace, ref.experiment});
  if (!parent.ok()) return parent.error();
  return found(state.array_by_path, path_key({ref.group, ref.workspace, ref.experiment, ref.job}),
               "job array " + ref.job + " is not in experiment " + ref.experiment + " of workspace " + ref.workspace +
                   ", group " + ref.group);
}

Result<JobScheduleId> find_schedule(const State& state, const JobRef& ref) {
  auto parent = find_experiment(state, {ref.group, ref.workspace, ref.experiment});
  if (!parent.ok()) return parent.error();
  return found(state.schedule_by_path, path_key({ref.group, ref.workspace, ref.experiment, ref.job}),
               "job schedule " + ref.job + " is not in experiment " + ref.experiment + " of workspace " +
                   ref.workspace + ", group " + ref.group);
}

Result<FileServerId> find_file_server(const State& state, const FileServerRef& ref) {
  auto parent = find_workspace(state, ref.group, ref.workspace);
  if (!parent.ok()) return parent.error();
  return found(state.file_server_by_path, path_key({ref.group, ref.workspace, ref.file_server}),
               "file server " + ref.file_server + " is not in workspace " + ref.workspace + " of group " + ref.group);
}

Result<AccountId> find_account(const State& state, const std::string& name) {
  return found(state.account_by_name, path_key({name}), "storage account " + name + " does not exist");
}

Result<ShareId> find_share(const State& state, const std::string& account, const std::string& share) {
  auto parent = find_account(state, account);
  if (!parent.ok()) return parent.error();
  return found(state.share_by_path, path_key({account, share}),
               "share " + share + " is not in storage account " + account);
}

Result<NodeId> find_node(const State& state, const std::string& name) {
  auto found = state.node_by_name.find(name);
  if (found == state.node_by_name.end()) return Error{Code::not_found, "node " + name + " does not exist"};
  return found->second;
}

}  // namespace trainyard::core
