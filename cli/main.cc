// trainyard: the command line. Speaks to the controller by gRPC and to nothing else; `simulate` needs not even that.
#include "cli/commands.h"
#include "cli/simulate_commands.h"

namespace {

constexpr const char* kFooter =
    "Exit codes:\n"
    "  0    done\n"
    "  1    the controller refused the request, or it failed; also: a question was answered with no\n"
    "  2    the command line is wrong (--query too), or asks for something that is not supported yet\n"
    "  3    not found\n"
    "  4    the controller cannot be reached\n"
    "  130  interrupted with Ctrl-C\n"
    "  `job wait` exits with the job's own exit code when the job failed (255 when it has none).\n"
    "\n"
    "Defaults for -g, -w, -e, -o and the controller: `trainyard configure`. What wins: flag, environment\n"
    "($TRAINYARD_GROUP, ...), ~/.config/trainyard/config, built in.\n"
    "Completion in your shell: `trainyard completion --help`.\n"
    "\n"
    "Example:\n"
    "  trainyard job list -g mygroup -w myworkspace -e myexperiment -o table\n";

}  // namespace

int main(int argc, char** argv) {
  using namespace trainyard::cli;
  CLI::App app("Run distributed training jobs on your own machines", "trainyard");
  app.set_help_flag("-h,--help", "Show this help");
  app.set_version_flag("--version", std::string("trainyard ") + TRAINYARD_VERSION);
  app.require_subcommand(1);
  app.footer(kFooter);
  Program program;
  add_group_commands(app, program);
  add_workspace_commands(app, program);
  add_experiment_commands(app, program);
  add_cluster_commands(app, program);
  add_job_commands(app, program);
  add_storage_commands(app, program);
  add_node_commands(app, program);
  add_file_server_commands(app, program);
  add_usage_commands(app, program);
  add_simulate_commands(app, program);
  add_configure_command(app, program);
  add_completion_command(app, program);
  return program.run(argc, argv, app);
}
