// Serves file operations that the controller asks of this node: each runs in a helper process; bytes are passed through
// with back-pressure both ways. Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "agent/edge/controller_link.h"
#include "agent/loop/file_mounts.h"
#include "agent/loop/place.h"

namespace trainyard::agent {

class FileServer {
 public:
  using Open = std::function<std::shared_ptr<FileStream>(const std::string& call_id, FileHandlers handlers)>;
  FileServer(ExecutorContext& context, Open open);
  ~FileServer();

  void serve(const std::string& call_id);
  // What an earlier life of the agent had mounted for file operations is taken away.
  void forget_mounts() { x_mounts.forget(); }

 private:
  class Session;
  ExecutorContext& x_context;
  Open x_open;
  FileMounts x_mounts;
  std::set<std::shared_ptr<Session>> x_sessions;
};

}  // namespace trainyard::agent
