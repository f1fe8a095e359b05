// From what users mount (shares, containers, file servers, commands) to Volumes: the operator's places, and who uses
// them. Pure.
#pragma once

#include "common/model.h"
#include "common/result.h"
#include "controller/core/event.h"
#include "controller/core/lookup.h"
#include "controller/core/state.h"

namespace trainyard::core {

// Account::place: an absolute directory on the nodes, or the JSON of a Volume whose source holds the account's shares
// (of servers of objects, source may be empty: then each share is a bucket or container of its own).
Volume volume_in(const std::string& place, const std::string& share);

// Whether both are the same files, wherever they are mounted.
bool same_place(const Volume& a, const Volume& b);

// Volumes of the four lists, in their order: shares, containers, file servers, commands. An error begins with the field
// below `at`. The volumes of file servers have the directory below the export as their source: with_addresses makes
// them mountable.
template <class Spec>  // JobSpec or NodeSetup
Result<std::vector<Volume>> resolve_volumes(const State&, const std::string& at, const WorkspaceRef& home, const Spec&);

// The jobs and arrays that have not ended, the schedules and the clusters that have such a volume on their nodes, or
// will; for people.
template <class Wanted>
std::vector<std::string> users_of(const State&, Wanted wanted);
// "a, b and 3 more"
std::string listed(const std::vector<std::string>& names);

// ---- Details ----

template <class Wanted>
std::vector<std::string> users_of(const State& state, Wanted wanted) {
  const auto mounts = [&](const std::vector<Volume>& volumes) {
    for (const Volume& volume : volumes) {
      if (wanted(volume)) return true;
    }
    return false;
  };
  std::vector<std::string> users;
  const auto look_at = [&](JobId id) {
    const Job& job = state.jobs.at(id);
    if (mounts(job.volumes)) users.push_back("job " + path_of(state, job));
  };
  for (const auto& [cluster, queue] : state.queues) {
    for (const auto& [group, jobs] : queue) {
      for (JobId id : jobs) look_at(id);
    }
  }
  for (const auto* index : {&state.held_back, &state.active_jobs}) {
    for (const auto& [cluster, jobs] : *index) {
      for (JobId id : jobs) look_at(id);
    }
  }
  for (const auto& [id, array] : state.arrays) {
    if (array.state == ArrayState::running && mounts(array.body->volumes)) {
      users.push_back("job array " + path_of(state, array));
    }
  }
  for (const auto& [id, schedule] : state.schedules) {
    if (mounts(schedule.body->volumes)) users.push_back("job schedule " + path_of(state, schedule));
  }
  for (const auto& [id, cluster] : state.clusters) {
    if (mounts(cluster.volumes)) users.push_back("cluster " + path_of(state, cluster));
  }
  return users;
}

}  // namespace trainyard::core
