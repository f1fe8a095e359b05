// cluster node list, job node list: Batch AI's "remote login information". No ssh is used here, so the port stays
// empty.
#include "cli/commands.h"
#include "cli/show.h"
#include "trainyard/v1/jobs.grpc.pb.h"
#include "trainyard/v1/nodes.grpc.pb.h"

namespace trainyard::cli {
namespace {

std::string full_name(const ClusterPlace& cluster) {
  return cluster.group + "/" + cluster.workspace + "/" + cluster.name;
}

void add_node(Answer& answer, const std::string& name, const std::string& address) {
  answer.value.push_back(
      {{"ipAddress", address.empty() ? Json(nullptr) : Json(address)}, {"nodeId", name}, {"port", nullptr}});
  answer.table.rows.push_back({name, address, ""});
}

Answer no_nodes() {
  return Answer{Json::array(), Table{{"ID", "IP", "SSH Port"}, {}}};
}

int list_of_cluster(Program& program, const Place& place) {
  v1::ListNodesRequest request;
  request.set_cluster(full_name({place.group, place.workspace, place.name}));
  const auto nodes = program.ask(&v1::Nodes::Stub::ListNodes, request);
  if (!nodes) return program.exit_code();
  Answer answer = no_nodes();
  for (const v1::Node& node : nodes->nodes()) add_node(answer, node.name(), node.address());
  return program.print(answer);
}

// In the order of the ranks, as the job has them.
int list_of_job(Program& program, const Place& place) {
  v1::JobName name;
  name.set_resource_group(place.group);
  name.set_workspace(place.workspace);
  name.set_experiment(place.experiment);
  name.set_name(place.name);
  const auto job = program.ask(&v1::Jobs::Stub::GetJob, name);
  if (!job) return program.exit_code();
  const auto nodes = program.ask(&v1::Nodes::Stub::ListNodes, v1::ListNodesRequest());
  if (!nodes) return program.exit_code();
  std::map<std::string, std::string> addresses;
  for (const v1::Node& node : nodes->nodes()) addresses[node.name()] = node.address();
  Answer answer = no_nodes();
  for (const std::string& node : job->nodes()) add_node(answer, node, addresses[node]);
  return program.print(answer);
}

}  // namespace

void add_cluster_node_commands(CLI::App& cluster, Program& program) {
  CLI::App& nodes = program.group(cluster, "node", "Nodes of a cluster");
  auto place = std::make_shared<Place>();
  CLI::App& command = program.command(nodes, "list", "List a cluster's nodes with their addresses",
                                      "trainyard cluster node list -g mygroup -w batchaidev -c nc6cluster -o table",
                                      [=, &program] { return list_of_cluster(program, *place); });
  add_group_flag(command, place->group);
  add_workspace_flag(command, place->workspace);
  command.add_option("-c,--cluster,-n,--name", place->name, "Name of the cluster")->required();
  program.refuse_command(nodes, "exec");
}

void add_job_node_commands(CLI::App& job, Program& program) {
  CLI::App& nodes = program.group(job, "node", "Nodes that a job runs on");
  auto place = std::make_shared<Place>();
  CLI::App& command = program.command(nodes, "list", "List a job's nodes with their addresses, the first rank's first",
                                      "trainyard job node list -g mygroup -w batchaidev -e cifar -j cifar_1 -o table",
                                      [=, &program] { return list_of_job(program, *place); });
  add_group_flag(command, place->group);
  add_workspace_flag(command, place->workspace);
  add_experiment_flag(command, place->experiment);
  command.add_option("-j,--job,-n,--name", place->name, "Name of the job")->required();
  program.refuse_command(nodes, "exec");
}

}  // namespace trainyard::cli
