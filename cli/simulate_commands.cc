// trainyard simulate: what a cluster, or a policy, makes of a trace. Offline, but for `export`, which makes a trace of
// the controller's own history.
#include "cli/simulate_commands.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <fstream>

#include "cli/commands.h"
#include "cli/moment.h"
#include "cli/packed_file.h"
#include "cli/progress.h"
#include "cli/show_simulation.h"
#include "simulate/chart.h"
#include "simulate/import.h"
#include "trainyard/v1/experiments.grpc.pb.h"
#include "trainyard/v1/jobs.grpc.pb.h"

namespace trainyard::cli {
namespace {

using simulate::Outcome;
using simulate::Scenario;
using simulate::Trace;

constexpr std::size_t kLargestTraceBytes = 1024UL * 1024 * 1024;

struct Options {
  std::string trace, format = "trainyard", cluster, from, until, svg;
  std::vector<std::string> policies, what_ifs;
  std::uint32_t nodes = 0, gpus_per_node = 8, prepare_s = 0, clean_s = 0;
  std::int64_t assume_limit = 0;
  std::size_t most_jobs = 0;
};

Error wrong(const std::string& message) {
  return {Code::invalid_argument, message};
}

Result<simulate::ClusterShape> cluster_of(const Options& options) {
  if (options.cluster.empty() == (options.nodes == 0)) {
    return wrong("say which nodes there are: either --nodes (and --gpus-per-node) or --cluster");
  }
  if (options.cluster.empty()) return simulate::equal_nodes(options.nodes, options.gpus_per_node);
  const auto text = read_text_file(options.cluster, kLargestTraceBytes);
  if (!text) return text.error();
  return simulate::parse_cluster(*text, options.cluster);
}

// Each policy with the cluster as it is, then each change of each policy; what is there already is not run twice.
Result<std::vector<Scenario>> scenarios_of(const Options& options) {
  const auto cluster = cluster_of(options);
  if (!cluster) return cluster.error();
  std::vector<Scenario> scenarios;
  const auto add = [&scenarios](Scenario scenario) {
    const auto same = [&](const Scenario& other) { return other.label == scenario.label; };
    if (std::none_of(scenarios.begin(), scenarios.end(), same)) scenarios.push_back(std::move(scenario));
  };
  std::vector<std::string> names = options.policies;
  if (names.empty()) names.push_back(simulate::policies().front().name);
  for (const std::string& name : names) {
    auto policy = simulate::policy_named(name);
    if (!policy) return wrong("--policy: " + policy.error().message);
    add({name, std::move(*policy), *cluster, DurationMs{options.prepare_s} * 1000, DurationMs{options.clean_s} * 1000});
  }
  const std::vector<Scenario> bases = scenarios;
  for (const std::string& what_if : options.what_ifs) {
    for (const Scenario& base : bases) {
      auto scenario = simulate::changed(base, what_if);
      if (!scenario) return wrong("--what-if: " + scenario.error().message);
      add(std::move(*scenario));
    }
  }
  return scenarios;
}

// A trace's own seconds, or a moment of the calendar for those that count from 1970.
Result<std::optional<std::int64_t>> second_of(const std::string& flag, const std::string& text) {
  if (text.empty()) return std::optional<std::int64_t>();
  if (text.size() < 18 && text.find_first_not_of("0123456789") == std::string::npos) {
    return std::optional<std::int64_t>(std::stoll(text));
  }
  const auto moment = parse_moment(flag, text, 0);
  if (moment && !text.starts_with("-")) return std::optional<std::int64_t>(*moment / 1000);
  return wrong(flag + ": \"" + text + "\" must be a second of the trace, or look like 2017-10-09T12:00:00Z");
}

Result<Trace> trace_of(const Options& options, std::uint32_t most_gpus) {
  simulate::Selection selection;
  selection.most_jobs = options.most_jobs;
  const auto from = second_of("--from", options.from), until = second_of("--until", options.until);
  if (!from) return from.error();
  if (!until) return until.error();
  selection.from_s = *from;
  selection.until_s = *until;
  const auto text = read_packed_file(options.trace, kLargestTraceBytes);
  if (!text) return text.error();
  auto read = simulate::find_format(options.format)->read(*text, options.trace, most_gpus);
  if (!read) return read.error();
  Trace trace = simulate::select(std::move(*read), selection);
  if (trace.empty()) return wrong(options.trace + ": has no job (between --from and --until)");
  return trace;
}

// What a reader of the figures should know of them.
void remark(const Trace& trace, const Options& options, std::int64_t factor) {
  const auto without =
      std::count_if(trace.begin(), trace.end(), [](const simulate::TraceJob& job) { return job.limit_s == 0; });
  if (without == 0) return;
  if (factor > 0) {
    fmt::print(stderr, "trainyard: {}: {} of {} jobs have no time limit: {} times their run time is assumed\n",
               options.trace, without, trace.size(), factor);
  } else {
    fmt::print(stderr,
               "trainyard: {}: {} of {} jobs have no time limit, so nobody can plan with them; see --assume-limit\n",
               options.trace, without, trace.size());
  }
}

Status write_file(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) return Error{Code::internal, path + ": cannot be written"};
  return {};
}

int simulate_trace(Program& program, const Options& options) {
  if (options.trace.empty()) return program.usage(wrong("--trace is required; see `trainyard simulate --help`"));
  const auto scenarios = scenarios_of(options);
  if (!scenarios) return program.usage(scenarios.error());
  auto trace = trace_of(options, scenarios->front().cluster.most_gpus());
  if (!trace) return program.usage(trace.error());
  std::int64_t factor = options.assume_limit;
  if (factor == 0 && !simulate::find_format(options.format)->has_limits) factor = 2;
  remark(*trace, options, factor);
  if (factor > 0) simulate::assume_limits(*trace, factor);
  std::vector<Outcome> outcomes;
  for (const Scenario& scenario : *scenarios) {
    ProgressLine progress(fmt::format("{} jobs, {}", trace->size(), scenario.label));
    outcomes.push_back(simulate::run(*trace, scenario));
  }
  if (!options.svg.empty()) {
    if (const Status written = write_file(options.svg, simulate::draw(outcomes)); !written) {
      return program.fail(written.error());
    }
  }
  return program.print(show_simulation(*trace, outcomes));
}

// ---- export ----

using google::protobuf::util::TimeUtil;

std::optional<simulate::TraceJob> trace_job_of(const v1::Job& job) {
  const v1::ExecutionInfo& info = job.execution_info();
  if (!info.has_start_time() || !info.has_end_time()) return std::nullopt;
  const v1::JobSpec& spec = job.spec();
  simulate::TraceJob traced;
  traced.submit_s = job.creation_time().seconds();
  traced.workspace = job.resource_group() + "/" + job.workspace();
  traced.user = traced.workspace;
  traced.nodes = static_cast<std::uint32_t>(std::max(1, spec.node_count()));
  traced.gpus_per_node = static_cast<std::uint32_t>(spec.gpus_per_node());
  const std::int64_t ran_ms =
      TimeUtil::TimestampToMilliseconds(info.end_time()) - TimeUtil::TimestampToMilliseconds(info.start_time());
  traced.duration_s = std::max<std::int64_t>(0, ran_ms + 999) / 1000;
  if (spec.has_max_wall_clock_time()) traced.limit_s = spec.max_wall_clock_time().seconds();
  traced.priority = spec.scheduling_priority() == v1::PRIORITY_HIGH  ? Priority::high
                    : spec.scheduling_priority() == v1::PRIORITY_LOW ? Priority::low
                                                                     : Priority::normal;
  return traced;
}

// The experiment that was named, or all of the workspace; nullopt: an error was printed.
std::optional<std::vector<std::string>> experiments_of(Program& program, const Place& place) {
  if (!place.experiment.empty()) return std::vector<std::string>{place.experiment};
  v1::ListExperimentsRequest request;
  request.set_resource_group(place.group);
  request.set_workspace(place.workspace);
  const auto experiments = program.ask(&v1::Experiments::Stub::ListExperiments, request);
  if (!experiments) return std::nullopt;
  std::vector<std::string> names;
  for (const v1::Experiment& experiment : experiments->experiments()) names.push_back(experiment.name());
  return names;
}

int export_trace(Program& program, const Place& place) {
  const auto experiments = experiments_of(program, place);
  if (!experiments) return program.exit_code();
  Trace trace;
  std::size_t left_out = 0;
  for (const std::string& experiment : *experiments) {
    v1::ListJobsRequest request;
    request.set_resource_group(place.group);
    request.set_workspace(place.workspace);
    request.set_experiment(experiment);
    const auto jobs = program.ask(&v1::Jobs::Stub::ListJobs, request);
    if (!jobs) return program.exit_code();
    for (const v1::Job& job : jobs->jobs()) {
      auto traced = trace_job_of(job);
      if (traced) trace.push_back(std::move(*traced));
      left_out += traced ? 0 : 1;
    }
  }
  simulate::sort_by_submission(trace);
  hide_progress();
  if (left_out > 0) fmt::print(stderr, "trainyard: {} jobs that have not run to an end are left out\n", left_out);
  const std::string text = simulate::write_trace(trace);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return std::fflush(stdout) == 0 ? static_cast<int>(kDone)
                                  : program.fail(Error{Code::internal, "cannot write to standard output"});
}

std::vector<std::string> policy_names() {
  std::vector<std::string> names;
  for (const simulate::Policy& policy : simulate::policies()) names.push_back(policy.name);
  return names;
}

void add_flags(CLI::App& command, Options& options) {
  std::vector<std::string> format_names;
  std::string formats, policies;
  for (const simulate::Format& format : simulate::formats()) {
    format_names.push_back(format.name);
    formats += fmt::format("{}{} ({})", formats.empty() ? "" : "; ", format.name, format.what);
  }
  for (const simulate::Policy& policy : simulate::policies()) {
    policies += fmt::format("{}{} ({})", policies.empty() ? "" : "; ", policy.name, policy.what);
  }
  command.add_option("--trace", options.trace, "The jobs: a CSV file, may be packed with gzip");
  command.add_option("--format", options.format, "What the file is: " + formats + " [trainyard]")
      ->check(CLI::IsMember(format_names));
  command.add_option("--nodes", options.nodes, "How many equal nodes the cluster has")->check(CLI::Range(1, 1'000'000));
  command.add_option("--gpus-per-node", options.gpus_per_node, "GPUs of each of them [8]")->check(CLI::Range(0, 1'024));
  command.add_option("--cluster", options.cluster,
                     R"(Unequal nodes: a file like {"nodes": [{"count": 4, "gpus": 8}, {"count": 16, "gpus": 4}]})");
  command.add_option("--policy", options.policies, "How to plan, may be repeated: " + policies + " [conservative]")
      ->check(CLI::IsMember(policy_names()));
  command.add_option(
      "--what-if", options.what_ifs,
      "Compare with this change, may be repeated, several at once by commas: " + simulate::change_keys());
  command.add_option("--prepare-s", options.prepare_s, "Seconds that preparing a job's nodes takes [0]")
      ->check(CLI::Range(0, 1'800));
  command.add_option("--clean-s", options.clean_s, "Seconds that cleaning up after a job takes [0]")
      ->check(CLI::Range(0, 1'800));
  command
      .add_option("--assume-limit", options.assume_limit,
                  "A job without a time limit has one of so many times its run time [2 for published traces; else "
                  "nothing is assumed]")
      ->check(CLI::Range(1, 1'000));
  command.add_option("--limit-jobs", options.most_jobs, "Only the first so many jobs")->check(CLI::PositiveNumber);
  command.add_option("--from", options.from, "Only jobs from this second of the trace on, or 2017-10-09T12:00:00Z");
  command.add_option("--until", options.until, "Only jobs before it");
  command.add_option("--svg", options.svg, "Draw utilisation, queue and waits into this file");
}

}  // namespace

void add_simulate_commands(CLI::App& app, Program& program) {
  auto options = std::make_shared<Options>();
  auto place = std::make_shared<Place>();
  // The command and, below it, `export`: what CLI11 completes last is the command, so it looks which one was named.
  auto exporting = std::make_shared<CLI::App*>(nullptr);
  CLI::App& simulating = program.command(
      app, "simulate", "Replay a trace of jobs by the real scheduler in virtual time; needs no controller",
      "trainyard simulate --trace jobs.csv --nodes 16 --gpus-per-node 8 --policy easy --policy fifo -o table\n"
      "  trainyard simulate --trace jobs.csv --nodes 16 --what-if nodes=20 --what-if load=150 --svg result.svg\n"
      "  trainyard simulate --trace philly_82k.csv.gz --format philly --nodes 100 --limit-jobs 10000",
      [=, &program] {
        return (*exporting)->parsed() ? export_trace(program, *place) : simulate_trace(program, *options);
      });
  for (const char* flag : {"--controller", "--ca", "--cert", "--key", "--retry-for"}) {
    simulating.remove_option(simulating.get_option(flag));  // of export only: this asks no controller
  }
  simulating.require_subcommand(0, 1);
  add_flags(simulating, *options);
  *exporting = &program.command(simulating, "export", "Print the jobs of a workspace that have ended, as a trace (CSV)",
                                "trainyard simulate export -g mygroup -w batchaidev > jobs.csv", [] { return kDone; });
  add_group_flag(**exporting, place->group);
  add_workspace_flag(**exporting, place->workspace);
  (*exporting)->add_option("-e,--experiment", place->experiment, "Only this experiment's");
}

}  // namespace trainyard::cli
