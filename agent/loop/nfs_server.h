// One file server of this storage node: its directory DIR/<id> (server.json: what it is; data/: the files), and an
// nfs-ganesha of its own under a shim, in a cgroup of its own. The server outlives the agent; a restarted agent takes
// up the one that runs. Loop thread only; outcomes come through `Events`, never from inside a call.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/exec/shim.h"
#include "agent/loop/cleaner.h"
#include "agent/loop/nfs_ping.h"
#include "agent/loop/place.h"

namespace trainyard::agent {

// What DIR/<id>/server.json says. The files belong to the file server of that name: to no other one that has its number
// (of another controller's database, say).
struct ServerRecord {
  std::string name;
  std::uint64_t capacity_bytes = 0;
  std::uint32_t port = 0;  // kept for its life: clients know it
};
Result<ServerRecord> read_server_record(const std::string& directory);

// What runs of file servers here, whether or not anybody wants it.
std::vector<std::uint64_t> file_servers_running(const ExecutorContext& context);

class NfsServer : public std::enable_shared_from_this<NfsServer> {
 public:
  struct Events {
    std::function<void(FileServerUp)> up;
    std::function<void(FileServerDown)> down;  // also when it cannot be started
  };
  NfsServer(ExecutorContext& context, std::uint64_t id, Events events);

  // Makes what is missing, starts the server or takes up the one that runs; says again that it is up when it is.
  void serve(const FileServerOrder& order);
  // May its files be removed? Not those of another file server, nor those of a disk that is not there now.
  Status check_removable(const FileServerOrder& order) const;
  // Ends the server; with `remove`, its files go too. `done` when nothing is left of it; no event comes after this
  // call.
  void end(bool remove, std::function<void()> done);

 private:
  Status prepare(const FileServerOrder& order);
  Status make(const FileServerOrder& order);
  void clean_then(std::function<void()> next, bool remove);
  void start();
  Status start_process();
  void watch();
  void tell_up();
  void ended(const ShimObservation& seen);
  void down(const std::string& error);
  void end_now();

  ExecutorContext& x_context;
  const std::uint64_t x_id;
  Events x_events;
  const std::string x_directory, x_data, x_spool, x_run;
  ServerRecord x_record;
  bool x_busy = false;  // on the way up, or up
  bool x_up = false;
  bool x_cleaning = false;
  bool x_remove = false;
  std::function<void()> x_ending;  // end() was called: what runs when all is gone
  std::unique_ptr<ShimWatch> x_watch;
  std::shared_ptr<NfsPing> x_ping;
};

}  // namespace trainyard::agent
