// trainyard reservation: nodes that are kept free for a time.
#include <google/protobuf/util/time_util.h>

#include <tuple>

#include "cli/commands.h"
#include "cli/moment.h"
#include "cli/show.h"
#include "common/wall_clock.h"
#include "trainyard/v1/nodes.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Nodes::Stub;

struct Options {
  std::string name, from, until, group, workspace, why;
  std::vector<std::string> nodes;
};

int create(Program& program, const Options& options) {
  v1::CreateReservationRequest request;
  request.set_request_id(new_request_id());
  v1::Reservation& reservation = *request.mutable_reservation();
  reservation.set_name(options.name);
  for (const std::string& node : options.nodes) reservation.add_nodes(node);
  const TimeMs now_ms = wall_clock_ms();
  for (const auto& [flag, text, time] : {std::tuple{"--from", &options.from, reservation.mutable_from()},
                                         std::tuple{"--until", &options.until, reservation.mutable_until()}}) {
    const auto moment = parse_moment(flag, *text, now_ms);
    if (!moment) return program.fail(moment.error());
    *time = google::protobuf::util::TimeUtil::MillisecondsToTimestamp(*moment);
  }
  reservation.set_resource_group(options.workspace.empty() ? "" : options.group);
  reservation.set_workspace(options.workspace);
  reservation.set_why(options.why);
  const auto made = program.ask(&Stub::CreateReservation, request);
  return made ? program.print(show_one(*made)) : program.exit_code();
}

int list(Program& program) {
  const auto all = program.ask(&Stub::ListReservations, v1::ListReservationsRequest());
  return all ? program.print(show_all(all->reservations())) : program.exit_code();
}

int remove(Program& program, const Options& options) {
  if (!program.confirmed()) return program.exit_code();
  v1::DeleteReservationRequest request;
  request.set_request_id(new_request_id());
  request.set_name(options.name);
  return program.ask(&Stub::DeleteReservation, request) ? kDone : program.exit_code();
}

}  // namespace

void add_reservation_commands(CLI::App& app, Program& program) {
  CLI::App& reservations =
      program.group(app, "reservation", "Nodes that are kept free for a time: for maintenance, or for a workspace");
  auto options = std::make_shared<Options>();
  CLI::App& creating = program.command(
      reservations, "create", "Keep nodes free: nothing is placed on them that might still run then",
      "trainyard reservation create -n disks --nodes n1 n2 --from 2026-12-01T08:00:00Z --until 2026-12-01T12:00:00Z "
      "--why 'new disks'\n  trainyard reservation create -n course --nodes n3 --from +30m --until +2h -g mygroup -w "
      "teaching",
      [=, &program] { return create(program, *options); });
  creating.add_option("-n,--name", options->name, "Name of the reservation")->required();
  creating.add_option("--nodes", options->nodes, "Names of the nodes")->required();
  const std::string forms = std::string(kMomentForms) + ", or +2h (from now)";
  creating.add_option("--from", options->from, "Its beginning: " + forms)->required();
  creating.add_option("--until", options->until, "Its end")->required();
  creating.add_option("--why", options->why, "Shown to everybody whose job waits");
  creating.add_option("-g,--resource-group", options->group, "Resource group of --workspace");
  creating.add_option("-w,--workspace", options->workspace, "Whose jobs may run then; none: nobody's");
  program.command(reservations, "list", "List reservations that are not over", "trainyard reservation list -o table",
                  [&program] { return list(program); });
  CLI::App& deleting =
      program.command(reservations, "delete", "Give the nodes free again", "trainyard reservation delete -n disks -y",
                      [=, &program] { return remove(program, *options); });
  deleting.add_option("-n,--name", options->name, "Name of the reservation")->required();
  program.add_confirmation(deleting);
}

}  // namespace trainyard::cli
