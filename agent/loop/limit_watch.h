// What one attempt uses on this node, looked at four times a second: a process that was killed for want of memory need
// not be the one whose end is waited for. Loop thread only.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>

#include "agent/exec/shim.h"
#include "agent/loop/place.h"

namespace trainyard::agent {

class LimitWatch : public std::enable_shared_from_this<LimitWatch> {
 public:
  LimitWatch(ExecutorContext& context, const Place& place, std::shared_ptr<const Launch> launch, std::uint32_t member,
             const HoldingPaths& paths, const std::vector<std::string>& gpu_uuids);

  // Makes the limits; the job's cgroup is there. Of a part of the node, the execution log says what it has.
  Status create() const;
  const LimitSettings& settings() const { return x_limits.settings(); }
  // Groups that the attempt's processes join, and the processors that they keep to by themselves.
  void hold(ShimSpec& process, bool in_container) const {
    process.limit_groups = groups(in_container);
    process.cores = affinity();
  }
  std::vector<std::string> groups(bool in_container) const { return x_limits.groups(in_container); }
  std::string affinity() const { return x_limits.affinity(); }
  // The node as the attempt has it.
  NodeFacts facts() const;
  // `exceeded` is called once, perhaps from inside this call; until stop().
  void start(std::function<void(NodeError)> exceeded);
  void stop();
  // OutOfMemory, with limit and peak, when something was killed for it.
  std::optional<NodeError> out_of_memory() const;

 private:
  void look();
  void bound_rank_logs() const;

  std::string part() const;

  ExecutorContext& x_context;
  const Place x_place;
  const std::shared_ptr<const Launch> x_launch;
  const std::uint32_t x_member;
  const HoldingPaths x_paths;
  const Limits x_limits;
  boost::asio::steady_timer x_timer;
  std::function<void(NodeError)> x_exceeded;
};

}  // namespace trainyard::agent
