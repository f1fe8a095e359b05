// File servers: users' names for NFS exports of the operator. Nothing is made or removed on any machine.
#include "controller/core/engine.h"

namespace trainyard::core {
namespace {

void erase_file_server(Engine& e, FileServerId id, const std::string& why) {
  const FileServer& row = e.state.file_servers.at(id);
  const std::string path = path_of(e.state, row);
  e.note("file-server:" + std::to_string(id.value) + " " + path, "deleted", why);
  e.state.file_server_by_path.erase(lower(path));
  e.state.file_servers.erase(id);
  e.file_servers.erase(id);
}

}  // namespace

void erase_file_servers(Engine& e, const std::string& workspace_path, const std::string& why) {
  for (FileServerId id : ids_below(e.state.file_server_by_path, workspace_path)) erase_file_server(e, id, why);
}

Result<Subject> apply(Engine& e, const CreateFileServer& c) {
  auto workspace = find_workspace(e.state, c.ref.group, c.ref.workspace);
  if (!workspace.ok()) return workspace.error();
  const std::string key = path_key({c.ref.group, c.ref.workspace, c.ref.file_server});
  if (auto existing = e.state.file_server_by_path.find(key); existing != e.state.file_server_by_path.end()) {
    const FileServer& row = e.state.file_servers.at(existing->second);
    if (row.spec == c.spec) return Subject{Subject::Kind::file_server, row.id.value};
    return Error{Code::already_exists, "file server " + row.name + " exists already in workspace " + c.ref.workspace +
                                           " with another definition"};
  }
  if (e.state.workspaces.at(*workspace).deleting) {
    return Error{Code::failed_precondition, "workspace " + c.ref.workspace + " is being deleted"};
  }
  FileServer row{{e.next_id()}, *workspace, c.ref.file_server, c.spec, c.address, c.export_path, e.now};
  const FileServerId id = row.id;
  e.note("file-server:" + std::to_string(id.value) + " " + path_of(e.state, row), "created",
         "for " + c.address + ":" + c.export_path);
  e.state.file_server_by_path.emplace(key, id);
  e.state.file_servers.emplace(id, std::move(row));
  e.file_servers.change(id);
  return Subject{Subject::Kind::file_server, id.value};
}

Result<Subject> apply(Engine& e, const DeleteFileServer& c) {
  auto id = find_file_server(e.state, c.ref);
  if (!id.ok()) return id.error();
  erase_file_server(e, *id, "deleted by " + e.who + "; the export and its files stay");
  return Subject{};
}

}  // namespace trainyard::core
