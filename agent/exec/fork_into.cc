#include "agent/exec/fork_into.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/exec/files.h"

namespace trainyard::agent {

Forked fork_into(const std::string& cgroup) {
  if (!cgroup.empty()) {
    const UniqueFd directory(::open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory.valid()) {
      clone_args how{};
      how.flags = CLONE_INTO_CGROUP;
      how.exit_signal = SIGCHLD;
      how.cgroup = static_cast<__u64>(directory.get());
      const long pid = ::syscall(SYS_clone3, &how, sizeof how);
      if (pid >= 0) return {static_cast<pid_t>(pid), true};
    }
  }
  return {::fork(), false};
}

}  // namespace trainyard::agent
