// trainyard list-usages: what is in use of what there is. trainyard usage: what GPU time was spent for.
#include <google/protobuf/util/time_util.h>

#include <map>

#include "cli/commands.h"
#include "cli/moment.h"
#include "cli/show.h"
#include "common/wall_clock.h"
#include "trainyard/v1/usages.grpc.pb.h"

namespace trainyard::cli {
namespace {

using google::protobuf::util::TimeUtil;

const std::map<std::string, v1::UsageGroupBy> kGroupings = {{"job", v1::USAGE_GROUP_BY_JOB},
                                                            {"user", v1::USAGE_GROUP_BY_USER},
                                                            {"workspace", v1::USAGE_GROUP_BY_WORKSPACE},
                                                            {"node", v1::USAGE_GROUP_BY_NODE},
                                                            {"cluster", v1::USAGE_GROUP_BY_CLUSTER}};

struct Options {
  std::string group, workspace, cluster, user, from, to, by = "workspace";
  bool day = false;
};

int report(Program& program, const Options& options) {
  const TimeMs now_ms = wall_clock_ms();
  v1::ReportUsageRequest request;
  if (!options.from.empty()) {
    const auto from = parse_moment("--from", options.from, now_ms);
    if (!from) return program.usage(from.error());
    *request.mutable_from() = TimeUtil::MillisecondsToTimestamp(*from);
  }
  if (!options.to.empty()) {
    const auto to = parse_moment("--to", options.to, now_ms);
    if (!to) return program.usage(to.error());
    *request.mutable_to() = TimeUtil::MillisecondsToTimestamp(*to);
  }
  request.set_group_by(kGroupings.at(options.by));
  request.set_by_day(options.day);
  request.set_resource_group(options.group);
  request.set_workspace(options.workspace);
  request.set_cluster(options.cluster);
  request.set_user(options.user);
  const auto usage = program.ask(&v1::Usages::Stub::ReportUsage, request);
  if (!usage) return program.exit_code();
  return program.print(show_usage_report(*usage, request.group_by(), options.day));
}

void add_report(CLI::App& app, Program& program) {
  auto options = std::make_shared<Options>();
  CLI::App& command = program.command(
      app, "usage", "Show what GPU time was spent for: GPU-hours by cause in the table, exact GPU-seconds in all else",
      "trainyard usage --by user --from 2026-11-01 --to 2026-12-01 -o table\n"
      "  trainyard usage --by job -g mygroup -w batchaidev --from -7d --day -o csv > week.csv",
      [&program, options] { return report(program, *options); });
  std::vector<std::string> names;
  for (const auto& [name, value] : kGroupings) names.push_back(name);
  command.add_option("--by", options->by, "A row for each job, user, workspace, node or cluster [workspace]")
      ->check(CLI::IsMember(names));
  command.add_option("--from", options->from, std::string("From when on: ") + kMomentForms + " [30 days before --to]");
  command.add_option("--to", options->to, "Until when, likewise [now]");
  command.add_flag("--day", options->day, "A row for each day (UTC)");
  // Without the user's defaults: who asks for all should not get a part.
  command.add_option("-g,--resource-group", options->group, "Only of this resource group [all]");
  command.add_option("-w,--workspace", options->workspace, "Only of jobs of this workspace (with -g) [all]");
  command.add_option("-c,--cluster", options->cluster, "Only of this cluster of the workspace (with -g and -w) [all]");
  command.add_option("-u,--user", options->user, "Only of jobs that this user submitted [all]");
}

}  // namespace

void add_usage_commands(CLI::App& app, Program& program) {
  auto location = std::make_shared<std::string>();
  CLI::App& listing = program.command(app, "list-usages", "Show what is in use: clusters, nodes, GPUs",
                                      "trainyard list-usages -o table", [&program, location] {
                                        const auto usages =
                                            program.ask(&v1::Usages::Stub::ListUsages, v1::ListUsagesRequest());
                                        return usages ? program.print(show_all(usages->usages())) : program.exit_code();
                                      });
  listing.add_option("-l,--location", *location, "No effect: a controller is one place");
  add_report(app, program);
}

}  // namespace trainyard::cli
