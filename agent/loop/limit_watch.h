// What one attempt uses on this node, looked at four times a second: a process that was killed for want of memory need
// not be the one whose end is waited for. Loop thread only.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>

#include "agent/loop/place.h"

namespace trainyard::agent {

class LimitWatch : public std::enable_shared_from_this<LimitWatch> {
 public:
  LimitWatch(ExecutorContext& context, const Place& place, std::shared_ptr<const Launch> launch, std::uint32_t member,
             const HoldingPaths& paths, const std::vector<std::string>& gpu_uuids);

  // Makes the limits; the job's cgroup is there.
  Status create() const;
  // Groups that the attempt's processes join.
  std::vector<std::string> groups(bool in_container) const { return x_limits.groups(in_container); }
  // `exceeded` is called once, perhaps from inside this call; until stop().
  void start(std::function<void(NodeError)> exceeded);
  void stop();
  // OutOfMemory, with limit and peak, when something was killed for it.
  std::optional<NodeError> out_of_memory() const;

 private:
  void look();
  void bound_rank_logs() const;

  ExecutorContext& x_context;
  const std::shared_ptr<const Launch> x_launch;
  const std::uint32_t x_member;
  const HoldingPaths x_paths;
  const Limits x_limits;
  boost::asio::steady_timer x_timer;
  std::function<void(NodeError)> x_exceeded;
};

}  // namespace trainyard::agent
