// What the shims know of the lease: one number, the send time (CLOCK_BOOTTIME, ms) of the newest report that the
// controller acknowledged. The agent writes it at each acknowledgement, never to a disk's platter (a reboot ends the
// processes too); shims read it when a lease may be over, so that an attempt ends on time although its agent is gone.
#pragma once

#include <optional>
#include <string>

#include "agent/exec/files.h"
#include "common/result.h"
#include "common/time.h"

namespace trainyard::agent {

class LeaseFile {
 public:
  static Result<LeaseFile> open(const std::string& path);
  // Nothing is written when the time is the last one written.
  Status write(TimeMs acknowledged_send_ms);

 private:
  UniqueFd x_file;
  TimeMs x_written = 0;
};

std::optional<TimeMs> read_lease_file(const std::string& path);

}  // namespace trainyard::agent
