// What the steps of a pass over one cluster have in common: looked up once, however many of them ask.
#pragma once

#include <set>

#include "controller/core/state.h"
#include "controller/plan/future.h"
#include "controller/plan/roster.h"
#include "controller/plan/settings.h"
#include "controller/plan/supply.h"

namespace trainyard::plan {

// Of all clusters: what they refer to outlives it.
struct Common {
  Common(const core::State& whole, TimeMs at_ms, const Settings& by)
      : state(whole), now_ms(at_ms), settings(by), rosters(whole), closed(closed_nodes(whole)) {}
  Common(const Common&) = delete;
  Common& operator=(const Common&) = delete;

  const core::State& state;
  const TimeMs now_ms;
  const Settings& settings;
  std::set<NodeId> withdrawn = {};  // nodes that their clusters give back
  const Rosters rosters;
  const ClosedNodes closed;
};

// Of one cluster.
struct Pass {
  Pass(const Common& of_all, const core::Cluster& of)
      : common(of_all), cluster(of), roster(of_all.rosters.of(of.id)), supply(of_all.state, of, roster) {}
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  const Common& common;
  const core::Cluster& cluster;
  const Roster& roster;
  const Supply supply;
};

}  // namespace trainyard::plan
