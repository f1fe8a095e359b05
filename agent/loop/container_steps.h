// The container of one attempt on this node: its image comes while the rest is prepared, it starts before the job's
// preparation and is kept to the attempt's end. All processes of the attempt are started inside
// (agent/containers/init.h). The first node of the attempt finds out what the image's tag means; the others wait for
// the controller's word of it. Loop thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/exec/shim.h"
#include "agent/loop/container_call.h"
#include "agent/loop/place.h"

namespace trainyard::agent {

class JobContainer : public std::enable_shared_from_this<JobContainer> {
 public:
  struct Events {
    std::function<void(const std::string&)> say;
    std::function<void(const std::string&)> image_known;  // its digest
  };
  using Started = std::function<void(std::optional<NodeError>)>;

  // None: the job runs on the host.
  static std::shared_ptr<JobContainer> of(ExecutorContext& context, const Place& place, const HeldAttempt& held,
                                          Events events);
  JobContainer(ExecutorContext& context, Place place, const HeldAttempt& held, Events events);

  // `credentials`: sealed to this node.
  void pull(const std::vector<SealedValue>& credentials);
  void pin(const std::string& digest);
  // When the image is there. `started` runs once, also after cancel(). `limit_groups`, `cores`: see Limits::groups and
  // Limits::affinity.
  void start(std::vector<std::string> limit_groups, std::string cores, Started started);
  // Ends the pull and the waiting; what is being started is waited for.
  void cancel();

  // Makes a process of the job's a process in the container.
  void enter(ShimSpec& spec) const;
  // The image's PATH stands, unless the job has its own.
  void fit(std::vector<NamedValue>& environment) const;

 private:
  void fetch();
  void fetched(const nlohmann::json& result, const ContainerError& error);
  void go_on();
  Result<ContainerRequest> request() const;
  void start_now();
  void start_wrapper(const ContainerRequest& request);
  void started(const nlohmann::json& result, const ContainerError& error);
  void finish(std::optional<NodeError> error);
  NodeError failure(const ContainerError& error) const;
  std::string socket() const { return x_place.run + "/container/enter"; }
  std::string enter_cgroup() const { return x_place.job_cgroup() + "/enter"; }

  ExecutorContext& x_context;
  const Place x_place;
  const AttemptId x_id;
  const std::uint32_t x_member;
  const std::shared_ptr<const Launch> x_launch;
  const std::vector<std::string> x_gpu_uuids;
  const Events x_events;
  std::string x_pinned, x_password;
  std::optional<Image> x_image;  // that may be run
  std::optional<NodeError> x_error;
  bool x_fetching = false, x_waiting_said = false;
  std::vector<std::string> x_limit_groups;
  std::string x_cores;
  Started x_started;
  std::shared_ptr<ContainerCall> x_pull, x_start;
};

}  // namespace trainyard::agent
