// docs/batch-ai-compatibility.md against the program: every flag has a row, and what the page calls refused is refused.
#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

namespace {

std::string page() {
  std::ifstream file(TRAINYARD_SOURCE_DIR "/docs/batch-ai-compatibility.md");
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string said_by(const std::string& arguments) {
  const std::string line =
      "TRAINYARD_CONTROLLER=127.0.0.1:1 '" + std::string(std::getenv("TRAINYARD_PROGRAM")) + "' " + arguments + " 2>&1";
  std::FILE* pipe = popen(line.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string text;
  char buffer[4096];
  for (std::size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, got);
  pclose(pipe);
  return text;
}

std::set<std::string> flags_in(const std::string& text) {
  const std::regex flag("--[a-z][a-z-]+");
  return {std::sregex_token_iterator(text.begin(), text.end(), flag), std::sregex_token_iterator()};
}

}  // namespace

TEST_CASE("the compatibility page has every flag of the cluster commands") {
  if (std::getenv("TRAINYARD_PROGRAM") == nullptr) {
    WARN("skipped: TRAINYARD_PROGRAM is not set (ctest sets it)");
    return;
  }
  const std::set<std::string> common = flags_in(said_by("group list --help"));
  const std::set<std::string> documented = flags_in(page());
  int checked = 0;
  for (const char* command : {"cluster create --help", "cluster auto-scale --help", "cluster file list --help",
                              "file-server create --help"}) {
    for (const std::string& flag : flags_in(said_by(command))) {
      if (common.contains(flag)) continue;
      INFO(command << " " << flag);
      const bool long_name_of_a_short_one =
          page().find("-n -g -w, -f, -s, -t") != std::string::npos &&
          (flag == "--name" || flag == "--cluster" || flag == "--resource-group" || flag == "--workspace" ||
           flag == "--config-file" || flag == "--vm-size" || flag == "--target" || flag == "--user-name" ||
           flag == "--ssh-key" || flag == "--password" || flag == "--image" || flag == "--path");
      CHECK((documented.contains(flag) || long_name_of_a_short_one));
      ++checked;
    }
  }
  CHECK(checked > 15);
}

TEST_CASE("the flags that the compatibility page calls refused are refused by name") {
  if (std::getenv("TRAINYARD_PROGRAM") == nullptr) return;
  std::ifstream file(TRAINYARD_SOURCE_DIR "/docs/batch-ai-compatibility.md");
  int checked = 0;
  for (std::string line; std::getline(file, line);) {
    const auto refused = line.find("| refused");
    if (!line.starts_with("| --") || refused == std::string::npos) continue;
    for (const std::string& flag : flags_in(line.substr(0, refused))) {
      INFO(flag);
      const std::string text = said_by("cluster create -g g -w w -n c -s x -t 1 " + flag + " y");
      CHECK_THAT(text, Catch::Contains("not supported yet: " + flag));
      ++checked;
    }
  }
  CHECK(checked >= 4);
}

TEST_CASE("flags without effect say so, and what they hold goes nowhere") {
  if (std::getenv("TRAINYARD_PROGRAM") == nullptr) return;
  const std::string text = said_by(
      "cluster create -g g -w w -n c -s x -t 1 -p 'p4ss' -i UbuntuLTS --subnet s --storage-account-key k3y "
      "--retry-for 0");
  for (const char* flag : {"--password has no effect", "--image has no effect", "--subnet has no effect",
                           "--storage-account-key has no effect"}) {
    CHECK_THAT(text, Catch::Contains(flag));
  }
  CHECK(text.find("p4ss") == std::string::npos);
  CHECK(text.find("k3y") == std::string::npos);
  CHECK_THAT(said_by("cluster create -g g -w w -n c -s x -t 1 -i windows"),
             Catch::Contains("--image: must be UbuntuLTS, UbuntuDSVM or publisher:offer:sku:version"));
}
