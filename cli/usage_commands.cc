// trainyard list-usages: what is in use of what there is.
#include "cli/commands.h"
#include "cli/show.h"
#include "trainyard/v1/usages.grpc.pb.h"

namespace trainyard::cli {

void add_usage_commands(CLI::App& app, Program& program) {
  auto location = std::make_shared<std::string>();
  CLI::App& listing = program.command(app, "list-usages", "Show what is in use: clusters, nodes, GPUs",
                                      "trainyard list-usages -o table", [&program, location] {
                                        const auto usages =
                                            program.ask(&v1::Usages::Stub::ListUsages, v1::ListUsagesRequest());
                                        return usages ? program.print(show_all(usages->usages())) : program.exit_code();
                                      });
  listing.add_option("-l,--location", *location, "No effect: a controller is one place");
}

}  // namespace trainyard::cli
