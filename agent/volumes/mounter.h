// Makes a volume appear at a path of this node and go away again; one implementation per Volume::Kind behind it (a
// local directory now; NFS, SMB, S3 fit the same calls). Everything happens in helper processes with deadlines: the
// agent never touches a mount. Loop thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/model.h"
#include "common/result.h"

namespace trainyard::agent {

struct MountModes {
  std::string file_mode = "0777", directory_mode = "0777";  // for kinds whose files have no modes of their own
};

class Mounter {
 public:
  using Done = std::function<void(Status)>;
  virtual ~Mounter() = default;
  // Mounts and verifies by a real read. An error of Code::deadline_exceeded or unavailable is the machines' fault, any
  // other the user's. Mounting what is mounted there already is fine.
  virtual void mount(const Volume& volume, const std::string& target, const MountModes& modes, DurationMs deadline_ms,
                     Done done) = 0;
  // Detaches whatever is mounted at `target`; fine when nothing is.
  virtual void unmount(const Volume& volume, const std::string& target, DurationMs deadline_ms, Done done) = 0;
};

// The mounter for all kinds: picks the implementation by volume.kind. `helper_argv` = the words that start a helper
// ({".../trainyard-helper"}).
std::unique_ptr<Mounter> make_mounter(boost::asio::io_context& io, std::vector<std::string> helper_argv);

// Mount points strictly below or at `prefix`, deepest first, from /proc/self/mountinfo: what a restarted agent finds,
// and what must be empty before "mounts are gone" is said. Never touches the mounts.
std::vector<std::string> mounts_under(const std::string& prefix);

}  // namespace trainyard::agent
