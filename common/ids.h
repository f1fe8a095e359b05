// Strong ids. An id is a counter drawn by the controller's core; ids of different nouns do not mix.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace trainyard {

template <class Tag>
struct Id {
  std::uint64_t value = 0;  // 0 = none
  explicit operator bool() const { return value != 0; }
  friend auto operator<=>(const Id&, const Id&) = default;
};

using GroupId = Id<struct GroupTag>;
using WorkspaceId = Id<struct WorkspaceTag>;
using ExperimentId = Id<struct ExperimentTag>;
using ClusterId = Id<struct ClusterTag>;
using NodeId = Id<struct NodeTag>;
using JobId = Id<struct JobTag>;
using AccountId = Id<struct AccountTag>;
using ShareId = Id<struct ShareTag>;
using FileServerId = Id<struct FileServerTag>;
using ReservationId = Id<struct ReservationTag>;
using JobArrayId = Id<struct JobArrayTag>;
using JobScheduleId = Id<struct JobScheduleTag>;

// The unit of ownership and fencing on one node: one attempt of one job. The node is implied by who holds it.
struct AttemptId {
  JobId job;
  std::uint32_t attempt = 0;  // first attempt is 1
  friend auto operator<=>(const AttemptId&, const AttemptId&) = default;
};

}  // namespace trainyard

template <class Tag>
struct std::hash<trainyard::Id<Tag>> {
  std::size_t operator()(const trainyard::Id<Tag>& id) const noexcept { return std::hash<std::uint64_t>{}(id.value); }
};
