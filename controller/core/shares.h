// Who has how much of the GPUs: quotas of workspaces, and what each payer had. Plain values, of the rows.
#pragma once

#include <cstdint>
#include <string>

#include "common/ids.h"
#include "common/time.h"

namespace trainyard::core {

// An operator's rules for how much of the GPUs a workspace's jobs get. A node without GPUs counts as one.
struct Quota {
  std::uint32_t limit = 0;  // more they never have at once; 0: there is none
  std::uint32_t guaranteed =
      0;                     // while they have fewer, they go before others of their class; what is more, they borrow
  std::uint32_t weight = 1;  // of its fair share: with 2 it gets twice as much as one with 1
  friend bool operator==(const Quota&, const Quota&) = default;
};

// Whose jobs share a turn: those of a workspace that the same principal submitted.
struct Payer {
  WorkspaceId workspace;
  std::string owner;
  friend auto operator<=>(const Payer&, const Payer&) = default;
};

// GPU time that a payer's holdings had until they were given back; it counts half after each half-life.
struct Spent {
  Payer payer;
  std::uint64_t gpu_ms = 0;  // as it counts at `at_ms`
  TimeMs at_ms = 0;
  friend bool operator==(const Spent&, const Spent&) = default;
};

}  // namespace trainyard::core
