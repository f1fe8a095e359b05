// trainyard node check: a job on a cluster that measures its nodes; what it found is kept per node, and a node that is
// worse than asked for is drained.
#include "cli/check_commands.h"

#include <fmt/format.h>

#include <cstdlib>
#include <map>

#include "cli/commands.h"
#include "cli/show.h"
#include "common/wall_clock.h"
#include "trainyard/v1/clusters.grpc.pb.h"
#include "trainyard/v1/experiments.grpc.pb.h"
#include "trainyard/v1/jobs.grpc.pb.h"
#include "trainyard/v1/nodes.grpc.pb.h"

namespace trainyard::cli {
namespace {

constexpr const char* kExperiment = "node-checks";

struct Options {
  std::string group, workspace, cluster, share;
  std::uint32_t nodes = 0;
  std::vector<std::string> least;
  bool cpu = false;
};

// "memoryGBps=5" -> {"memoryGBps", 5}
Result<std::map<std::string, double>> limits_of(const Options& options) {
  std::map<std::string, double> limits;
  for (const std::string& text : options.least) {
    const auto equal = text.find('=');
    char* end = nullptr;
    const double value = equal == std::string::npos ? 0 : std::strtod(text.c_str() + equal + 1, &end);
    if (end == nullptr || *end != '\0' || end == text.c_str() + equal + 1) {
      return Error{Code::invalid_argument, "--min: must look like memoryGBps=5, not " + text};
    }
    limits[text.substr(0, equal)] = value;
  }
  return limits;
}

v1::JobName name_of(const Options& options, const std::string& name) {
  v1::JobName full;
  full.set_resource_group(options.group);
  full.set_workspace(options.workspace);
  full.set_experiment(kExperiment);
  full.set_name(name);
  return full;
}

v1::CreateJobRequest job_request(const Options& options, const std::string& name, std::uint32_t nodes) {
  v1::CreateJobRequest request;
  request.set_request_id(new_request_id());
  request.set_resource_group(options.group);
  request.set_workspace(options.workspace);
  request.set_experiment(kExperiment);
  request.set_name(name);
  v1::JobSpec& spec = *request.mutable_spec();
  spec.set_cluster(options.group + "/" + options.workspace + "/" + options.cluster);
  spec.set_node_count(static_cast<std::int32_t>(nodes));
  spec.set_toolkit(v1::TOOLKIT_CUSTOM_MPI);
  spec.set_process_count(static_cast<std::int32_t>(nodes));
  spec.set_command_line(std::string("exec \"$TRAINYARD_PROGRAMS/trainyard-check-") + (options.cpu ? "cpu" : "gpu") +
                        "\"");
  spec.set_std_out_err_path_prefix("$AZ_BATCHAI_JOB_MOUNT_ROOT/checks");
  v1::AzureFileShare& share = *spec.add_azure_file_shares();
  const auto slash = options.share.find('/');
  share.set_account_name(options.share.substr(0, slash));
  share.set_azure_file_url("https://" + share.account_name() + ".file.core.windows.net/" +
                           options.share.substr(slash + 1));
  share.set_relative_mount_path("checks");
  return request;
}

Result<std::string> read_output(Client& client, const v1::JobName& job) {
  v1::ReadJobFileRequest request;
  *request.mutable_job() = job;
  request.set_output_directory_id("stdouterr");
  request.set_path("stdout.txt");
  v1::Jobs::Stub stub(client.channel());
  grpc::ClientContext context;
  const auto reader = stub.ReadJobFile(&context, request);
  std::string text;
  for (v1::FileChunk chunk; reader->Read(&chunk);) text += chunk.data();
  const grpc::Status status = reader->Finish();
  if (!status.ok()) return client.error_of(status);
  return text;
}

// What one line of the output says of its node, held against what was asked for.
v1::RecordNodeHealthRequest judge(const Json& line, const std::map<std::string, double>& least) {
  v1::RecordNodeHealthRequest health;
  health.set_request_id(new_request_id());
  health.set_name(line.value("node", ""));
  std::string wrong, all;
  const auto add = [](std::string& text, const std::string& more) { text += (text.empty() ? "" : ", ") + more; };
  const auto errors = line.value("errors", std::uint64_t{0});
  if (errors != 0) add(wrong, fmt::format("{} error(s) in memory or in the sum of all nodes", errors));
  const Json figures = line.value("figures", Json::object());
  for (const auto& [name, value] : figures.items()) {
    auto& figure = *health.add_figures();
    figure.set_name(name);
    figure.set_value(value.get<std::string>());
    add(all, name + " " + figure.value());
  }
  for (const auto& [name, limit] : least) {
    if (!figures.contains(name)) {
      add(wrong, name + " was not measured");
    } else if (std::strtod(figures[name].get<std::string>().c_str(), nullptr) < limit) {
      add(wrong, fmt::format("{} {} is less than {}", name, figures[name].get<std::string>(), limit));
    }
  }
  health.set_passed(wrong.empty());
  health.set_summary(wrong.empty() ? all : wrong);
  return health;
}

std::vector<v1::RecordNodeHealthRequest> results_of(const std::string& output,
                                                    const std::map<std::string, double>& least) {
  std::vector<v1::RecordNodeHealthRequest> results;
  for (std::size_t at = 0; at < output.size();) {
    const auto end = std::min(output.find('\n', at), output.size());
    const Json line = Json::parse(output.substr(at, end - at), nullptr, false);
    if (line.is_object() && line.contains("node")) results.push_back(judge(line, least));
    at = end + 1;
  }
  return results;
}

// The job's end, or an error that was printed.
std::optional<v1::Job> run_job(Program& program, const Options& options, std::uint32_t nodes) {
  v1::CreateExperimentRequest experiment;
  experiment.set_request_id(new_request_id());
  experiment.set_resource_group(options.group);
  experiment.set_workspace(options.workspace);
  experiment.set_name(kExperiment);
  if (!program.ask(&v1::Experiments::Stub::CreateExperiment, experiment)) return std::nullopt;
  const std::string name = fmt::format("check-{}", wall_clock_ms());
  auto job = program.ask(&v1::Jobs::Stub::CreateJob, job_request(options, name, nodes));
  if (!job) return std::nullopt;
  auto client = program.client();
  const bool ended = program.wait_until("the check of " + options.cluster, [&](std::string& detail) -> Result<bool> {
    auto next = (*client)->call(&v1::Jobs::Stub::GetJob, name_of(options, name));
    if (!next) return next.error();
    job = std::move(next).value();
    detail = job->reason();
    return job->execution_state() == "succeeded" || job->execution_state() == "failed";
  });
  if (!ended) return std::nullopt;
  return job;
}

int check(Program& program, const Options& options) {
  const auto least = limits_of(options);
  if (!least) return program.usage(least.error());
  if (options.share.find('/') == std::string::npos) {
    return program.usage(Error{Code::invalid_argument, "--share: give ACCOUNT/SHARE, where the figures are written"});
  }
  v1::GetClusterRequest request;
  request.set_resource_group(options.group);
  request.set_workspace(options.workspace);
  request.set_name(options.cluster);
  const auto cluster = program.ask(&v1::Clusters::Stub::GetCluster, request);
  if (!cluster) return program.exit_code();
  const auto idle = static_cast<std::uint32_t>(cluster->node_state_counts().idle_node_count());
  const std::uint32_t nodes = options.nodes != 0 ? options.nodes : idle;
  if (nodes == 0) {
    return program.fail(Error{Code::failed_precondition,
                              "cluster " + options.cluster + " has no idle node: say how many with --nodes, and wait"});
  }
  const auto job = run_job(program, options, nodes);
  if (!job) return program.exit_code();
  const auto output = read_output(**program.client(), name_of(options, job->name()));
  if (!output) return program.fail(output.error());
  const auto results = results_of(*output, *least);
  if (results.size() != nodes) {
    return program.fail(Error{Code::failed_precondition,
                              fmt::format("job {} of experiment {} did not measure its {} node(s): {}; its output says "
                                          "more; no node is drained",
                                          job->name(), kExperiment, nodes, job->reason())});
  }
  Answer answer;
  bool passed = true;
  std::vector<v1::Node> shown;
  for (const auto& health : results) {
    const auto node = program.ask(&v1::Nodes::Stub::RecordNodeHealth, health);
    if (!node) return program.exit_code();
    passed = passed && health.passed();
    shown.push_back(*node);
  }
  const int printed = program.print(show_all(shown));
  return printed != kDone || passed ? printed : kRequestFailed;
}

}  // namespace

void add_check_command(CLI::App& nodes, Program& program) {
  auto options = std::make_shared<Options>();
  CLI::App& checking = program.command(
      nodes, "check", "Measure a cluster's nodes with a job; one that is worse than asked for is drained",
      "trainyard node check -g mygroup -w batchaidev -c nc6 --share myaccount/myshare --min ncclAllReduceGBps=150",
      [=, &program] { return check(program, *options); });
  use_setting(*checking.add_option("-g,--resource-group", options->group, "Resource group")->required(), "group",
              options->group);
  use_setting(*checking.add_option("-w,--workspace", options->workspace, "Workspace")->required(), "workspace",
              options->workspace);
  checking.add_option("-c,--cluster", options->cluster, "Cluster whose nodes are measured")->required();
  checking.add_option("--share", options->share, "ACCOUNT/SHARE for the output of the job")->required();
  checking.add_option("--nodes", options->nodes, "How many nodes; default: as many as are idle");
  checking.add_option("--min", options->least, "FIGURE=VALUE that each node must reach; may be repeated");
  checking.add_flag("--cpu", options->cpu, "Memory and the network only, for nodes without GPUs");
}

}  // namespace trainyard::cli
