#include "agent/exec/child.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

void drop_to(std::uint32_t uid, std::uint32_t gid) {
  if (uid == 0 && gid == 0) return;
  const gid_t groups[] = {gid};
  if (::setgroups(1, groups) != 0 || ::setresgid(gid, gid, gid) != 0 || ::setresuid(uid, uid, uid) != 0) {
    fail_child("cannot change to the job's user");
  }
  uid_t real = 0, effective = 0, saved = 0;
  if (::getresuid(&real, &effective, &saved) != 0 || real != uid || effective != uid || saved != uid ||
      (uid != 0 && ::setuid(0) == 0)) {
    errno = EPERM;
    fail_child("still privileged after changing to the job's user");
  }
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

void run_program(const ShimSpec& spec) {
  ::umask(022);
  if (const UniqueFd score(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)); score.valid()) {
    write_fully(score.get(), "0", 1);
  }
  if (!spec.working_directory.empty() && ::chdir(spec.working_directory.c_str()) != 0) {
    fail_child(("cannot enter " + spec.working_directory).c_str());
  }
  for (const std::string& group : spec.limit_groups) {
    const UniqueFd procs(::open((group + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    if (!procs.valid() || ::write(procs.get(), "0", 1) != 1) fail_child(("cannot join cgroup " + group).c_str());
  }
  drop_to(spec.uid, spec.gid);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) fail_child("cannot give up new privileges");

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
