// The machines of a replay: each does what its orders say, and takes the time for it that the trace says. They prepare,
// run, end and clean up in virtual time, and never fail. Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "common/model.h"
#include "simulate/scenario.h"

namespace trainyard::simulate {

inline constexpr const char* kFlavour = "simulated";

class Agents {
 public:
  // Machines n1, n2, ... of the scenario's cluster; all have something to say at once: that they are there.
  explicit Agents(const Scenario& scenario);

  // How long the job's program runs, in each attempt. Needed before the job is placed.
  void expect(JobId job, DurationMs duration_ms) { x_durations[job] = duration_ms; }
  // The node hears its newest orders. REQUIRES: it is one of these machines
  void take(const std::string& node, const Orders& orders, TimeMs now_ms);
  // When a machine is done with something; 0: none does anything.
  TimeMs next_ms() const { return x_timers.empty() ? 0 : std::get<0>(*x_timers.begin()); }
  // Everything that is done by now.
  void advance(TimeMs now_ms);
  // Full reports of the machines that have something new to say, in a steady order; once each.
  std::vector<Report> take_reports();

 private:
  struct Holding {
    HoldingReport report;
    bool stopping = false;
  };
  struct Agent {
    std::string store_generation;
    std::uint64_t orders_revision = 0, sequence = 0;
    Inventory inventory;
    std::map<AttemptId, Holding> holdings;
  };
  using Timer = std::tuple<TimeMs, std::uint64_t, std::string, AttemptId, HoldingState>;

  void later(TimeMs at_ms, const std::string& node, AttemptId id, HoldingState becomes);

  const DurationMs x_prepare_ms, x_clean_ms;
  std::map<std::string, Agent> x_agents;
  std::map<JobId, DurationMs> x_durations;
  std::set<Timer> x_timers;
  std::uint64_t x_timer = 0;  // those of the same time go off in the order in which they were set
  std::set<std::string> x_talkative;
};

}  // namespace trainyard::simulate
