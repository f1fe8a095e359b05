#include "controller/edge/fill.h"

namespace trainyard::controller {
namespace {

template <class Map, class Key>
const auto* row_of(const Map& map, Key key) {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : &found->second;
}

}  // namespace

grpc::Status gone() {
  return {grpc::StatusCode::NOT_FOUND, "what this request made has been deleted since"};
}

bool show(const core::State& state, GroupId id, v1::Group& message) {
  const auto* row = row_of(state.groups, id);
  if (row) to_proto(*row, message);
  return row != nullptr;
}

bool show(const core::State& state, WorkspaceId id, v1::Workspace& message) {
  const auto* row = row_of(state.workspaces, id);
  const auto* group = row ? row_of(state.groups, row->group) : nullptr;
  if (row) {
    to_proto(*row, group ? group->name : "", message);
    message.set_gpus(core::gpus_held(state, id));
  }
  return row != nullptr;
}

bool show(const core::State& state, ExperimentId id, v1::Experiment& message) {
  const auto* row = row_of(state.experiments, id);
  if (row == nullptr) return false;
  const auto* workspace = row_of(state.workspaces, row->workspace);
  const auto* group = workspace ? row_of(state.groups, workspace->group) : nullptr;
  to_proto(*row, {group ? group->name : "", workspace ? workspace->name : ""}, message);
  return true;
}

bool show(const core::State& state, ClusterId id, v1::Cluster& message) {
  const auto* row = row_of(state.clusters, id);
  if (row) to_proto(core::view(state, *row), message);
  return row != nullptr;
}

bool show(const core::State& state, JobId id, v1::Job& message) {
  const auto* row = row_of(state.jobs, id);
  if (row) to_proto(core::view(state, *row), message);
  return row != nullptr;
}

bool show(const core::State& state, JobArrayId id, v1::JobArray& message) {
  const auto* row = row_of(state.arrays, id);
  if (row) to_proto(core::view(state, *row), message);
  return row != nullptr;
}

bool show(const core::State& state, JobScheduleId id, v1::JobSchedule& message) {
  const auto* row = row_of(state.schedules, id);
  if (row) to_proto(core::view(state, *row), message);
  return row != nullptr;
}

bool show(const core::State& state, AccountId id, v1::Account& message) {
  const auto* row = row_of(state.accounts, id);
  const auto* group = row ? row_of(state.groups, row->group) : nullptr;
  if (row) to_proto(*row, group ? group->name : "", message);
  return row != nullptr;
}

bool show(const core::State& state, ShareId id, v1::Share& message) {
  const auto* row = row_of(state.shares, id);
  const auto* account = row ? row_of(state.accounts, row->account) : nullptr;
  if (row) to_proto(*row, account ? account->name : "", message);
  return row != nullptr;
}

bool show(const core::State& state, FileServerId id, v1::FileServer& message) {
  const auto* row = row_of(state.file_servers, id);
  if (row) to_proto(core::view(state, *row), message);
  return row != nullptr;
}

bool show(const core::State& state, NodeId id, TimeMs now_ms, v1::Node& message) {
  const auto* row = row_of(state.nodes, id);
  if (row) to_proto(core::view(state, *row, now_ms), message);
  return row != nullptr;
}

}  // namespace trainyard::controller
