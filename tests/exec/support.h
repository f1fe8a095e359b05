// What the tests of real processes share: a directory that goes away, waiting without sleeping blindly, a cgroup.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>

#include "agent/exec/cgroup.h"

namespace trainyard::test {

inline std::string program(const char* name) {
  return std::string(TEST_PROGRAMS) + "/" + name;
}

class TempDir {
 public:
  TempDir() {
    std::string name = "/tmp/trainyard-test-XXXXXX";
    x_path = ::mkdtemp(name.data());
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(x_path, ignored);
  }
  const std::string& path() const { return x_path; }
  std::string operator/(const std::string& name) const { return x_path + "/" + name; }

 private:
  std::string x_path;
};

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

inline void append_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::app) << text;
}

// Looks every 2 ms until the condition holds or the time is over.
inline bool eventually(const std::function<bool()>& condition, int limit_ms = 10'000) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(limit_ms);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    ::usleep(2000);
  }
  return true;
}

// Runs the loop until the condition holds or the time is over.
inline bool run_until(boost::asio::io_context& io, const std::function<bool()>& condition, int limit_ms = 10'000) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(limit_ms);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    io.restart();
    io.run_one_for(std::chrono::milliseconds(20));
  }
  return true;
}

inline bool is_root_with_cgroups() {
  if (::geteuid() == 0 && agent::find_cgroup2_root().ok()) return true;
  std::printf("skipped: needs root and a cgroup2 mount\n");
  return false;
}

// A cgroup with the children `job` and `shim`, as a holding has; killed and removed at the end.
class TestCgroup {
 public:
  TestCgroup() : x_cgroup(fresh_path()) {
    for (const char* name : {"/job", "/shim"}) {
      if (!agent::Cgroup(x_cgroup.path() + name).create()) std::abort();
    }
  }
  ~TestCgroup() {
    x_cgroup.kill();
    eventually([&] { return !x_cgroup.populated(); });
    eventually([&] { return x_cgroup.remove().ok(); }, 1000);
  }
  const agent::Cgroup& all() const { return x_cgroup; }
  agent::Cgroup job() const { return agent::Cgroup(x_cgroup.path() + "/job"); }
  agent::Cgroup shim() const { return agent::Cgroup(x_cgroup.path() + "/shim"); }

 private:
  static std::string fresh_path() {
    static std::atomic<int> count{0};
    return agent::find_cgroup2_root().value() + "/trainyard-test-" + std::to_string(::getpid()) + "-" +
           std::to_string(++count);
  }
  agent::Cgroup x_cgroup;
};

}  // namespace trainyard::test
