#include "cli/commands.h"
#include "cli/show.h"
#include "trainyard/v1/experiments.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Experiments::Stub;

int create(Program& program, const Place& place) {
  auto request = request_for<v1::CreateExperimentRequest>(place);
  request.set_request_id(new_request_id());
  const auto experiment = program.ask(&Stub::CreateExperiment, request);
  return experiment ? program.print(show_one(*experiment)) : program.exit_code();
}

int show(Program& program, const Place& place) {
  const auto experiment = program.ask(&Stub::GetExperiment, request_for<v1::GetExperimentRequest>(place));
  return experiment ? program.print(show_one(*experiment)) : program.exit_code();
}

int list(Program& program, const Place& place) {
  v1::ListExperimentsRequest request;
  request.set_resource_group(place.group);
  request.set_workspace(place.workspace);
  const auto experiments = program.ask(&Stub::ListExperiments, request);
  return experiments ? program.print(show_all(experiments->experiments())) : program.exit_code();
}

int remove(Program& program, const Place& place) {
  if (!program.confirmed()) return program.exit_code();
  auto request = request_for<v1::DeleteExperimentRequest>(place);
  request.set_request_id(new_request_id());
  if (!program.ask(&Stub::DeleteExperiment, request)) return program.exit_code();
  if (!program.waits()) return kDone;
  return wait_gone(program, "experiment " + place.name, &Stub::GetExperiment,
                   request_for<v1::GetExperimentRequest>(place));
}

}  // namespace

void add_experiment_commands(CLI::App& app, Program& program) {
  CLI::App& experiments = program.group(app, "experiment", "Experiments: named sets of jobs");
  auto place = std::make_shared<Place>();
  const auto add_place = [&](CLI::App& command) {
    add_group_flag(command, place->group);
    add_workspace_flag(command, place->workspace);
    command.add_option("-n,--name,-e,--experiment", place->name, "Name of the experiment")->required();
  };
  add_place(program.command(experiments, "create", "Create an experiment",
                            "trainyard experiment create -g mygroup -w batchaidev --name cifar",
                            [=, &program] { return create(program, *place); }));
  add_place(program.command(experiments, "show", "Show an experiment",
                            "trainyard experiment show -g mygroup -w batchaidev -n cifar",
                            [=, &program] { return show(program, *place); }));
  CLI::App& listing = program.command(experiments, "list", "List a workspace's experiments",
                                      "trainyard experiment list -g mygroup -w batchaidev -o table",
                                      [=, &program] { return list(program, *place); });
  add_group_flag(listing, place->group);
  add_workspace_flag(listing, place->workspace);
  CLI::App& deleting = program.command(experiments, "delete", "Delete an experiment with its jobs; their files stay",
                                       "trainyard experiment delete -g mygroup -w batchaidev -n cifar -y",
                                       [=, &program] { return remove(program, *place); });
  add_place(deleting);
  program.add_confirmation(deleting);
}

}  // namespace trainyard::cli
