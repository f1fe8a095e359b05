#include "agent/exec/lease_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace trainyard::agent {

Result<LeaseFile> LeaseFile::open(const std::string& path) {
  LeaseFile lease;
  lease.x_file = UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!lease.x_file.valid()) return system_error("cannot open " + path, errno);
  return lease;
}

Status LeaseFile::write(TimeMs acknowledged_send_ms) {
  if (acknowledged_send_ms == x_written) return {};
  // One aligned word: a reader sees the old one or the new one.
  if (::pwrite(x_file.get(), &acknowledged_send_ms, sizeof acknowledged_send_ms, 0) != sizeof acknowledged_send_ms) {
    return system_error("cannot write the lease", errno);
  }
  x_written = acknowledged_send_ms;
  return {};
}

std::optional<TimeMs> read_lease_file(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  TimeMs time = 0;
  if (!file.valid() || ::pread(file.get(), &time, sizeof time, 0) != sizeof time) return std::nullopt;
  return time;
}

}  // namespace trainyard::agent
