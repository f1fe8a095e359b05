// Users and operators: they create what the run needs, submit, terminate, delete and resize, ask for impossible things,
// and repeat what they got no answer to with the same request id, sometimes long after.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/support/simulator/controller_host.h"
#include "tests/support/simulator/machine.h"
#include "tests/support/simulator/oracle.h"
#include "tests/support/simulator/world.h"

namespace trainyard::simulator {

struct ClusterPlan {
  std::string name, flavour;
  std::uint32_t nodes = 0;  // that it can have at most and has at the end
  bool sets_up = false, low_priority = false;
  std::uint32_t gpus = 1;  // of each node
};

class Users {
 public:
  Users(World& world, Oracle& oracle, const Rates& rates, ControllerHost& controller,
        std::vector<ClusterPlan> clusters);

  void start();
  // From now on nothing new; clusters get their full size again and what can never run is terminated.
  void come_to_an_end();
  bool all_submitted() const { return x_oracle.acknowledged_jobs() >= x_world.options.jobs; }
  bool settled() const { return x_ended && x_unanswered == 0; }
  void heard(core::Ticket ticket, const Result<core::Subject>& result, bool state_changed);
  // The operator saw that the machine is off. `done` is called when the controller has answered.
  void confirm_off(const std::string& node, std::function<void()> done);

 private:
  struct Request {
    std::string id;
    core::CommandBody body;
    bool answered = false;
    std::uint64_t sent = 0;
    std::function<void()> done;
  };
  void ask(core::CommandBody body, std::function<void()> done = {});
  void send(std::size_t request);
  void repeat_until_answered(std::size_t request);
  void set_up(std::size_t step);
  void work();
  void one_thing();
  void submit();
  void rerun();
  void reserve();
  void many_at_once();
  void again_and_again();
  void reorder();
  void something_impossible();
  void leave_open(JobSpec& spec);
  void drain_or_undrain();
  void something_again();
  core::JobRef some_job();
  void rescale();
  void share_comes_and_goes();
  core::CreateCluster creation_of(const ClusterPlan& plan) const;
  core::ClusterRef ref_of(const ClusterPlan& plan) const { return {"g", "w", plan.name}; }
  JobSpec draw_spec(const ClusterPlan& cluster);

  World& x_world;
  Oracle& x_oracle;
  const Rates& x_rates;
  ControllerHost& x_controller;
  Random x_random;
  const std::vector<ClusterPlan> x_clusters;
  std::vector<Request> x_requests;
  std::vector<std::size_t> x_by_ticket;  // ticket - 1 -> request
  std::vector<core::SubmitJob> x_jobs;
  std::size_t x_unanswered = 0;
  std::uint32_t x_arrays = 0;
  std::uint32_t x_round = 0;  // names of what is created and deleted over and over
  bool x_ending = false, x_ended = false;
};

}  // namespace trainyard::simulator
