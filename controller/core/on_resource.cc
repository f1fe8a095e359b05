// Groups, workspaces and experiments: created at once; deleted with everything in them, and gone when that is gone.
#include "controller/core/engine.h"

namespace trainyard::core {

namespace {

template <class Id, class Row>
std::string subject_of(const State& state, const char* kind, Id id, const Row& row) {
  return std::string(kind) + ":" + std::to_string(id.value) + " " + path_of(state, row);
}

template <class Row>
bool has_below(const std::map<std::string, Row>& index, const std::string& path) {
  auto it = index.lower_bound(path + "/");
  return it != index.end() && it->first.starts_with(path + "/");
}

Error being_deleted(const std::string& what) {
  return {Code::already_exists, what + " is being deleted; wait until it is gone"};
}
Error being_updated(const std::string& what) {
  return {Code::failed_precondition, what + " is being deleted: its tags cannot be changed any more"};
}
Error parent_deleted(const std::string& what) {
  return {Code::failed_precondition, what + " is being deleted"};
}

void delete_experiment(Engine& e, ExperimentId id) {
  Experiment& row = e.edit(id);
  if (row.deleting) return;
  row.deleting = true;
  e.note(subject_of(e.state, "experiment", id, row), "deleting", "deleted by " + e.who);
  for (JobScheduleId schedule : ids_below(e.state.schedule_by_path, lower(path_of(e.state, row)))) {
    erase_schedule(e, schedule, "its experiment was deleted by " + e.who);
  }
  for (JobArrayId array : ids_below(e.state.array_by_path, lower(path_of(e.state, row)))) {
    delete_array(e, array, "its experiment was deleted by " + e.who);
  }
  for (JobId job : ids_below(e.state.job_by_path, lower(path_of(e.state, row)))) {
    delete_job(e, job, "its experiment was deleted by " + e.who);
  }
  if (e.state.experiments.contains(id)) vanish_if_empty(e, id);
}

void delete_workspace(Engine& e, WorkspaceId id) {
  Workspace& row = e.edit(id);
  if (row.deleting) return;
  row.deleting = true;
  e.note(subject_of(e.state, "workspace", id, row), "deleting", "deleted by " + e.who);
  const std::string path = lower(path_of(e.state, row));
  const auto clusters = ids_below(e.state.cluster_by_path, path);
  for (ExperimentId experiment : ids_below(e.state.experiment_by_path, path)) delete_experiment(e, experiment);
  for (ClusterId cluster : clusters) delete_cluster(e, cluster, "its workspace was deleted by " + e.who);
  // By now the workspace may be gone: then it had none.
  delete_file_servers(e, path, "its workspace was deleted by " + e.who);
  if (e.state.workspaces.contains(id)) vanish_if_empty(e, id);
}

void erase_accounts(Engine& e, GroupId group) {
  for (auto it = e.state.shares.begin(); it != e.state.shares.end();) {
    const Account& account = e.state.accounts.at(it->second.account);
    if (account.group == group) {
      e.state.share_by_path.erase(path_key({account.name, it->second.name}));
      e.shares.erase(it->first);
      it = e.state.shares.erase(it);
    } else {
      ++it;
    }
  }
  for (auto it = e.state.accounts.begin(); it != e.state.accounts.end();) {
    if (it->second.group == group) {
      e.state.account_by_name.erase(lower(it->second.name));
      e.accounts.erase(it->first);
      it = e.state.accounts.erase(it);
    } else {
      ++it;
    }
  }
}

}  // namespace

void vanish_if_empty(Engine& e, ExperimentId id) {
  const Experiment& row = e.state.experiments.at(id);
  const std::string path = lower(path_of(e.state, row));
  if (!row.deleting || has_below(e.state.job_by_path, path) || has_below(e.state.array_by_path, path)) return;
  const WorkspaceId workspace = row.workspace;
  e.note(subject_of(e.state, "experiment", id, row), "deleted", "");
  e.state.experiment_by_path.erase(path);
  e.state.experiments.erase(id);
  e.experiments.erase(id);
  vanish_if_empty(e, workspace);
}

void vanish_if_empty(Engine& e, WorkspaceId id) {
  const Workspace& row = e.state.workspaces.at(id);
  const std::string path = lower(path_of(e.state, row));
  if (!row.deleting || has_below(e.state.experiment_by_path, path) || has_below(e.state.cluster_by_path, path) ||
      has_below(e.state.file_server_by_path, path)) {
    return;
  }
  const GroupId group = row.group;
  e.note(subject_of(e.state, "workspace", id, row), "deleted", "");
  e.state.workspace_by_path.erase(path);
  e.state.workspaces.erase(id);
  e.workspaces.erase(id);
  forget_reservations_of(e, id);
  for (auto spent = e.state.spent.lower_bound({id, ""});
       spent != e.state.spent.end() && spent->first.workspace == id;) {
    e.spent.erase(spent->first);
    spent = e.state.spent.erase(spent);
  }
  vanish_if_empty(e, group);
}

void vanish_if_empty(Engine& e, GroupId id) {
  const Group& row = e.state.groups.at(id);
  const std::string path = lower(row.name);
  if (!row.deleting || has_below(e.state.workspace_by_path, path)) return;
  erase_accounts(e, id);
  e.note(subject_of(e.state, "group", id, row), "deleted", "its accounts are forgotten; their files stay");
  e.state.group_by_path.erase(path);
  e.state.groups.erase(id);
  e.groups.erase(id);
}

Result<Subject> apply(Engine& e, const CreateGroup& c) {
  if (auto existing = e.state.group_by_path.find(path_key({c.name})); existing != e.state.group_by_path.end()) {
    const Group& group = e.state.groups.at(existing->second);
    if (group.deleting) return being_deleted("group " + group.name);
    if (group.location == c.location && group.tags == c.tags) return Subject{Subject::Kind::group, group.id.value};
    return Error{Code::already_exists, "group " + group.name + " exists already with another location or other tags"};
  }
  Group group{{e.next_id()}, c.name, c.location, c.tags, e.now};
  const GroupId id = group.id;
  e.state.group_by_path.emplace(path_key({c.name}), id);
  e.state.groups.emplace(id, std::move(group));
  e.note(subject_of(e.state, "group", id, e.edit(id)), "created", "");
  return Subject{Subject::Kind::group, id.value};
}

Result<Subject> apply(Engine& e, const UpdateGroup& c) {
  auto id = find_group(e.state, c.name);
  if (!id.ok()) return id.error();
  if (e.state.groups.at(*id).deleting) return being_updated("group " + c.name);
  if (e.state.groups.at(*id).tags != c.tags) {
    e.edit(*id).tags = c.tags;
    e.note(subject_of(e.state, "group", *id, e.state.groups.at(*id)), "tags replaced", "");
  }
  return Subject{Subject::Kind::group, id->value};
}

Result<Subject> apply(Engine& e, const DeleteGroup& c) {
  auto id = find_group(e.state, c.name);
  if (!id.ok()) return id.error();
  Group& group = e.edit(*id);
  if (group.deleting) return Subject{};
  group.deleting = true;
  e.note(subject_of(e.state, "group", *id, group), "deleting", "deleted by " + e.who);
  for (WorkspaceId workspace : ids_below(e.state.workspace_by_path, lower(group.name))) delete_workspace(e, workspace);
  if (e.state.groups.contains(*id)) vanish_if_empty(e, *id);
  return Subject{};
}

Result<Subject> apply(Engine& e, const CreateWorkspace& c) {
  auto group_id = find_group(e.state, c.ref.group);
  if (!group_id.ok()) return group_id.error();
  const Group& group = e.state.groups.at(*group_id);
  const std::string location = c.location.empty() ? group.location : c.location;
  const std::string key = path_key({c.ref.group, c.ref.workspace});
  if (auto existing = e.state.workspace_by_path.find(key); existing != e.state.workspace_by_path.end()) {
    const Workspace& row = e.state.workspaces.at(existing->second);
    if (row.deleting) return being_deleted("workspace " + row.name);
    if (row.location == location && row.tags == c.tags) return Subject{Subject::Kind::workspace, row.id.value};
    return Error{Code::already_exists, "workspace " + row.name + " exists already in group " + group.name +
                                           " with another location or other tags"};
  }
  if (group.deleting) return parent_deleted("group " + group.name);
  Workspace row{{e.next_id()}, *group_id, c.ref.workspace, location, c.tags, e.now};
  const WorkspaceId id = row.id;
  e.state.workspace_by_path.emplace(key, id);
  e.state.workspaces.emplace(id, std::move(row));
  e.note(subject_of(e.state, "workspace", id, e.edit(id)), "created", "");
  return Subject{Subject::Kind::workspace, id.value};
}

Result<Subject> apply(Engine& e, const UpdateWorkspace& c) {
  auto id = find_workspace(e.state, c.ref.group, c.ref.workspace);
  if (!id.ok()) return id.error();
  if (e.state.workspaces.at(*id).deleting) return being_updated("workspace " + c.ref.workspace);
  if (e.state.workspaces.at(*id).tags != c.tags) {
    e.edit(*id).tags = c.tags;
    e.note(subject_of(e.state, "workspace", *id, e.state.workspaces.at(*id)), "tags replaced", "");
  }
  return Subject{Subject::Kind::workspace, id->value};
}

namespace {

std::string quota_text(const Quota& quota) {
  const auto or_none = [](std::uint32_t gpus) { return gpus == 0 ? std::string("none") : std::to_string(gpus); };
  return "limit " + or_none(quota.limit) + ", guaranteed " + or_none(quota.guaranteed) + ", weight " +
         std::to_string(quota.weight);
}

}  // namespace

Result<Subject> apply(Engine& e, const SetQuota& c) {
  auto id = find_workspace(e.state, c.ref.group, c.ref.workspace);
  if (!id.ok()) return id.error();
  if (e.state.workspaces.at(*id).deleting) return being_updated("workspace " + c.ref.workspace);
  if (c.quota.weight == 0) return Error{Code::invalid_argument, "quota.weight: must be at least 1"};
  if (c.quota.limit != 0 && c.quota.guaranteed > c.quota.limit) {
    return Error{Code::invalid_argument, "quota.guaranteed: is more than quota.limit"};
  }
  if (const Quota before = e.state.workspaces.at(*id).quota; before != c.quota) {
    e.edit(*id).quota = c.quota;
    e.wake_plan = true;
    e.note(subject_of(e.state, "workspace", *id, e.state.workspaces.at(*id)), "quota: " + quota_text(c.quota),
           "was: " + quota_text(before));
  }
  return Subject{Subject::Kind::workspace, id->value};
}

Result<Subject> apply(Engine& e, const DeleteWorkspace& c) {
  auto id = find_workspace(e.state, c.ref.group, c.ref.workspace);
  if (!id.ok()) return id.error();
  delete_workspace(e, *id);
  return Subject{};
}

Result<Subject> apply(Engine& e, const CreateExperiment& c) {
  auto workspace = find_workspace(e.state, c.ref.group, c.ref.workspace);
  if (!workspace.ok()) return workspace.error();
  const std::string key = path_key({c.ref.group, c.ref.workspace, c.ref.experiment});
  if (auto existing = e.state.experiment_by_path.find(key); existing != e.state.experiment_by_path.end()) {
    const Experiment& row = e.state.experiments.at(existing->second);
    if (row.deleting) return being_deleted("experiment " + row.name);
    return Subject{Subject::Kind::experiment, row.id.value};
  }
  if (e.state.workspaces.at(*workspace).deleting) return parent_deleted("workspace " + c.ref.workspace);
  Experiment row{{e.next_id()}, *workspace, c.ref.experiment, e.now};
  const ExperimentId id = row.id;
  e.state.experiment_by_path.emplace(key, id);
  e.state.experiments.emplace(id, std::move(row));
  e.note(subject_of(e.state, "experiment", id, e.edit(id)), "created", "");
  return Subject{Subject::Kind::experiment, id.value};
}

Result<Subject> apply(Engine& e, const DeleteExperiment& c) {
  auto id = find_experiment(e.state, c.ref);
  if (!id.ok()) return id.error();
  delete_experiment(e, *id);
  return Subject{};
}

}  // namespace trainyard::core
