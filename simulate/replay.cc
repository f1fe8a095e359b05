#include "simulate/replay.h"

#include <algorithm>
#include <set>

#include "common/check.h"
#include "controller/plan/supply.h"
#include "simulate/agents.h"

namespace trainyard::simulate {

namespace {

using namespace core;

constexpr TimeMs kStart = 1'000'000'000'000;  // of the first submission, for the core, where 0 means "none"
constexpr DurationMs kNeverMs = 1'000'000LL * 86'400'000;
constexpr const char* kGroup = "simulated";
constexpr const char* kCluster = "cluster";
constexpr const char* kExperiment = "trace";

// No node is ever silent: nobody sends "same as before" every five seconds, so nothing may be concluded from silence.
core::Settings settings_of() {
  core::Settings settings;
  settings.unreachable_after_ms = settings.gang_abort_after_ms = kNeverMs;
  return settings;
}

Tables tables_of() {
  Tables tables;
  tables.meta.store_generation = "simulated";
  return tables;
}

std::string lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

class Player {
 public:
  Player(const Trace& trace, const Scenario& scenario, const Watcher& watcher)
      : x_trace(trace),
        x_scenario(scenario),
        x_watcher(watcher),
        x_core(settings_of(), tables_of(), kStart),
        x_agents(scenario),
        x_recorder(trace, scenario.cluster.gpus()) {}

  Record play() {
    build();
    for (x_now_ms = next_ms(); x_now_ms != 0; x_now_ms = next_ms()) {
      while (x_next < x_trace.size() && at_ms(x_trace[x_next]) <= x_now_ms) submit(x_next++);
      happen();
    }
    return x_recorder.finish(x_events, x_plans);
  }

 private:
  // Workspaces of the trace, and a cluster whose nodes are all idle.
  void build() {
    command("controller", CreateGroup{kGroup, kGroup, {}});
    std::set<std::string> workspaces;
    for (const TraceJob& job : x_trace) {
      if (!workspaces.insert(lower(job.workspace)).second) continue;
      command("controller", CreateWorkspace{{kGroup, job.workspace}, "", {}});
      command("controller", CreateExperiment{{kGroup, job.workspace, kExperiment}});
      if (x_home.empty()) x_home = job.workspace;
    }
    if (x_home.empty()) return;
    ClusterSpec spec;
    spec.vm_size = kFlavour;
    spec.target_node_count = x_scenario.cluster.count();
    command("controller", CreateCluster{{kGroup, x_home, kCluster}, spec},
            [this](std::uint64_t id) { x_cluster = {id}; });
    happen();
    const auto idle = state().free_nodes.find(x_cluster);
    TY_CHECK(idle != state().free_nodes.end() && idle->second.size() == x_scenario.cluster.count());
    x_roster.emplace(state(), x_cluster);
    x_supply.emplace(state(), state().clusters.at(x_cluster), *x_roster);
  }

  // When something happens next; 0: nothing will. Deadlines matter only while something goes on.
  TimeMs next_ms() const {
    TimeMs next = x_agents.next_ms();
    const auto earlier = [&next](TimeMs at_ms) { next = next == 0 ? at_ms : std::min(next, at_ms); };
    if (x_next < x_trace.size()) earlier(at_ms(x_trace[x_next]));
    if (next != 0 && x_core.next_deadline() != 0) earlier(std::max(x_core.next_deadline(), x_now_ms + 1));
    return next;
  }

  // All that happens at the present time, until nothing does any more.
  void happen() {
    for (;;) {
      x_agents.advance(x_now_ms);
      const std::vector<Report> reports = x_agents.take_reports();
      for (const Report& report : reports) step(NodeReported{report});
      if (reports.empty()) {
        if (const TimeMs due = x_core.next_deadline(); due != 0 && due <= x_now_ms) step(Tick{});
        if (x_core.wants_plan()) {
          ++x_plans;
          x_core.apply_plan(plan::make_plan(state(), x_now_ms, x_scenario.policy.settings), x_now_ms);
        }
      }
      const bool spoke = deliver(x_core.take_outcome());
      if (reports.empty() && !spoke && !x_core.wants_plan()) break;
    }
    x_core.check_touched();
    x_recorder.settled(since_start());
    if (x_watcher) x_watcher(state());
  }

  // Whether a machine heard something.
  bool deliver(const Outcome& outcome) {
    x_recorder.take(outcome.changes, since_start());
    bool spoke = false;
    for (const Action& action : outcome.actions) {
      const SendOrders* send = std::get_if<SendOrders>(&action);
      if (send == nullptr) continue;
      spoke = true;
      x_agents.take(state().nodes.at(send->node).name, orders_for(state(), send->node), x_now_ms);
    }
    return spoke;
  }

  void submit(std::size_t index) {
    const TraceJob& job = x_trace[index];
    Job wanted;
    JobSpec spec;
    spec.node_count = job.nodes;
    spec.gpus_per_node = job.gpus_per_node;
    spec.priority = job.priority;
    spec.recovery.lease_ms = kForever;
    if (job.limit_s > 0) spec.max_wall_clock_ms = job.limit_s * 1000;
    wanted.spec = std::make_shared<const JobSpec>(spec);
    const std::uint32_t each = job.gpus_per_node > 0 ? job.gpus_per_node : x_scenario.cluster.most_gpus();
    if (!x_supply->possible(wanted)) return x_recorder.impossible(index, job.nodes * each, since_start());
    const SubmitJob body{{kGroup, job.workspace, kExperiment, "job" + std::to_string(index + 1)},
                         {kGroup, x_home, kCluster},
                         spec,
                         {},
                         ""};
    command("user:" + job.user, body, [&](std::uint64_t id) {
      x_agents.expect({id}, job.duration_s * 1000);
      x_recorder.submitted(index, {id}, job.nodes * each, since_start());
    });
  }

  // A command of the replay is right, or there is a bug. `made` gets the id before anything else is made of the
  // outcome.
  void command(const std::string& principal, CommandBody body,
               const std::function<void(std::uint64_t id)>& made = nullptr) {
    step(Command{++x_ticket, "", "", principal, std::move(body)});
    const Outcome outcome = x_core.take_outcome();
    for (const Action& action : outcome.actions) {
      const Reply* reply = std::get_if<Reply>(&action);
      if (reply == nullptr) continue;
      TY_CHECK(reply->ticket == x_ticket && reply->result.ok());
      if (made) made(reply->result->id);
    }
    deliver(outcome);
  }

  void step(decltype(Event::body) body) {
    ++x_events;
    x_core.step({x_now_ms, std::move(body)});
  }

  const State& state() const { return x_core.state(); }
  TimeMs since_start() const { return x_now_ms - kStart; }
  TimeMs at_ms(const TraceJob& job) const {
    return kStart + (job.submit_s - x_trace.front().submit_s) * 100'000 / x_scenario.load_percent;
  }

  const Trace& x_trace;
  const Scenario& x_scenario;
  const Watcher& x_watcher;
  Core x_core;
  Agents x_agents;
  Recorder x_recorder;
  std::string x_home;  // the workspace of the cluster
  ClusterId x_cluster;
  std::optional<plan::Roster> x_roster;  // its nodes never change
  std::optional<plan::Supply> x_supply;
  TimeMs x_now_ms = kStart;
  std::size_t x_next = 0;  // of the trace
  Ticket x_ticket = 0;
  std::uint64_t x_events = 0, x_plans = 0;
};

}  // namespace

Record replay(const Trace& trace, const Scenario& scenario, const Watcher& watcher) {
  return Player(trace, scenario, watcher).play();
}

}  // namespace trainyard::simulate
