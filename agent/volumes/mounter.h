// Makes a volume appear at a path of this node and go away again; one implementation per kind of Volume behind it: a
// local directory, a server's files (one mount per node and volume, shared by its users), a user's command. Everything
// happens in helper processes with deadlines: the agent never touches a mount. Loop thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/model.h"
#include "common/result.h"

namespace trainyard::agent {

struct MountSettings {
  std::string file_mode = "0777", directory_mode = "0777";  // for kinds whose files have no modes of their own
};

// Where the mounts that jobs share are, and what belongs to them; each is a directory of this purpose only.
struct MountPlaces {
  std::string work;    // the mounts
  std::string spool;   // their supervisors' and caches
  std::string run;     // in memory: configuration with keys
  std::string cgroup;  // of their processes
  std::string shim_program;
};

class Mounter {
 public:
  using Done = std::function<void(Status)>;
  virtual ~Mounter() = default;
  // Mounts and verifies by a real read. An error of Code::deadline_exceeded or unavailable is the machines' fault, any
  // other the user's. Mounting what is mounted there already is fine.
  // `credential`: the user's key or password, or nothing; it reaches the helper by its standard input.
  virtual void mount(const Volume& volume, const std::string& target, const MountSettings& settings,
                     const std::string& credential, DurationMs deadline_ms, Done done) = 0;
  // Detaches whatever is mounted at `target`; fine when nothing is.
  virtual void unmount(const Volume& volume, const std::string& target, DurationMs deadline_ms, Done done) = 0;
  // Lists `target`. When it does not answer, what waits for it is set free with an error.
  virtual void check(const std::string& target, DurationMs deadline_ms, Done done) = 0;
  // Takes away shared mounts that nobody uses (of an earlier life of the agent).
  virtual void sweep(DurationMs deadline_ms, Done done) = 0;
};

// The mounter for all kinds: picks the implementation by volume.kind. `helper_argv` = the words that start a helper
// ({".../trainyard-helper"}).
std::unique_ptr<Mounter> make_mounter(boost::asio::io_context& io, std::vector<std::string> helper_argv,
                                      MountPlaces places);

// Mount points strictly below or at `prefix`, deepest first, from /proc/self/mountinfo: what a restarted agent finds,
// and what must be empty before "mounts are gone" is said. Never touches the mounts.
std::vector<std::string> mounts_under(const std::string& prefix);

}  // namespace trainyard::agent
