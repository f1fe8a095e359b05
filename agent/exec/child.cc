#include "agent/exec/child.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <set>
#include <vector>

#include "agent/exec/confine.h"
#include "agent/exec/files.h"
#include "agent/exec/sandbox.h"
#include "common/cpu_list.h"

namespace trainyard::agent {
namespace {

// The job's user, verified: a process that could go back would be worse than none.
void become_user(const ShimSpec& spec) {
  if (spec.uid == 0 && spec.gid == 0 && spec.groups.empty() && !spec.confine) return;
  const std::vector<gid_t> groups(spec.groups.begin(), spec.groups.end());
  if (::setgroups(groups.size(), groups.data()) != 0 || ::setresgid(spec.gid, spec.gid, spec.gid) != 0 ||
      ::setresuid(spec.uid, spec.uid, spec.uid) != 0) {
    fail_child("cannot change to the job's user");
  }
  uid_t real = 0, effective = 0, saved = 0;
  gid_t groups_real = 0, groups_effective = 0, groups_saved = 0;
  const bool is_user = ::getresuid(&real, &effective, &saved) == 0 && real == spec.uid && effective == spec.uid &&
                       saved == spec.uid && ::getresgid(&groups_real, &groups_effective, &groups_saved) == 0 &&
                       groups_real == spec.gid && groups_effective == spec.gid && groups_saved == spec.gid;
  if (!is_user || (spec.uid != 0 && ::setuid(0) == 0)) {
    errno = EPERM;
    fail_child("still privileged after changing to the job's user");
  }
}

void set_oom_score(const ShimSpec& spec) {
  const UniqueFd score(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  // When memory is short, a job's process goes before the system's.
  const std::string value = spec.confine ? "300" : "0";
  if (score.valid()) write_fully(score.get(), value.data(), value.size());
}

}  // namespace

void fail_child(const char* what) {
  char text[512];
  const int size = std::snprintf(text, sizeof text, "%s: %s", what, std::strerror(errno));
  write_fully(kReportFd, text, static_cast<std::size_t>(std::min<int>(size, sizeof text - 1)));
  ::_exit(127);
}

void join_cgroup(const std::string& cgroup, int report) {
  if (cgroup.empty()) return;
  const UniqueFd procs(::open((cgroup + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (procs.valid() && ::write(procs.get(), "0", 1) == 1) return;
  const int error = errno;
  ::dup2(report, kReportFd);
  errno = error;
  fail_child(("cannot join cgroup " + cgroup).c_str());
}

bool keep_to_cores(int pid, const std::string& cores) {
  const std::set<std::uint32_t> cpus = parse_cpu_list(cores);
  if (cpus.empty()) return true;
  const std::size_t size = CPU_ALLOC_SIZE(*cpus.rbegin() + 1);
  cpu_set_t* mask = CPU_ALLOC(*cpus.rbegin() + 1);
  if (mask == nullptr) return false;
  CPU_ZERO_S(size, mask);
  for (const std::uint32_t cpu : cpus) CPU_SET_S(cpu, size, mask);
  const bool kept = ::sched_setaffinity(pid, size, mask) == 0;
  CPU_FREE(mask);
  return kept;
}

void keep_for_program(int report, const UniqueFd& sandbox) {
  ::dup3(report, kReportFd, O_CLOEXEC);
  if (sandbox.valid()) ::dup3(sandbox.get(), kSandboxFd, O_CLOEXEC);
  ::close_range(sandbox.valid() ? kSandboxFd + 1 : kSandboxFd, UINT_MAX, 0);
}

Result<UniqueFd> prepare_sandbox(const ShimSpec& spec) {
  if (spec.sandbox.empty()) return UniqueFd();
  auto sandbox = open_sandbox(spec.sandbox);
  if (!sandbox) return sandbox.error();
  UniqueFd lifted(above_four(sandbox->release()));
  if (auto entered = enter_pid_namespace(lifted.get()); !entered) return entered.error();
  return lifted;
}

void run_program(const ShimSpec& spec) {
  ::umask(022);
  set_oom_score(spec);
  for (const std::string& group : spec.limit_groups) {
    const UniqueFd procs(::open((group + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    if (!procs.valid() || ::write(procs.get(), "0", 1) != 1) fail_child(("cannot join cgroup " + group).c_str());
  }
  if (!keep_to_cores(0, spec.cores)) fail_child(("cannot keep to the processors " + spec.cores).c_str());
  if (!spec.sandbox.empty() && !enter_namespaces(kSandboxFd)) fail_child("cannot enter the job's sandbox");
  const std::uint64_t kept = spec.uid == 0 ? capabilities_of_root() : 0;
  if (spec.confine) {
    set_resource_limits();
    if (!bound_capabilities(kept)) fail_child("cannot bound the job's capabilities");
  }
  become_user(spec);
  if (!spec.working_directory.empty() && ::chdir(spec.working_directory.c_str()) != 0) {
    fail_child(("cannot enter " + spec.working_directory).c_str());
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail_child("cannot give up new privileges");
  if (spec.confine && !give_up_capabilities(kept)) fail_child("cannot give up capabilities");
  if (!spec.sandbox.empty() && !refuse_dangerous_calls()) fail_child("cannot refuse system calls");

  std::vector<std::string> variables;
  for (const auto& variable : spec.environment) variables.push_back(variable.name + "=" + variable.value);
  std::vector<char*> argv, environment;
  for (const auto& word : spec.argv) argv.push_back(const_cast<char*>(word.c_str()));
  for (const auto& variable : variables) environment.push_back(const_cast<char*>(variable.c_str()));
  argv.push_back(nullptr);
  environment.push_back(nullptr);

  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(argv[0], argv.data(), environment.data());
  fail_child(("cannot run " + spec.argv[0]).c_str());
}

Status spawn_free(const std::string& program, const std::string& argument, posix_spawn_file_actions_t& actions) {
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  char* argv[] = {const_cast<char*>("trainyard-shim"), const_cast<char*>(argument.c_str()), nullptr};
  char* environment[] = {nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, program.c_str(), &actions, &attributes, argv, environment);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return system_error("cannot start " + program, error);
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return {};
}

int above_four(int fd) {
  if (fd < 0 || fd > 4) return fd;
  const int higher = ::fcntl(fd, F_DUPFD_CLOEXEC, 5);
  ::close(fd);
  return higher;
}

bool make_pipe(UniqueFd& read_end, UniqueFd& write_end) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return false;
  read_end.reset(above_four(ends[0]));
  write_end.reset(above_four(ends[1]));
  return true;
}

std::string read_complaint(int report) {
  std::string complaint;
  char text[512];
  for (;;) {
    const ssize_t got = ::read(report, text, sizeof text);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return complaint;
    complaint.append(text, static_cast<std::size_t>(got));
  }
}

}  // namespace trainyard::agent
