// The controller's durable rows as the simulator keeps them: `apply` is the commit. What a crash leaves is exactly
// this. Kept apart from storage/ on purpose: a second reading of what Changes mean.
#pragma once

#include <map>
#include <string>

#include "controller/core/rows.h"

namespace trainyard::simulator {

class Disk {
 public:
  // False: the timeline has a gap or repeats a number.
  bool apply(const core::Changes& changes);
  core::Tables tables() const;

  core::Meta meta;
  std::map<GroupId, core::Group> groups;
  std::map<WorkspaceId, core::Workspace> workspaces;
  std::map<ExperimentId, core::Experiment> experiments;
  std::map<ClusterId, core::Cluster> clusters;
  std::map<NodeId, core::Node> nodes;
  std::map<JobId, core::Job> jobs;
  std::map<core::HoldingKey, core::Holding> holdings;
  std::map<AccountId, core::Account> accounts;
  std::map<ShareId, core::Share> shares;
  std::map<FileServerId, core::FileServer> file_servers;
  std::map<std::string, core::RequestRecord> requests;
  std::map<core::Payer, core::Spent> spent;
  std::map<ReservationId, core::Reservation> reservations;
  std::map<JobArrayId, core::JobArray> arrays;
  std::map<JobScheduleId, core::JobSchedule> schedules;
  std::uint64_t last_timeline = 0;
};

}  // namespace trainyard::simulator
