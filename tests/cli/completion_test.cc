// Completion as the shells do it, and what misspelt words are taken for. Nothing here needs a controller.
#include "cli/command_line.h"
#include "cli/program.h"
#include "tests/cli/run_program.h"

using namespace trainyard::cli::test;

namespace {

// The candidates for the last word, sorted, one per line: what `trainyard complete-line` tells the shells.
std::string candidates(const std::string& words) {
  return run_shell("'" + program() + "' complete-line -- " + words + " | cut -f1 | sort | tr '\\n' ' '").text;
}

// What bash makes of a line, with the cursor at its end; readline is not needed for that.
std::string bash(const std::string& line) {
  const Folder folder;
  std::ofstream(folder / "script") << R"(set -u
source <(")" + program() + R"(" completion bash)
COMP_LINE=$1 COMP_POINT=${#1}
words=${COMP_LINE//=/ = }
read -ra COMP_WORDS <<< "$words"
[[ $COMP_LINE == *' ' ]] && COMP_WORDS+=("")
COMP_WORDS[0]=$2
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
complete -p trainyard > /dev/null || exit 3
_trainyard "$2" "${COMP_WORDS[COMP_CWORD]}"
printf '%s\n' "${COMPREPLY[@]-}" | sort | tr '\n' ' '
)";
  return run_shell("bash '" + (folder / "script") + "' '" + line + "' '" + program() + "' 2>&1").text;
}

bool have(const std::string& shell) {
  if (run_shell("command -v " + shell).code == 0) return true;
  WARN("skipped: there is no " + shell);
  return false;
}

}  // namespace

TEST_CASE("completion: commands, options and values come from the definitions of the commands") {
  if (!have_program()) return;
  for (const char* group :
       {"cluster", "completion", "configure", "experiment", "group", "job", "node", "storage", "workspace"}) {
    CHECK_THAT(" " + candidates("''"), Catch::Contains(std::string(" ") + group + " "));
  }
  CHECK(candidates("jo") == "job ");
  for (const char* command : {"create", "delete", "file", "list", "show", "terminate", "timeline", "wait"}) {
    CHECK_THAT(" " + candidates("job ''"), Catch::Contains(std::string(" ") + command + " "));
  }
  CHECK(candidates("job file st") == "stream ");
  CHECK(candidates("job list --w") == "--workspace ");
  CHECK(candidates("job list -o ''") == "csv json jsonc none table tsv yaml ");
  CHECK(candidates("job list --output t") == "table tsv ");
  CHECK(candidates("job list --output=t") == "--output=table --output=tsv ");
  CHECK(candidates("job list -g g --outp") == "--output ");
  CHECK(candidates("completion ''") == "--help bash fish zsh ");
  CHECK(candidates("job list -g ''") == "");  // a name of the user's: the shell's own completion
  CHECK(candidates("jbo li") == "");          // nothing sensible follows
  CHECK(candidates("job delete -y --no-") == "--no-wait ");
  CHECK(candidates("cluster resize --node-deallocation-option ''") == "requeue terminate waitforjobcompletion ");
}

TEST_CASE("completion: what is refused is not offered") {
  using namespace trainyard::cli;
  CLI::App app("test", "trainyard");
  Program program;
  CLI::App& command = program.command(app, "go", "Go somewhere; or stay", "trainyard go", [] { return 0; });
  command.add_option("--to", "Where")->check(CLI::IsMember({"here", "there"}));
  program.refuse_flags(command, {"--later"});
  program.refuse_command(app, "soon");
  const auto all = complete(app, {""});
  REQUIRE(all.size() == 1);
  CHECK(all[0].word == "go");
  CHECK(all[0].what == "Go somewhere");
  CHECK(complete(app, {"so"}).empty());
  CHECK(complete(app, {"go", "--la"}).empty());
  CHECK(complete(app, {"go", "--later", "x", "--to", "t"}).size() == 1);
  CHECK(walk_words(app, {"go", "--two"}).unknown == "--two");
  CHECK(unknown_word(walk_words(app, {"go", "--t"})) == "trainyard go has no option `--t` (did you mean `--to`?)");
}

TEST_CASE("completion: every option of every command's help is completed") {
  if (!have_program()) return;
  for (const char* command : {"job create", "cluster create", "storage file upload", "configure", "node fence"}) {
    const auto help = run(std::string(command) + " --help").text;
    const std::string all = " " + candidates(std::string(command) + " --");
    for (std::size_t at = help.find("--"); at != std::string::npos; at = help.find("--", at + 2)) {
      if (at < 2 || (help[at - 1] != ',' && help.compare(at - 2, 2, "  ") != 0)) continue;  // not the line of an option
      const std::string name = help.substr(at, help.find_first_of(" ,\n=", at) - at);
      INFO(command << " " << name);
      CHECK_THAT(all, Catch::Contains(" " + name + " "));
    }
  }
}

TEST_CASE("completion: bash") {
  if (!have_program() || !have("bash")) return;
  CHECK(bash("trainyard ") == candidates("''"));
  CHECK(bash("trainyard job te") == "terminate ");
  CHECK(bash("trainyard job list -o ta") == "table ");
  CHECK(bash("trainyard job list --output=ta") == "table ");
  CHECK(bash("trainyard job list --output=") == "csv json jsonc none table tsv yaml ");
  CHECK(bash("trainyard job list --quer") == "--query ");
}

TEST_CASE("completion: fish") {
  if (!have_program() || !have("fish")) return;
  const auto ask = [](const std::string& line) {
    const std::string folder = std::filesystem::path(program()).parent_path();
    return run_shell("PATH='" + folder +
                     "':$PATH HOME=/nonexistent fish --no-config -c 'trainyard completion fish | source; "
                     "complete -C \"" +
                     line + "\"' 2>/dev/null | cut -f1 | sort | tr '\\n' ' '")
        .text;
  };
  CHECK(ask("trainyard job te") == "terminate ");
  CHECK(ask("trainyard job list -o ta") == "table ");
  CHECK(ask("trainyard ") == candidates("''"));
}

TEST_CASE("completion: zsh") {
  if (!have_program() || !have("zsh")) return;
  const std::string folder = std::filesystem::path(program()).parent_path();
  // The real completion system on a pseudo terminal: type, press Tab, read what is on the line.
  const Folder own;
  std::ofstream(own / "script") << R"(zmodload zsh/zpty
zpty shell "PATH=$1:$PATH PS1= TERM=dumb zsh -f -i"
zpty -w shell 'autoload -U compinit && compinit -u -D; source <(trainyard completion zsh); echo read""y'
zpty -r shell seen '*ready*'
zpty -w -n shell $'trainyard job te\t'
zpty -r shell seen '*job terminate*' && print found
zpty -w -n shell $'\C-utrainyard job list -o ta\t'
zpty -r shell seen '*list -o table*' && print found
)";
  const auto ran = run_shell("timeout 20 zsh -f '" + (own / "script") + "' '" + folder + "' 2>&1");
  CHECK(ran.text == "found\nfound\n");
}

TEST_CASE("misspelt commands and options: what was meant, and where to look") {
  if (!have_program()) return;
  const auto says = [](const std::string& arguments) {
    const Ran ran = run(arguments);
    CHECK(ran.code == 2);
    return ran.text;
  };
  CHECK(says("clsuter list") ==
        "trainyard: trainyard has no command `clsuter` (did you mean `cluster`?); see `trainyard --help`\n");
  CHECK(says("job lst -g g") ==
        "trainyard: trainyard job has no command `lst` (did you mean `list`?); see `trainyard job --help`\n");
  CHECK(says("job list -g g -w w --experimnt e") ==
        "trainyard: trainyard job list has no option `--experimnt` (did you mean `--experiment`?); see `trainyard job "
        "list --help`\n");
  CHECK(says("job list --resource-grop=g") ==
        "trainyard: trainyard job list has no option `--resource-grop` (did you mean `--resource-group`?); see "
        "`trainyard job list --help`\n");
  CHECK(says("frobnicate") == "trainyard: trainyard has no command `frobnicate`; see `trainyard --help`\n");
  CHECK(says("job list -Z") == "trainyard: trainyard job list has no option `-Z`; see `trainyard job list --help`\n");
  // Right words with wrong values are another matter.
  CHECK_THAT(says("group list -o yml"), Catch::Contains("yml not in {json,jsonc,table,tsv,csv,yaml,none}"));
}
