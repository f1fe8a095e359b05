// fork() whose child is born in a cgroup. Moving a running process into one takes a lock over all processes of the
// machine, 10 to 20 ms on an idle one; being born there (clone3, Linux 5.7) takes none. For single-threaded programs.
#pragma once

#include <sys/types.h>

#include <string>

namespace trainyard::agent {

struct Forked {
  pid_t pid = -1;          // as of fork(): 0 in the child, -1 and errno when it failed
  bool in_cgroup = false;  // both sides: the child is in the cgroup; otherwise it still has to join
};

// `cgroup` is the absolute path of a cgroup2 directory; empty, missing or not understood by the kernel: a plain fork.
// A cgroup that was killed ends whatever is born in it at once, as it should.
Forked fork_into(const std::string& cgroup);

}  // namespace trainyard::agent
