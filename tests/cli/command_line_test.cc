// The program itself, as a process: flags, refusals, exit codes. Nothing here needs a controller.
#include "cli/old_spellings.h"
#include "tests/cli/run_program.h"

using namespace trainyard::cli::test;

TEST_CASE("deleting asks, and without a terminal refuses") {
  if (!have_program()) return;
  for (const char* line :
       {"group delete --name g", "workspace delete -g g -n w", "experiment delete -g g -w w -n e",
        "cluster delete -g g -w w -n c", "job delete -g g -w w -e e -n j", "job terminate -g g -w w -e e -n j"}) {
    const Ran ran = run(line);
    INFO(line);
    CHECK(ran.code == 1);
    CHECK_THAT(ran.text, Catch::Contains("use -y"));
  }
  // Azure's command line does these without asking, and so do its users' scripts.
  for (const char* line : {"storage file delete -p x -s s", "storage directory delete -n x -s s",
                           "storage file delete-batch -s s", "storage share delete -n s"}) {
    const Ran ran = run(std::string(line) + " --account-name a --retry-for 0");
    INFO(line);
    CHECK(ran.code == 4);  // it went on to the controller, which is not there
  }
}

TEST_CASE("lines of the older command line become today's") {
  using Words = std::vector<std::string>;
  const auto now = trainyard::cli::in_new_spelling;
  CHECK(now({"job", "list-files", "--job-name", "j", "-d", "x"}) ==
        Words{"job", "file", "list", "--job", "j", "-d", "x"});
  CHECK(now({"job", "stream-file", "-j", "j", "-n", "stderr.txt"}) ==
        Words{"job", "file", "stream", "-j", "j", "-f", "stderr.txt"});
  CHECK(now({"job", "stream-file", "--job-name=j", "--name=a b"}) ==
        Words{"job", "file", "stream", "--job=j", "--file-name=a b"});
  CHECK(now({"cluster", "list-nodes", "-n", "c"}) == Words{"cluster", "node", "list", "-c", "c"});
  CHECK(now({"job", "list-nodes", "--name", "j"}) == Words{"job", "node", "list", "--job", "j"});
  CHECK(now({"job", "file", "list", "-n", "j"}) == Words{"job", "file", "list", "-n", "j"});
  CHECK(now({"job", "create", "-n", "j", "-r", "c", "-c", "job.json"}) ==
        Words{"job", "create", "-n", "j", "-r", "c", "-f", "job.json"});
  CHECK(now({"job", "create", "--cluster-name=c", "-cjob.json"}) ==
        Words{"job", "create", "--cluster-name=c", "-fjob.json"});
  CHECK(now({"job", "create", "-c", "c", "-f", "job.json"}) == Words{"job", "create", "-c", "c", "-f", "job.json"});
  CHECK(now({"job", "create", "-r", "c", "-f", "job.json"}) == Words{"job", "create", "-r", "c", "-f", "job.json"});
  CHECK(now({"cluster", "create", "-c", "cluster.json"}) == Words{"cluster", "create", "-c", "cluster.json"});
  CHECK(now({"job"}) == Words{"job"});
  CHECK(now({}).empty());
  if (!have_program()) return;
  CHECK_THAT(run("job stream-file --help").text, Catch::Contains("trainyard job file stream -g"));
  CHECK_THAT(run("job create -g g -w w -e e -n j -r c --config /none").text, Catch::Contains("/none: cannot be read"));
  CHECK_THAT(run("job create -g g -w w -e e -n j -l eastus -r c -c /none").text,
             Catch::Contains("/none: cannot be read"));
  CHECK_THAT(run("cluster create -g g -w w -n c -s x -t 1 -l eastus --retry-for 0").text,
             Catch::Contains("--location has no effect: only a workspace has one"));
  CHECK_THAT(run("cluster create -g g -w w -n c -c /none").text, Catch::Contains("/none: cannot be read"));
}

TEST_CASE("exit codes are in the help") {
  if (!have_program()) return;
  const Ran help = run("--help");
  CHECK(help.code == 0);
  for (const char* line :
       {"  0    done", "  1    the controller refused", "  2    the command line is wrong", "  3    not found",
        "  4    the controller cannot be reached", "  130  interrupted", "255 when it has none"}) {
    CHECK_THAT(help.text, Catch::Contains(line));
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
  for (const char* flag : {"--use-auto-storage", "--custom-image"}) {
    const Ran ran = run(cluster + flag + " x");
    INFO(flag);
    CHECK(ran.code == 2);
    CHECK(ran.text == std::string("trainyard: not supported yet: ") + flag + "\n");
  }
  CHECK(run("cluster create --use-auto-storage").text == "trainyard: not supported yet: --use-auto-storage\n");
  CHECK(run("storage share update -n x --quota 5").text ==
        "trainyard: not supported yet: trainyard storage share update: a share has no limit of its own; the file "
        "system of its place has\n");
  CHECK(run("storage share create -n x --quota 5").text == "trainyard: not supported yet: --quota\n");
  CHECK(run("cluster file list -g g -w w -c c --expiry 5").text == "trainyard: not supported yet: --expiry\n");
}

TEST_CASE("wrong command lines are exit code 2 and say where to look") {
  if (!have_program()) return;
  for (const char* line : {"", "job", "job frobnicate", "cluster show", "group list --output xml", "group list --nope",
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

namespace {

const char* const kCommands[] = {"group create",
                                 "group show",
                                 "group list",
                                 "group exists",
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
                                 "cluster auto-scale",
                                 "cluster file list",
                                 "cluster file stream",
                                 "cluster node list",
                                 "job create",
                                 "job show",
                                 "job list",
                                 "job delete",
                                 "job terminate",
                                 "job wait",
                                 "job timeline",
                                 "job counters",
                                 "job why",
                                 "job array create",
                                 "job array show",
                                 "job array list",
                                 "job array tasks",
                                 "job array why",
                                 "job array timeline",
                                 "job array wait",
                                 "job array update",
                                 "job array hold",
                                 "job array release",
                                 "job array terminate",
                                 "job array delete",
                                 "job schedule create",
                                 "job schedule list",
                                 "job schedule show",
                                 "job schedule update",
                                 "job schedule suspend",
                                 "job schedule resume",
                                 "job schedule delete",
                                 "job file list",
                                 "job file stream",
                                 "job file download",
                                 "job node list",
                                 "job node exec",
                                 "cluster node exec",
                                 "storage account create",
                                 "storage account list",
                                 "storage share create",
                                 "storage share list",
                                 "storage share exists",
                                 "storage share show",
                                 "storage share delete",
                                 "storage directory create",
                                 "storage directory list",
                                 "storage directory exists",
                                 "storage directory delete",
                                 "storage file upload",
                                 "storage file download",
                                 "storage file list",
                                 "storage file delete",
                                 "storage file exists",
                                 "storage file upload-batch",
                                 "storage file download-batch",
                                 "storage file delete-batch",
                                 "configure",
                                 "completion",
                                 "node list",
                                 "node show",
                                 "node repair",
                                 "node drain",
                                 "node check",
                                 "node undrain",
                                 "node cordon",
                                 "node uncordon",
                                 "node counters",
                                 "cluster counters",
                                 "list-usages",
                                 "usage",
                                 "node fence"};

}  // namespace

TEST_CASE("every command has help with an example") {
  if (!have_program()) return;
  for (const char* line : kCommands) {
    const Ran ran = run(std::string(line) + " --help");
    INFO(line);
    CHECK(ran.code == 0);
    CHECK_THAT(ran.text, Catch::Contains(std::string("Example:\n  trainyard ") + line));
  }
}

TEST_CASE("job files are checked before the controller is asked") {
  if (!have_program()) return;
  const Folder folder;
  const std::string file = folder / "job.json";
  const std::string create = "job create -g g -w w -e e -n n -c c -f ";
  CHECK_THAT(run(create + file).text, Catch::Contains("cannot be read"));
  std::ofstream(file) << "{";
  CHECK_THAT(run(create + file).text, Catch::Contains("line 1, column 2"));
  CHECK(run(create + file).code == 1);
  std::ofstream(file) << std::string(5 * 1024 * 1024, ' ');
  CHECK_THAT(run(create + file).text, Catch::Contains("more than 4 MB"));
}
