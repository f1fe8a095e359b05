// One node of the agent's tests: the real agent with directories and a cgroup of its own.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "agent/exec/cgroup.h"
#include "agent/volumes/mounter.h"
#include "tests/agent/scripted_controller.h"

namespace trainyard::agent::test {

namespace fs = std::filesystem;

inline std::string content(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

template <class Condition>
bool eventually(Condition condition) {
  for (const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
       std::chrono::steady_clock::now() < end;) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return condition();
}

// One node: an agent process with directories and a cgroup of its own.
class TestNode {
 public:
  explicit TestNode(ScriptedController& controller, std::vector<std::string> more_flags = {})
      : x_controller(controller), x_more_flags(std::move(more_flags)) {
    char name[] = "/var/lib/trainyard-agent-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    x_directory = name;
    x_cgroup_parent = "trainyard-test/" + x_directory.substr(x_directory.rfind('-') + 1);
    fs::create_directories(share());
    fs::create_directories(files());
    start();
  }
  ~TestNode() {
    kill(SIGTERM);
    for (const auto& mount : mounts_under(x_directory)) ::system(("umount -l " + mount).c_str());
    const Cgroup cgroup(cgroup_path());
    if (cgroup.exists()) cgroup.kill();
    (void)eventually([&] { return !cgroup.populated(); });
    (void)cgroup.remove();
    // A helper of the agent may just be removing some of it, too.
    (void)eventually([&] {
      std::error_code error;
      fs::remove_all(x_directory, error);
      return !error && !fs::exists(x_directory);
    });
  }

  void start() {
    x_pid = ::fork();
    if (x_pid == 0) {
      const int log = ::open((x_directory + "/agent.log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
      ::dup2(log, 2);
      ::dup2(log, 1);
      const std::string spool = x_directory + "/spool", work = x_directory + "/work", run = x_directory + "/run";
      std::vector<std::string> words = {"trainyard-agent",
                                        "--controller",
                                        x_controller.address(),
                                        "--node-name",
                                        "n1",
                                        "--flavour",
                                        "STANDARD_NC6",
                                        "--spool-dir",
                                        spool,
                                        "--work-dir",
                                        work,
                                        "--run-dir",
                                        run,
                                        "--cgroup-parent",
                                        x_cgroup_parent,
                                        "--heartbeat-ms",
                                        "200",
                                        "--pretend-gpus",
                                        "2",
                                        "--file-server-directory",
                                        files(),
                                        "--file-server-port",
                                        "24049"};
      words.insert(words.end(), x_more_flags.begin(), x_more_flags.end());
      std::vector<char*> argv;
      for (std::string& word : words) argv.push_back(word.data());
      argv.push_back(nullptr);
      ::execv(AGENT_PROGRAM, argv.data());
      ::_exit(127);
    }
  }
  void tell(int signal) { ::kill(x_pid, signal); }
  int kill(int signal) {
    if (x_pid <= 0) return 0;
    ::kill(x_pid, signal);
    int status = 0;
    ::waitpid(x_pid, &status, 0);
    x_pid = 0;
    return status;
  }
  void restart(int signal = SIGKILL) {
    kill(signal);
    x_controller.forget_reports();
    start();
  }

  std::string share() const { return x_directory + "/share"; }
  std::string files() const { return x_directory + "/files"; }  // of file servers
  std::string directory() const { return x_directory; }
  std::string log() const { return content(x_directory + "/agent.log"); }
  std::string cgroup_path() const { return *find_cgroup2_root() + "/" + x_cgroup_parent; }
  fs::path output(const std::string& name) const { return fs::path(share()) / "segment/stdouterr" / name; }

  // Nothing of any job is left on the node: what "clean" has to mean.
  void require_nothing_left() const {
    INFO(log());
    CHECK(mounts_under(x_directory).empty());
    CHECK(fs::is_empty(x_directory + "/work/jobs"));
    for (const auto& entry : fs::directory_iterator(x_directory + "/run")) {
      CHECK(entry.path().filename() == "sealing.key");  // the node's, not a job's
    }
    CHECK_FALSE(Cgroup(cgroup_path()).populated());
    std::size_t cgroups = 0;
    for (const auto& entry : fs::directory_iterator(cgroup_path())) cgroups += entry.is_directory();
    CHECK(cgroups == 0);
  }

 private:
  ScriptedController& x_controller;
  const std::vector<std::string> x_more_flags;
  std::string x_directory, x_cgroup_parent;
  pid_t x_pid = 0;
};

}  // namespace trainyard::agent::test
