// The user's defaults: the file's text, and what wins.
#include "cli/settings.h"

#include <sys/stat.h>

#include "tests/cli/run_program.h"

using namespace trainyard;
using namespace trainyard::cli;
using namespace trainyard::cli::test;

TEST_CASE("defaults: what the file says, and what cannot be understood is named with its line") {
  const Settings settings = Settings::parse(
      "# mine\n\n[defaults]\ngroup = g1\n workspace=w 1\noutput = xml\nuser = me\nnonsense\noutput = table\n[other]\n"
      "experiment = e\n",
      "/c");
  CHECK(settings.get("group") == "g1");
  CHECK(settings.get("output") == "table");
  CHECK(settings.get("workspace").empty());
  CHECK(settings.get("experiment").empty());
  REQUIRE(settings.warnings().size() == 6);
  CHECK(settings.warnings()[0] ==
        "/c:5: workspace must be letters, digits, '-', '_' and '.', not \"w 1\"; the line is ignored");
  CHECK_THAT(settings.warnings()[1],
             Catch::StartsWith("/c:6: output must be json, jsonc, table, tsv, csv, yaml, none"));
  CHECK_THAT(settings.warnings()[2], Catch::StartsWith("/c:7: there is no default user; there are: group, workspace"));
  CHECK_THAT(settings.warnings()[3], Catch::StartsWith("/c:8: is not NAME = VALUE"));
  CHECK_THAT(settings.warnings()[4], Catch::StartsWith("/c:10: there is only the section [defaults]"));
  CHECK_THAT(settings.warnings()[5], Catch::StartsWith("/c:11: experiment is not below [defaults]"));
}

TEST_CASE("defaults: setting and removing leaves the rest of the file as it was") {
  Settings settings = Settings::parse("# mine\n[defaults]\ngroup = g1\n# note\nworkspace = w1\n", "/c");
  CHECK(settings.set("group", "g2").ok());
  CHECK(settings.set("workspace", "").ok());
  CHECK(settings.set("controller", "head:7470").ok());
  CHECK(settings.text() == "# mine\n[defaults]\ncontroller = head:7470\ngroup = g2\n# note\n");
  const Settings again = Settings::parse(settings.text(), "/c");
  CHECK(again.get("controller") == "head:7470");
  CHECK(again.warnings().empty());
  Settings fresh = Settings::parse("", "/c");
  CHECK(fresh.set("experiment", "e").ok());
  CHECK(fresh.text() == "[defaults]\nexperiment = e\n");
}

TEST_CASE("defaults: no secrets, no nonsense") {
  Settings settings = Settings::parse("", "/c");
  CHECK_THAT(settings.set("grup", "x").error().message, Catch::Contains("did you mean group?"));
  CHECK_THAT(settings.set("password", "x").error().message, Catch::StartsWith("there is no default \"password\""));
  CHECK_THAT(settings.set("key", "-----BEGIN PRIVATE KEY-----\nMII").error().message,
             Catch::Contains("secrets themselves are never kept"));
  CHECK_THAT(settings.set("key", "-----BEGIN PRIVATE KEY-----").error().message, Catch::Contains("never kept"));
  CHECK_THAT(settings.set("cert", "/no/such.pem").error().message, Catch::Contains("/no/such.pem cannot be read"));
  CHECK_FALSE(settings.set("output", "xml").ok());
  CHECK_FALSE(settings.set("group", "a b").ok());
  CHECK(settings.text().empty());
}

TEST_CASE("configure: flag over environment over file over what is built in") {
  if (!have_program()) return;
  const Folder folder;
  const std::string own = "TRAINYARD_CONTROLLER= TRAINYARD_CONFIG_DIR=" + folder.path();
  const auto set = run("configure --defaults group=g1 output=tsv controller=127.0.0.1:2", own);
  CHECK(set.text.empty());
  CHECK(set.code == 0);
  struct stat about {};
  REQUIRE(stat((folder / "config").c_str(), &about) == 0);
  CHECK((about.st_mode & 0777) == 0600);
  const std::string path = folder / "config";
  CHECK(run("configure --list-defaults", own).text ==
        "group\t" + path + "\tg1\ncontroller\t" + path + "\t127.0.0.1:2\noutput\t" + path + "\ttsv\n");
  CHECK(run("configure -l -o json --query '[?name==`group`].[value,source]'", own + " TRAINYARD_GROUP=g2").text ==
        "[\n  [\n    \"g2\",\n    \"$TRAINYARD_GROUP\"\n  ]\n]\n");
  // The controller's address is seen in the error: file, then environment, then flag.
  const std::string list = "group list --retry-for 0";
  CHECK_THAT(run(list, own).text, Catch::Contains("controller at 127.0.0.1:2:"));
  CHECK_THAT(run(list, own + " TRAINYARD_CONTROLLER=127.0.0.1:3").text, Catch::Contains("controller at 127.0.0.1:3:"));
  CHECK_THAT(run(list + " --controller 127.0.0.1:4", own + " TRAINYARD_CONTROLLER=127.0.0.1:3").text,
             Catch::Contains("controller at 127.0.0.1:4:"));
  CHECK_THAT(run("workspace show -n w --retry-for 0", own).text, Catch::Contains("cannot reach"));
  CHECK(run("configure --defaults group= ", own).code == 0);
  const auto missing = run("workspace show -n w --retry-for 0", own);
  CHECK(missing.code == 2);
  CHECK_THAT(missing.text, Catch::Contains("--resource-group is required (or a default: `trainyard configure "
                                           "--defaults group=NAME`)"));
  CHECK_THAT(run("workspace show --help", own + " TRAINYARD_CONTROLLER=").text, Catch::Contains("127.0.0.1:2"));
}

TEST_CASE("configure: what is wrong is said, and changes nothing") {
  if (!have_program()) return;
  const Folder folder;
  const std::string own = "TRAINYARD_CONFIG_DIR=" + folder.path() + "/new";
  CHECK(run("configure", own).code == 2);
  CHECK_THAT(run("configure", own).text, Catch::Contains("there is no terminal to ask on"));
  CHECK(run("configure --defaults group", own).code == 2);
  CHECK_THAT(run("configure --defaults group=g workspce=w", own).text, Catch::Contains("did you mean workspace?"));
  CHECK_FALSE(std::filesystem::exists(folder / "new"));
  CHECK(run("configure --defaults group=g", own).code == 0);
  std::ofstream(folder / "new/config", std::ios::app) << "oops\n";
  const auto warned = run("configure --list-defaults --query '[].name' -o tsv", own);
  CHECK_THAT(warned.text, Catch::StartsWith("trainyard: warning: " + (folder / "new/config") + ":3: is not NAME"));
  CHECK_THAT(warned.text, Catch::EndsWith("controller\n"));
  CHECK_THAT(run("configure --defaults group=g", "TRAINYARD_CONFIG_DIR=/proc/none").text,
             Catch::Contains("cannot write /proc/none/config"));
}
