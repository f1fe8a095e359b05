#include "cli/counter_commands.h"

#include <google/protobuf/util/time_util.h>

#include "cli/commands.h"
#include "cli/moment.h"
#include "cli/show_counters.h"
#include "common/wall_clock.h"
#include "trainyard/v1/nodes.grpc.pb.h"

namespace trainyard::cli {
namespace {

using google::protobuf::util::TimeUtil;
using Stub = v1::Nodes::Stub;

struct Options {
  Place place;  // of the cluster, or of the job
  std::string node, from, to, step;
};

// The span that is asked for, without what it is asked of.
template <class Request>
Result<Request> span_of(const Options& options) {
  const TimeMs now_ms = wall_clock_ms();
  Request request;
  if (!options.from.empty()) {
    const auto from = parse_moment("--from", options.from, now_ms);
    if (!from) return from.error();
    *request.mutable_from() = TimeUtil::MillisecondsToTimestamp(*from);
  }
  if (!options.to.empty()) {
    const auto to = parse_moment("--to", options.to, now_ms);
    if (!to) return to.error();
    *request.mutable_to() = TimeUtil::MillisecondsToTimestamp(*to);
  }
  if (!options.step.empty()) {
    const auto step = parse_span("--step", options.step);
    if (!step) return step.error();
    *request.mutable_step() = TimeUtil::MillisecondsToDuration(*step);
  }
  return request;
}

int of_node(Program& program, const Options& options) {
  auto request = span_of<v1::GetNodeCountersRequest>(options);
  if (!request) return program.usage(request.error());
  request->set_name(options.node);
  const auto counters = program.ask(&Stub::GetNodeCounters, *request);
  return counters ? program.print(show_series(*counters)) : program.exit_code();
}

int of_cluster(Program& program, const Options& options) {
  auto request = span_of<v1::GetNodeCountersRequest>(options);
  if (!request) return program.usage(request.error());
  v1::ListNodesRequest list;
  list.set_cluster(options.place.group + "/" + options.place.workspace + "/" + options.place.name);
  const auto nodes = program.ask(&Stub::ListNodes, list);
  if (!nodes) return program.exit_code();
  std::vector<v1::NodeCounters> all;
  for (const v1::Node& node : nodes->nodes()) {
    request->set_name(node.name());
    auto counters = program.ask(&Stub::GetNodeCounters, *request);
    if (!counters) return program.exit_code();
    all.push_back(std::move(*counters));
  }
  return program.print(show_newest(all));
}

int of_job(Program& program, const Options& options) {
  auto request = span_of<v1::GetJobCountersRequest>(options);
  if (!request) return program.usage(request.error());
  v1::JobName& job = *request->mutable_job();
  job.set_resource_group(options.place.group);
  job.set_workspace(options.place.workspace);
  job.set_experiment(options.place.experiment);
  job.set_name(options.place.name);
  const auto counters = program.ask(&Stub::GetJobCounters, *request);
  return counters ? program.print(show_job_series(*counters)) : program.exit_code();
}

void add_span(CLI::App& command, Options& options, const std::string& begin) {
  command.add_option("--from", options.from, std::string("From when on: ") + kMomentForms + " [" + begin + "]");
  command.add_option("--to", options.to, "Until when, likewise [now]");
  command.add_option("--step", options.step,
                     "Averages over such spans, e.g. 5m [as kept: every 15 s for 6 hours, then 5-minute averages]");
}

}  // namespace

void add_node_counters_command(CLI::App& nodes, Program& program) {
  auto options = std::make_shared<Options>();
  CLI::App& command = program.command(nodes, "counters", "Show how busy a node was: CPU, memory, network, GPUs",
                                      "trainyard node counters -n n1 --from -2h --step 5m -o table",
                                      [=, &program] { return of_node(program, *options); });
  command.add_option("-n,--name,name", options->node, "Name of the node")->required();
  add_span(command, *options, "-1h");
}

void add_cluster_counters_command(CLI::App& clusters, Program& program) {
  auto options = std::make_shared<Options>();
  CLI::App& command = program.command(
      clusters, "counters", "Show how busy a cluster's nodes are: the table has the newest sample of each, JSON all",
      "trainyard cluster counters -g mygroup -w batchaidev -n nc6cluster -o table",
      [=, &program] { return of_cluster(program, *options); });
  add_group_flag(command, options->place.group);
  add_workspace_flag(command, options->place.workspace);
  command.add_option("-n,--name,-c,--cluster", options->place.name, "Name of the cluster")->required();
  add_span(command, *options, "-1h");
}

void add_job_counters_command(CLI::App& jobs, Program& program) {
  auto options = std::make_shared<Options>();
  CLI::App& command =
      program.command(jobs, "counters", "Show how busy a job's own processes and GPUs were, on each of its nodes",
                      "trainyard job counters -g mygroup -w batchaidev -e cifar -n cifar_1 --step 5m -o table",
                      [=, &program] { return of_job(program, *options); });
  add_group_flag(command, options->place.group);
  add_workspace_flag(command, options->place.workspace);
  add_experiment_flag(command, options->place.experiment);
  command.add_option("-n,--name,-j,--job", options->place.name, "Name of the job")->required();
  add_span(command, *options, "when the job was made");
}

}  // namespace trainyard::cli
