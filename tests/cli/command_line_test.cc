// The program itself, as a process: flags, refusals, exit codes. Nothing here needs a controller.
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace {

struct Ran {
  int code = -1;
  std::string text;  // stdout and stderr
};

std::string program() {
  const char* path = std::getenv("TRAINYARD_PROGRAM");
  return path == nullptr ? "" : path;
}

// Nobody listens on port 1 of loopback.
Ran run(const std::string& arguments) {
  Ran ran;
  const std::string line = "TRAINYARD_CONTROLLER=127.0.0.1:1 '" + program() + "' " + arguments + " </dev/null 2>&1";
  std::FILE* pipe = popen(line.c_str(), "r");
  REQUIRE(pipe != nullptr);
  char buffer[4096];
  for (std::size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) ran.text.append(buffer, got);
  const int status = pclose(pipe);
  ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

bool have_program() {
  if (!program().empty()) return true;
  WARN("skipped: TRAINYARD_PROGRAM is not set (ctest sets it)");
  return false;
}

}  // namespace

TEST_CASE("deleting asks, and without a terminal refuses") {
  if (!have_program()) return;
  for (const char* line : {"group delete --name g", "workspace delete -g g -n w", "experiment delete -g g -w w -n e",
                           "cluster delete -g g -w w -n c", "job delete -g g -w w -e e -n j",
                           "job terminate -g g -w w -e e -n j", "storage file delete -p x -s s --account-name a"}) {
    const Ran ran = run(line);
    INFO(line);
    CHECK(ran.code == 1);
    CHECK_THAT(ran.text, Catch::Contains("use -y"));
  }
}

TEST_CASE("an unreachable controller has its own exit code") {
  if (!have_program()) return;
  const Ran ran = run("group list --retry-for 0");
  CHECK(ran.code == 4);
  CHECK_THAT(ran.text, Catch::StartsWith("trainyard: cannot reach the controller at 127.0.0.1:1"));
  const Ran patient = run("group delete -n g -y --retry-for 0.2");
  CHECK(patient.code == 4);
  CHECK_THAT(patient.text, Catch::Contains("trying again for up to 0.2 s"));
}

TEST_CASE("flags and commands that come later are refused by name") {
  if (!have_program()) return;
  const std::string cluster = "cluster create -g g -w w -n c -s Standard_NC6 ";
  for (const char* flag : {"--nfs", "--nfs-mount-path", "--use-auto-storage", "--custom-image"}) {
    const Ran ran = run(cluster + flag + " x");
    INFO(flag);
    CHECK(ran.code == 2);
    CHECK(ran.text == std::string("trainyard: not supported yet: ") + flag + "\n");
  }
  CHECK(run("cluster create --use-auto-storage").text == "trainyard: not supported yet: --use-auto-storage\n");
  CHECK(run("job create -g g -w w -e e -n n -c c -f x.json --nfs y").text == "trainyard: not supported yet: --nfs\n");
}

TEST_CASE("wrong command lines are exit code 2 and say where to look") {
  if (!have_program()) return;
  for (const char* line : {"", "job", "job frobnicate", "cluster show", "group list --output yaml", "group list --nope",
                           "cluster resize -g g -w w -n c --target four", "group list --query 'a['"}) {
    const Ran ran = run(line);
    INFO(line << ": " << ran.text);
    CHECK(ran.code == 2);
    CHECK_THAT(ran.text, Catch::StartsWith("trainyard: "));
  }
  CHECK_THAT(run("cluster show").text, Catch::Contains("see `trainyard cluster show --help`"));
  CHECK(run("--version").code == 0);
  CHECK_THAT(run("--version").text, Catch::StartsWith("trainyard 0."));
}

TEST_CASE("every command has help with an example") {
  if (!have_program()) return;
  for (const char* line : {"group create",
                           "group show",
                           "group list",
                           "group delete",
                           "workspace create",
                           "workspace show",
                           "workspace list",
                           "workspace delete",
                           "experiment create",
                           "experiment show",
                           "experiment list",
                           "experiment delete",
                           "cluster create",
                           "cluster show",
                           "cluster list",
                           "cluster resize",
                           "cluster delete",
                           "job create",
                           "job show",
                           "job list",
                           "job delete",
                           "job terminate",
                           "job wait",
                           "job timeline",
                           "job file list",
                           "job file stream",
                           "job file download",
                           "job node list",
                           "job node exec",
                           "cluster node list",
                           "cluster node exec",
                           "storage account create",
                           "storage account list",
                           "storage share create",
                           "storage share list",
                           "storage directory create",
                           "storage file upload",
                           "storage file download",
                           "storage file list",
                           "storage file delete",
                           "node list",
                           "node show",
                           "node fence"}) {
    const Ran ran = run(std::string(line) + " --help");
    INFO(line);
    CHECK(ran.code == 0);
    CHECK_THAT(ran.text, Catch::Contains(std::string("Example:\n  trainyard ") + line));
  }
}

TEST_CASE("job files are checked before the controller is asked") {
  if (!have_program()) return;
  char folder[] = "/tmp/trainyard_cli_test_XXXXXX";
  REQUIRE(mkdtemp(folder) != nullptr);
  const std::string file = std::string(folder) + "/job.json";
  const std::string create = "job create -g g -w w -e e -n n -c c -f ";
  CHECK_THAT(run(create + file).text, Catch::Contains("cannot be read"));
  std::ofstream(file) << "{";
  CHECK_THAT(run(create + file).text, Catch::Contains("line 1, column 2"));
  CHECK(run(create + file).code == 1);
  std::ofstream(file) << std::string(5 * 1024 * 1024, ' ');
  CHECK_THAT(run(create + file).text, Catch::Contains("more than 4 MB"));
  std::filesystem::remove_all(folder);
}
