// cluster node list | exec, job node list | exec: nodes of a cluster or job, commands on them, and ports that lead
// there.
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

#include <cstdio>

#include "cli/commands.h"
#include "cli/port_forward.h"
#include "trainyard/v1/exec.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Exec::Stub;

struct Options {
  Place place;  // name: the job's or cluster's
  bool job = false;
  std::string node, command, password, key;
  std::vector<std::string> forwards;
};

std::optional<v1::ListExecNodesResponse> nodes_of(Program& program, const Options& options) {
  const Place& place = options.place;
  if (options.job) {
    v1::JobName name;
    name.set_resource_group(place.group);
    name.set_workspace(place.workspace);
    name.set_experiment(place.experiment);
    name.set_name(place.name);
    return program.ask(&Stub::ListJobNodes, name);
  }
  v1::ExecCluster name;
  name.set_resource_group(place.group);
  name.set_workspace(place.workspace);
  name.set_name(place.name);
  return program.ask(&Stub::ListClusterNodes, name);
}

// Batch AI's columns. There is no port to log in at: the agents dial, and `node exec` needs none.
int list(Program& program, const Options& options) {
  const auto found = nodes_of(program, options);
  if (!found) return program.exit_code();
  Answer answer{Json::array(), Table{{"ID", "IP", "SSH Port"}, {}}};
  for (const v1::ExecNode& node : found->nodes()) {
    answer.value.push_back({{"ipAddress", node.ip_address()},
                            {"nodeId", node.node_id()},
                            {"port", nullptr},
                            {"reachable", node.reachable()}});
    answer.table.rows.push_back({node.node_id(), node.ip_address(), ""});
  }
  return program.print(answer);
}

int usage(const std::string& message) {
  fmt::print(stderr, "trainyard: {}\n", message);
  return kUsage;
}

// Where the command runs; without --node-id the first node.
Result<v1::ExecStart> start_on(const Options& options, const v1::ListExecNodesResponse& nodes) {
  // With a command, the controller says why it cannot run.
  if (nodes.nodes().empty() && options.command.empty()) {
    return Error{Code::failed_precondition,
                 options.job ? "job " + options.place.name + " runs on no node now: see `job show`"
                             : "cluster " + options.place.name + " has no node now: see `cluster show`"};
  }
  v1::ExecStart start;
  start.set_node(options.node);
  if (options.node.empty() && !nodes.nodes().empty()) start.set_node(nodes.nodes(0).node_id());
  const Place& place = options.place;
  if (options.job) {
    start.mutable_job()->set_resource_group(place.group);
    start.mutable_job()->set_workspace(place.workspace);
    start.mutable_job()->set_experiment(place.experiment);
    start.mutable_job()->set_name(place.name);
  } else {
    start.mutable_cluster()->set_resource_group(place.group);
    start.mutable_cluster()->set_workspace(place.workspace);
    start.mutable_cluster()->set_name(place.name);
  }
  return start;
}

// Blocked before any thread is there, so that waiting for them is all that they do.
sigset_t block_ends() {
  sigset_t ends;
  sigemptyset(&ends);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&ends, number);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  return ends;
}

int exec(Program& program, const Options& options) {
  std::vector<Forward> forwards;
  for (const std::string& text : options.forwards) {
    const auto forward = parse_forward(text);
    if (!forward) return usage(forward.error().message);
    forwards.push_back(*forward);
  }
  if (options.command.empty() && forwards.empty()) {
    return usage("nothing to do: give --exec COMMAND, or -L LOCAL:HOST:PORT, or both");
  }
  if (!options.password.empty() || !options.key.empty()) {
    fmt::print(stderr, "trainyard: warning: --password and --ssh-private-key have no effect: there is no ssh here\n");
  }
  sigset_t ends{};
  if (options.command.empty()) ends = block_ends();
  const auto nodes = nodes_of(program, options);
  if (!nodes) return program.exit_code();
  auto start = start_on(options, *nodes);
  if (!start) return program.fail(start.error());
  auto client = program.client();
  if (!client) return program.fail(client.error());
  const OpenExec open = [channel = (*client)->channel(), job = options.job](grpc::ClientContext& context) {
    Stub stub(channel);
    return job ? stub.ExecInJob(&context) : stub.ExecOnNode(&context);
  };
  PortForwards ports(open, *start);
  for (const Forward& forward : forwards) {
    if (const auto added = ports.add(forward); !added) return program.fail(added.error());
  }
  if (options.command.empty()) {
    int number = 0;
    sigwait(&ends, &number);
    return kDone;
  }
  start->set_command(options.command);
  const auto exit_code = run_command(**client, open, *start);
  return exit_code ? *exit_code : program.fail(exit_code.error());
}

void add_place(CLI::App& command, const std::shared_ptr<Options>& options) {
  add_group_flag(command, options->place.group);
  add_workspace_flag(command, options->place.workspace);
  if (options->job) {
    add_experiment_flag(command, options->place.experiment);
    command.add_option("-j,--job", options->place.name, "Name of the job")->required();
  } else {
    command.add_option("-c,--cluster", options->place.name, "Name of the cluster")->required();
  }
}

void add_commands(CLI::App& parent, Program& program, bool job) {
  CLI::App& nodes = program.group(parent, "node", job ? "Nodes of a running job" : "Nodes of a cluster");
  auto options = std::make_shared<Options>();
  options->job = job;
  const std::string at =
      job ? "-g mygroup -w batchaidev -e cifar -j cifar_1" : "-g mygroup -w batchaidev -c nc6cluster";
  const std::string words = job ? "trainyard job node " : "trainyard cluster node ";
  add_place(
      program.command(nodes, "list", job ? "List the nodes where a job runs, head first" : "List a cluster's nodes",
                      words + "list " + at + " -o table", [=, &program] { return list(program, *options); }),
      options);
  CLI::App& running = program.command(
      nodes, "exec",
      job ? "Run a command in a job, on one of its nodes; it ends with this command and with the job, and the "
            "job's timeline says who ran it"
          : "Run a command as root on a node of a cluster; all of it ends with this command",
      words + "exec " + at + " --exec nvidia-smi\n  " + words + "exec " + at +
          (job ? " --exec 'tensorboard --logdir $AZ_BATCHAI_OUTPUT_MODEL' -L 6006:localhost:6006"
               : " -n node2 --exec bash"),
      [=, &program] { return exec(program, *options); });
  add_place(running, options);
  running.add_option("--exec", options->command,
                     "The command, for bash; on a terminal it has one, too. Exits with its exit code");
  running.add_option("-n,--node-id", options->node, "Node, as `node list` names it [the first]");
  running
      .add_option("-L,--address", options->forwards,
                  "LOCAL:HOST:PORT: 127.0.0.1:LOCAL here leads to HOST:PORT as the node sees it; repeatable; without "
                  "--exec until Ctrl-C")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  running.add_option("-p,--password", options->password, "No effect: there is no ssh here");
  running.add_option("-k,--ssh-private-key", options->key, "No effect: there is no ssh here");
}

}  // namespace

void add_cluster_node_commands(CLI::App& clusters, Program& program) {
  add_commands(clusters, program, false);
}

void add_job_node_commands(CLI::App& jobs, Program& program) {
  add_commands(jobs, program, true);
}

}  // namespace trainyard::cli
