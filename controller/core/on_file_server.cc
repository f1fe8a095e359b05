// File servers: users' names for NFS exports. A registered one is a row and nothing else. One that Trainyard makes is
// ordered from a storage node; its row outlives its deletion until the node says that nothing of it is left.
#include <algorithm>

#include "controller/core/engine.h"
#include "controller/core/volumes.h"

namespace trainyard::core {

const char* name_of(Provisioning state) {
  switch (state) {
    case Provisioning::creating:
      return "creating";
    case Provisioning::succeeded:
      return "succeeded";
    case Provisioning::failed:
      return "failed";
    case Provisioning::deleting:
      return "deleting";
  }
  return "?";
}

namespace {

// Nodes that are set up from now on mount it where it is now.
void tell_clusters(Engine& e, const FileServer& row) {
  const std::string path = path_of(e.state, row);
  for (const auto& [id, cluster] : e.state.clusters) {
    const bool uses = std::any_of(cluster.volumes.begin(), cluster.volumes.end(),
                                  [&](const Volume& volume) { return volume.file_server == path; });
    if (uses) e.state.setups[id] = setup_of(e.state, cluster);
  }
}

std::string subject_of(const State& state, const FileServer& row) {
  return "file-server:" + std::to_string(row.id.value) + " " + path_of(state, row);
}

FileServer& edit(Engine& e, FileServerId id) {
  e.file_servers.change(id);
  return e.state.file_servers.at(id);
}

void move(Engine& e, FileServer& row, Provisioning state, const std::string& why) {
  e.note(subject_of(e.state, row), std::string(name_of(row.state)) + " -> " + name_of(state), why);
  row.state = state;
  row.state_changed_ms = e.now;
}

void erase_file_server(Engine& e, FileServerId id, const std::string& why) {
  const FileServer& row = e.state.file_servers.at(id);
  const WorkspaceId workspace = row.workspace;
  e.note(subject_of(e.state, row), "deleted", why);
  if (auto served = e.state.node_file_servers.find(row.node); served != e.state.node_file_servers.end()) {
    served->second.erase(id);
    if (served->second.empty()) e.state.node_file_servers.erase(served);
  }
  if (auto node = e.state.node_by_name.find(row.node); node != e.state.node_by_name.end()) e.bump(node->second);
  e.state.file_server_by_path.erase(lower(path_of(e.state, row)));
  const FileServer gone = row;
  e.state.file_servers.erase(id);
  e.file_servers.erase(id);
  tell_clusters(e, gone);
  vanish_if_empty(e, workspace);
}

void delete_file_server(Engine& e, FileServerId id, const std::string& why) {
  const FileServer& before = e.state.file_servers.at(id);
  if (before.node.empty()) return erase_file_server(e, id, why + "; the export and its files stay");
  if (before.state == Provisioning::deleting) return;
  FileServer& row = edit(e, id);
  row.error.clear();
  move(e, row, Provisioning::deleting, why + "; its files on " + row.node + " are removed");
  // A node that this controller does not know (any more) hears it when it joins.
  if (auto node = e.state.node_by_name.find(row.node); node != e.state.node_by_name.end()) e.bump(node->second);
}

void take_file_server(Engine& e, FileServerId id, const FileServerReport& report) {
  const FileServer& before = e.state.file_servers.at(id);
  const std::string why = "node " + before.node + (report.error_message.empty() ? "" : ": ") + report.error_message;
  if (before.state == Provisioning::deleting) {
    if (before.error != report.error_message) edit(e, id).error = report.error_message;
    return;
  }
  if (report.state == FileServerState::failed) {
    if (before.state == Provisioning::failed && before.error == report.error_message) return;
    FileServer& row = edit(e, id);
    row.error = report.error_message;
    return move(e, row, Provisioning::failed, why);
  }
  // While it starts, what was known before stays true: a restarted agent looks for the server that runs.
  if (report.state != FileServerState::serving) return;
  const bool same = before.address == report.address && before.export_path == report.export_path &&
                    before.port == report.port && before.state == Provisioning::succeeded;
  if (same) return;
  FileServer& row = edit(e, id);
  row.address = report.address;
  row.export_path = report.export_path;
  row.port = report.port;
  row.error.clear();
  move(e, row, Provisioning::succeeded,
       why + " serves it at " + row.address + ":" + row.export_path + ", port " + std::to_string(row.port));
  tell_clusters(e, row);
}

// The storage node with the fewest file servers, the first by name among equals.
Result<std::string> choose_node(const State& state, const std::string& file_server) {
  std::string chosen, unfit;
  std::size_t fewest = 0;
  for (const auto& [name, id] : state.node_by_name) {
    const Node& node = state.nodes.at(id);
    const std::string& software = node.inventory.file_server_software;
    if (software.empty()) continue;
    std::string problem;
    if (!node.inventory.serves_files()) problem = software.substr(software.find(' ') + 1);
    if (!node.live.seen || !node.live.reachable) problem = "does not answer";
    if (!problem.empty()) {
      unfit += (unfit.empty() ? " (" : "; ") + name + ": " + problem;
      continue;
    }
    const auto served = state.node_file_servers.find(name);
    const std::size_t count = served == state.node_file_servers.end() ? 0 : served->second.size();
    if (!chosen.empty() && count >= fewest) continue;
    chosen = name;
    fewest = count;
  }
  if (!chosen.empty()) return chosen;
  return Error{
      Code::failed_precondition,
      "file server " + file_server +
          " can neither be found nor made: \"file_servers\" in the controller's configuration has no export of "
          "that name, and no storage node can make one" +
          unfit + (unfit.empty() ? "" : ")") + ". Add {\"name\":\"" + file_server +
          "\",\"address\":\"10.0.0.5\",\"export\":\"/a/directory/of/it\"} to the former, or set "
          "file_server_directory in the configuration of an agent whose machine has nfs-ganesha"};
}

}  // namespace

void delete_file_servers(Engine& e, const std::string& workspace_path, const std::string& why) {
  for (FileServerId id : ids_below(e.state.file_server_by_path, workspace_path)) delete_file_server(e, id, why);
}

void take_file_servers(Engine& e, NodeId id, const Report& report) {
  const Node& node = e.state.nodes.at(id);
  const auto served = e.state.node_file_servers.find(node.name);
  if (served == e.state.node_file_servers.end() || report.sequence < node.live.sequence) return;
  std::set<FileServerId> gone;
  // Absence counts only from a node that knows its newest orders: before, it may not have heard of it yet.
  if (report.orders_revision == node.revision) gone = served->second;
  for (const FileServerReport& said : report.file_servers) {
    const FileServerId server{said.id};
    gone.erase(server);
    if (served->second.contains(server)) take_file_server(e, server, said);
  }
  for (FileServerId server : gone) {
    if (e.state.file_servers.at(server).state != Provisioning::deleting) continue;
    erase_file_server(e, server, "nothing of it is left on node " + node.name);
  }
}

void forget_file_servers(Engine& e, NodeId id, const std::string& why) {
  const auto served = e.state.node_file_servers.find(e.state.nodes.at(id).name);
  if (served == e.state.node_file_servers.end()) return;
  const std::set<FileServerId> ids = served->second;
  for (FileServerId server : ids) {
    const FileServer& row = e.state.file_servers.at(server);
    if (row.state == Provisioning::deleting) erase_file_server(e, server, why + "; its files stay on the node's disk");
  }
}

Result<Subject> apply(Engine& e, const CreateFileServer& c) {
  auto workspace = find_workspace(e.state, c.ref.group, c.ref.workspace);
  if (!workspace.ok()) return workspace.error();
  const std::string key = path_key({c.ref.group, c.ref.workspace, c.ref.file_server});
  if (auto existing = e.state.file_server_by_path.find(key); existing != e.state.file_server_by_path.end()) {
    const FileServer& row = e.state.file_servers.at(existing->second);
    if (row.state == Provisioning::deleting) {
      return Error{Code::already_exists, "file server " + row.name + " is being deleted; wait until it is gone"};
    }
    if (row.spec == c.spec) return Subject{Subject::Kind::file_server, row.id.value};
    return Error{Code::already_exists, "file server " + row.name + " exists already in workspace " + c.ref.workspace +
                                           " with another definition"};
  }
  if (e.state.workspaces.at(*workspace).deleting) {
    return Error{Code::failed_precondition, "workspace " + c.ref.workspace + " is being deleted"};
  }
  FileServer row{{}, *workspace, c.ref.file_server, c.spec, c.address, c.export_path, e.now};
  row.state_changed_ms = e.now;
  if (c.address.empty()) {
    auto node = choose_node(e.state, c.ref.file_server);
    if (!node.ok()) return node.error();
    row.node = *node;
    row.state = Provisioning::creating;
    e.bump(e.state.node_by_name.at(row.node));
  }
  const FileServerId id = row.id = {e.next_id()};
  e.note(subject_of(e.state, row), "created",
         row.node.empty() ? "for " + c.address + ":" + c.export_path : "to be made on node " + row.node);
  if (!row.node.empty()) e.state.node_file_servers[row.node].insert(id);
  e.state.file_server_by_path.emplace(key, id);
  e.state.file_servers.emplace(id, std::move(row));
  e.file_servers.change(id);
  return Subject{Subject::Kind::file_server, id.value};
}

Result<Subject> apply(Engine& e, const DeleteFileServer& c) {
  auto id = find_file_server(e.state, c.ref);
  if (!id.ok()) return id.error();
  const std::string path = path_of(e.state, e.state.file_servers.at(*id));
  const auto users = users_of(e.state, [&](const Volume& volume) { return volume.file_server == path; });
  if (!users.empty()) {
    return Error{Code::failed_precondition, "file server " + path + " is mounted by " + listed(users) +
                                                ": end the jobs and delete the clusters first; nothing was removed"};
  }
  delete_file_server(e, *id, "deleted by " + e.who);
  return Subject{};
}

}  // namespace trainyard::core
