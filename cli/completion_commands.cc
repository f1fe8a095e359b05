// `trainyard completion`: the scripts that make a shell ask `trainyard complete-line` (cli/command_line.h).
#include <fmt/format.h>

#include "cli/commands.h"

namespace trainyard::cli {
namespace {

constexpr const char* kBash =
    R"SCRIPT(# Completion of trainyard for bash. To load it: source <(trainyard completion bash)
_trainyard() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do
    line=${line%%$'\t'*}
    # bash takes a word apart at "=", and wants only the part behind it.
    case ${COMP_WORDS[COMP_CWORD]} in --*) ;; *) line=${line#--*=} ;; esac
    COMPREPLY+=("$line")
  done < <("${1/#\~/$HOME}" complete-line -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _trainyard trainyard
)SCRIPT";

constexpr const char* kZsh = R"SCRIPT(#compdef trainyard
# Completion of trainyard for zsh. To load it: source <(trainyard completion zsh), or save it as _trainyard in a folder of $fpath.
_trainyard() {
  local tab=$'\t'
  local -a lines found
  lines=("${(@f)$(${(Q)words[1]} complete-line -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
  lines=(${lines:#})
  found=(${${lines//:/\\:}/$tab/:})
  if (( $#found )); then
    _describe trainyard found
  else
    _files
  fi
}
if [[ $funcstack[1] = _trainyard ]]; then
  _trainyard "$@"
else
  compdef _trainyard trainyard
fi
)SCRIPT";

constexpr const char* kFish =
    R"SCRIPT(# Completion of trainyard for fish. To load it: trainyard completion fish | source
function __trainyard_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  $words[1] complete-line -- $words[2..-1] "$current" 2>/dev/null
end
complete -c trainyard -n 'test (count (__trainyard_complete)) -gt 0' -f -k -a '(__trainyard_complete)'
)SCRIPT";

std::string script_for(const std::string& shell) {
  if (shell == "bash") return kBash;
  return shell == "zsh" ? kZsh : kFish;
}

}  // namespace

void add_completion_command(CLI::App& app, Program& program) {
  auto shell = std::make_shared<std::string>();
  CLI::App& command = program.plain_command(
      app, "completion", "A script that completes commands, options and values in your shell",
      "trainyard completion bash > ~/.local/share/bash-completion/completions/trainyard", [shell] {
        fmt::print("{}", script_for(*shell));
        return static_cast<int>(kDone);
      });
  command.add_option("shell", *shell, "Your shell")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
}

}  // namespace trainyard::cli
