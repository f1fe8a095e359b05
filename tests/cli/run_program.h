// The program itself, as a process, without the user's own defaults. Of tests only.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace trainyard::cli::test {

struct Ran {
  int code = -1;
  std::string text;  // stdout and stderr
};

inline std::string program() {
  const char* path = std::getenv("TRAINYARD_PROGRAM");
  return path == nullptr ? "" : path;
}

inline Ran run_shell(const std::string& line) {
  Ran ran;
  std::FILE* pipe = popen(line.c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  for (std::size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) ran.text.append(buffer, got);
  const int status = pclose(pipe);
  ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

// Nobody listens on port 1 of loopback. `environment`: NAME=VALUE ..., as a shell takes it.
inline Ran run(const std::string& arguments, const std::string& environment = "") {
  return run_shell("TRAINYARD_CONFIG_DIR=/nonexistent TRAINYARD_CONTROLLER=127.0.0.1:1 " + environment + " '" +
                   program() + "' " + arguments + " </dev/null 2>&1");
}

inline bool have_program() {
  if (!program().empty()) return true;
  WARN("skipped: TRAINYARD_PROGRAM is not set (ctest sets it)");
  return false;
}

// A folder of its own, gone with the object.
class Folder {
 public:
  Folder() { REQUIRE(mkdtemp(x_path) != nullptr); }
  ~Folder() { std::filesystem::remove_all(x_path); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return std::string(x_path) + "/" + name; }
  std::string path() const { return x_path; }

 private:
  char x_path[64] = "/tmp/trainyard_cli_test_XXXXXX";
};

}  // namespace trainyard::cli::test
