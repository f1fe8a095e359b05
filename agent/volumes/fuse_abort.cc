#include "agent/volumes/fuse_abort.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <set>

#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

constexpr const char* kConnections = "/sys/fs/fuse/connections";
constexpr long kFuseControlMagic = 0x65735543;

Status make_control_visible() {
  struct statfs about {};
  if (::statfs(kConnections, &about) == 0 && about.f_type == kFuseControlMagic) return {};
  if (::mount("fusectl", kConnections, "fusectl", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0) return {};
  return system_error(std::string("cannot mount fusectl at ") + kConnections, errno);
}

}  // namespace

std::optional<unsigned> connection_of(const std::string& device) {
  if (!device.starts_with("0:")) return std::nullopt;
  return static_cast<unsigned>(std::strtoul(device.c_str() + 2, nullptr, 10));
}

std::vector<FuseMount> fuse_mounts_under(const std::string& prefix) {
  std::vector<FuseMount> found;
  const auto mounts = mount_table();
  if (!mounts) return found;
  for (const MountEntry& mount : *mounts) {
    // "fuse", "fuse.sshfs", "fuseblk"; not "fusectl", which only describes them.
    if (mount.type != "fuse" && mount.type != "fuseblk" && !mount.type.starts_with("fuse.")) continue;
    if (mount.point != prefix && !mount.point.starts_with(prefix + "/")) continue;
    if (const auto connection = connection_of(mount.device)) found.push_back({mount.point, *connection});
  }
  return found;
}

Status abort_fuse(unsigned connection) {
  if (auto visible = make_control_visible(); !visible) return visible;
  const std::string path = std::string(kConnections) + "/" + std::to_string(connection) + "/abort";
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return errno == ENOENT ? Status() : Status(system_error("cannot open " + path, errno));
  if (::write(file.get(), "1", 1) != 1) return system_error("cannot write to " + path, errno);
  return {};
}

std::vector<std::string> abort_fuse_under(const std::string& prefix) {
  std::vector<std::string> aborted;
  std::set<unsigned> done;
  for (const FuseMount& mount : fuse_mounts_under(prefix)) {
    if (done.contains(mount.connection)) continue;
    if (!abort_fuse(mount.connection)) continue;
    done.insert(mount.connection);
    aborted.push_back(mount.mount_point);
  }
  return aborted;
}

}  // namespace trainyard::agent
