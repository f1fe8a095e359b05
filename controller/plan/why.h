// Why a queued job waits: everything that keeps it from starting, with numbers, and the smallest changes that would let
// it start now. Pure; for people who ask, so it may cost more than the plan. Sound: in the same state, a job that is
// changed as a relaxation says is in the next plan (a property test applies each).
#pragma once

#include <string>
#include <vector>

#include "controller/plan/backfill.h"

namespace trainyard::plan {

// So many nodes of the cluster do not help the job now, because of this.
struct Obstacle {
  std::string code;  // busy, cleaning, preparing, leaving, unusable, drained, faulty, unreachable, missing,
                     // noContainers, reserved, promised, topology; of no node: heldBack, quota, turn
  std::uint32_t nodes = 0;
  std::string text;  // "3 are busy until about 14:20"
};

struct Relaxation {
  enum class Kind {
    fewer_nodes,
    fewer_gpus,
    shorter_limit,
    higher_priority,
    larger_cluster,
    release,
    larger_quota,
    any_topology
  };
  Kind kind = Kind::fewer_nodes;
  std::uint32_t node_count = 0;          // fewer_nodes: of the job; larger_cluster: of the cluster, at least
  std::uint32_t gpus_per_node = 0;       // fewer_gpus
  DurationMs limit_ms = 0;               // shorter_limit
  std::uint32_t gpus = 0;                // larger_quota: of the workspace; 0: no limit
  Priority priority = Priority::normal;  // higher_priority
  std::string priority_class = {};       // its name if it is one of the operator's
  std::string text;
};

struct Why {
  bool possible = true;               // false: not at the cluster's size, however long it waits
  std::uint32_t needs = 0, fits = 0;  // nodes: that it needs; that are free and not promised to others
  std::vector<Obstacle> obstacles;
  std::vector<Relaxation> relaxations;
  // 1 is next, 0: held back, not in the queue; of so many in the cluster's queue
  std::uint32_t position = 0, queued = 0;
  Forecast best, worst;        // when it starts: if jobs take what they usually take, if all their limits
  std::string forecast_basis;  // how the two were made
};

// REQUIRES: the job is queued
Why why(const core::State& state, const core::Job& job, TimeMs now_ms, const Settings& settings = {});

}  // namespace trainyard::plan
