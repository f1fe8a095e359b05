#include "agent/exec/confine.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <vector>

namespace trainyard::agent {
namespace {

constexpr rlim_t kOpenFiles = 65'536;  // more makes programs slow that close all they might have
constexpr int kLastCapability = 63;

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#endif

constexpr int kRefused[] = {
    SYS_unshare,
    SYS_setns,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_open_tree,
    SYS_move_mount,
    SYS_fsopen,
    SYS_fsconfig,
    SYS_fsmount,
    SYS_fspick,
    SYS_mount_setattr,
    SYS_bpf,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_kexec_load,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_reboot,
    SYS_swapon,
    SYS_swapoff,
    SYS_acct,
    SYS_quotactl,
    SYS_syslog,
    SYS_open_by_handle_at,
};

sock_filter load(std::size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}
sock_filter answer(std::uint32_t value) {
  return BPF_STMT(BPF_RET | BPF_K, value);
}
// Goes on with the next when equal (any bit set), else skips it.
sock_filter if_equal(std::uint32_t value) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
}
sock_filter if_bits(std::uint32_t bits) {
  return BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
}

}  // namespace

void set_resource_limits() {
  const rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY}, none{0, 0};
  ::setrlimit(RLIMIT_MEMLOCK, &unlimited);
  ::setrlimit(RLIMIT_CORE, &none);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  const rlimit wanted{kOpenFiles, kOpenFiles};
  if (::setrlimit(RLIMIT_NOFILE, &wanted) == 0) return;
  files.rlim_cur = std::min(files.rlim_max, kOpenFiles);
  ::setrlimit(RLIMIT_NOFILE, &files);
}

std::uint64_t capabilities_of_root() {
  std::uint64_t kept = 0;
  for (const int number : {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_KILL, CAP_SETGID, CAP_SETUID,
                           CAP_NET_BIND_SERVICE, CAP_IPC_LOCK}) {
    kept |= std::uint64_t{1} << number;
  }
  return kept;
}

bool bound_capabilities(std::uint64_t kept) {
  for (int number = 0; number <= kLastCapability; ++number) {
    if ((kept >> number & 1) != 0) continue;
    if (::prctl(PR_CAPBSET_DROP, number, 0, 0, 0) == 0) continue;
    return errno == EINVAL;  // the kernel has no more
  }
  return true;
}

bool give_up_capabilities(std::uint64_t kept) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL) return false;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct now[2]{};
  if (::syscall(SYS_capget, &header, now) != 0) return false;
  for (int half = 0; half < 2; ++half) {
    const auto bits = static_cast<std::uint32_t>(kept >> (32 * half)) & now[half].permitted;
    now[half] = {bits, bits, 0};
  }
  return ::syscall(SYS_capset, &header, now) == 0;
}

bool refuse_dangerous_calls() {
  std::vector<sock_filter> program {
    load(offsetof(seccomp_data, arch)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0),
        answer(SECCOMP_RET_ERRNO | EPERM),  // another architecture's numbers (32 bit) mean other calls
        load(offsetof(seccomp_data, nr)),
#if defined(__x86_64__)
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),  // x32
        answer(SECCOMP_RET_ERRNO | EPERM),
#endif
        // Its flags are in memory, where no filter can look: who gets ENOSYS takes clone(2).
        if_equal(SYS_clone3), answer(SECCOMP_RET_ERRNO | ENOSYS),
  };
  for (const int number : kRefused) {
    program.push_back(if_equal(static_cast<std::uint32_t>(number)));
    program.push_back(answer(SECCOMP_RET_ERRNO | EPERM));
  }
  constexpr std::uint32_t kNamespaces =
      CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 0, 3));
  program.push_back(load(offsetof(seccomp_data, args)));
  program.push_back(if_bits(kNamespaces));
  program.push_back(answer(SECCOMP_RET_ERRNO | EPERM));
  program.push_back(answer(SECCOMP_RET_ALLOW));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0;
}

}  // namespace trainyard::agent
