// What users are shown of a file server.
#include "controller/core/engine.h"
#include "controller/core/view.h"

namespace trainyard::core {

namespace {

std::string why_not_serving(const State& state, const FileServer& row) {
  if (row.node.empty()) return "";
  std::string silent;
  const auto node = state.node_by_name.find(row.node);
  if (node == state.node_by_name.end()) {
    silent = "storage node " + row.node + " has not joined this controller";
  } else if (const Node::Live& live = state.nodes.at(node->second).live; !live.reachable) {
    silent = "storage node " + row.node + " does not answer since " + clock_time(live.last_report_ms);
  }
  switch (row.state) {
    case Provisioning::creating:
      return silent.empty() ? "storage node " + row.node + " makes it" : silent + ": it is made when the node is back";
    case Provisioning::succeeded:
      return silent.empty() ? "" : silent + ": its files may be out of reach";
    case Provisioning::failed:
      return "storage node " + row.node + ": " + row.error;
    case Provisioning::deleting:
      if (silent.empty()) {
        return "storage node " + row.node + " removes its files" + (row.error.empty() ? "" : ": " + row.error);
      }
      return silent +
             ": its files are removed when the node is back; when it is off for good, `trainyard node fence -n " +
             row.node + " --confirmed-off` forgets it";
  }
  return "";
}

}  // namespace

FileServerView view(const State& state, const FileServer& row) {
  FileServerView out;
  out.row = row;
  const Workspace& workspace = state.workspaces.at(row.workspace);
  out.workspace = workspace.name;
  out.group = state.groups.at(workspace.group).name;
  out.provisioning_state = name_of(row.state);
  out.reason = why_not_serving(state, row);
  return out;
}

}  // namespace trainyard::core
