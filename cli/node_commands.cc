#include "cli/check_commands.h"
#include "cli/commands.h"
#include "cli/counter_commands.h"
#include "cli/show.h"
#include "cli/show_counters.h"
#include "trainyard/v1/nodes.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Nodes::Stub;

struct Options {
  std::string name, cluster, group, workspace, reason;
  bool confirmed_off = false, requeue = false, cordon = false;
};

int list(Program& program, const Options& options) {
  v1::ListNodesRequest request;
  if (!options.cluster.empty()) {
    const bool whole = options.cluster.find('/') != std::string::npos;
    if (!whole && (options.group.empty() || options.workspace.empty())) {
      return program.fail(Error{Code::invalid_argument, "--cluster: give -g and -w too, or GROUP/WORKSPACE/CLUSTER"});
    }
    request.set_cluster(whole ? options.cluster : options.group + "/" + options.workspace + "/" + options.cluster);
  }
  const auto nodes = program.ask(&Stub::ListNodes, request);
  return nodes ? program.print(show_all(nodes->nodes())) : program.exit_code();
}

int show(Program& program, const Options& options) {
  v1::GetNodeRequest request;
  request.set_name(options.name);
  const auto node = program.ask(&Stub::GetNode, request);
  if (!node) return program.exit_code();
  // A controller that cannot read its counters now shows the node all the same.
  v1::GetNodeCountersRequest of_last_hour;
  of_last_hour.set_name(node->name());
  auto client = program.client();
  if (!client) return program.fail(client.error());
  const auto counters = (*client)->call(&Stub::GetNodeCounters, of_last_hour);
  Answer answer = show_one(*node);
  const bool any = counters && !counters->samples().empty();
  answer.value["counters"] = any ? json_of(*counters->samples().rbegin()) : Json(nullptr);
  answer.table.columns.insert(answer.table.columns.end() - 1, {"CPU", "GPU Use"});
  std::vector<std::string>& row = answer.table.rows.front();
  row.insert(row.end() - 1,
             {any ? cpu_cell(*counters->samples().rbegin()) : "", any ? gpu_cell(*counters->samples().rbegin()) : ""});
  return program.print(answer);
}

int fence(Program& program, const Options& options) {
  v1::FenceNodeRequest request;
  request.set_request_id(new_request_id());
  request.set_name(options.name);
  request.set_confirmed_off(options.confirmed_off);
  const auto node = program.ask(&Stub::FenceNode, request);
  return node ? program.print(show_one(*node)) : program.exit_code();
}

int repair(Program& program, const Options& options) {
  v1::RepairNodeRequest request;
  request.set_request_id(new_request_id());
  request.set_name(options.name);
  const auto node = program.ask(&Stub::RepairNode, request);
  return node ? program.print(show_one(*node)) : program.exit_code();
}

int drain(Program& program, const Options& options) {
  v1::DrainNodeRequest request;
  request.set_request_id(new_request_id());
  request.set_name(options.name);
  request.set_reason(options.reason);
  request.set_requeue(options.requeue);
  request.set_cordon(options.cordon);
  const auto node = program.ask(&Stub::DrainNode, request);
  return node ? program.print(show_one(*node)) : program.exit_code();
}

int undrain(Program& program, const Options& options) {
  v1::UndrainNodeRequest request;
  request.set_request_id(new_request_id());
  request.set_name(options.name);
  const auto node = program.ask(&Stub::UndrainNode, request);
  return node ? program.print(show_one(*node)) : program.exit_code();
}

void add_drain_commands(CLI::App& nodes, Program& program, const std::shared_ptr<Options>& options) {
  CLI::App& draining = program.command(nodes, "drain", "Give a node no new jobs, until it is undrained",
                                       "trainyard node drain n1 --reason 'new memory modules'",
                                       [=, &program] { return drain(program, *options); });
  draining.add_option("-n,--name,name", options->name, "Name of the node")->required();
  draining.add_option("--reason", options->reason, "Why; shown to everybody whose job waits")->required();
  draining.add_flag("--requeue", options->requeue,
                    "Stop its jobs now and run them again elsewhere, instead of waiting for their end");
  CLI::App& cordoning = program.command(
      nodes, "cordon", "Give a node no new jobs for the time being; those on it go on",
      "trainyard node cordon n1 --reason 'watching its fans'\ntrainyard node uncordon n1", [=, &program] {
        options->cordon = true;
        return drain(program, *options);
      });
  cordoning.add_option("-n,--name,name", options->name, "Name of the node")->required();
  cordoning.add_option("--reason", options->reason, "Why; shown to everybody whose job waits")->required();
  for (const char* word : {"undrain", "uncordon"}) {
    CLI::App& undraining = program.command(nodes, word, "Give a drained or cordoned node jobs again",
                                           "trainyard node " + std::string(word) + " n1",
                                           [=, &program] { return undrain(program, *options); });
    undraining.add_option("-n,--name,name", options->name, "Name of the node")->required();
  }
}

}  // namespace

void add_node_commands(CLI::App& app, Program& program) {
  CLI::App& nodes = program.group(app, "node", "Nodes: the machines that joined");
  auto options = std::make_shared<Options>();
  CLI::App& listing =
      program.command(nodes, "list", "List nodes with their state and what runs there", "trainyard node list -o table",
                      [=, &program] { return list(program, *options); });
  listing.add_option("-c,--cluster", options->cluster, "Only this cluster's");
  use_setting(*listing.add_option("-g,--resource-group", options->group, "Resource group of the cluster"), "group",
              options->group);
  use_setting(*listing.add_option("-w,--workspace", options->workspace, "Workspace of the cluster"), "workspace",
              options->workspace);
  CLI::App& showing = program.command(nodes, "show", "Show a node, with its newest counters", "trainyard node show n1",
                                      [=, &program] { return show(program, *options); });
  showing.add_option("-n,--name,name", options->name, "Name of the node")->required();
  CLI::App& fencing =
      program.command(nodes, "fence", "Say that a node is off, so that its jobs may run again elsewhere",
                      "trainyard node fence n1 --confirmed-off", [=, &program] { return fence(program, *options); });
  fencing.add_option("-n,--name,name", options->name, "Name of the node")->required();
  fencing.add_flag("--confirmed-off", options->confirmed_off,
                   "You have seen that the machine is off: two owners of its GPUs are otherwise possible");
  CLI::App& repairing =
      program.command(nodes, "repair", "Set an unusable node up again now, not after the next pause",
                      "trainyard node repair n1", [=, &program] { return repair(program, *options); });
  repairing.add_option("-n,--name,name", options->name, "Name of the node")->required();
  add_check_command(nodes, program);
  add_drain_commands(nodes, program, options);
  add_node_counters_command(nodes, program);
}

}  // namespace trainyard::cli
