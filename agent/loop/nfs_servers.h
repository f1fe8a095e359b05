// Carries out the core's ServeFiles, RemoveFileServer and EndOtherFileServers. Loop thread only; outcomes come through
// `Events`, never from inside a call.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>

#include "agent/loop/nfs_server.h"

namespace trainyard::agent {

class NfsServers {
 public:
  struct Events {
    std::function<void(FileServerUp)> up;
    std::function<void(FileServerDown)> down;
    std::function<void(FileServerRemoved)> removed;
  };
  NfsServers(ExecutorContext& context, Events events) : x_context(context), x_events(std::move(events)) {}

  void serve(const FileServerOrder& order);
  void remove(const FileServerOrder& order);
  void end_others(const std::set<std::uint64_t>& ordered);

 private:
  std::shared_ptr<NfsServer> server(std::uint64_t id);
  void end(std::uint64_t id, bool remove, std::function<void()> done);

  ExecutorContext& x_context;
  Events x_events;
  std::map<std::uint64_t, std::shared_ptr<NfsServer>> x_servers;
  std::set<std::uint64_t> x_ending;                            // of x_servers: until nothing runs of them
  std::map<std::uint64_t, std::function<void()>> x_after_end;  // what was ordered of them meanwhile
};

}  // namespace trainyard::agent
