// A core with pretend agents around it, for unit tests and golden scenarios: every step is a whole batch (step, plan,
// commit into tables, dispatch) and is followed by check_invariants. Deterministic; single-threaded.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "controller/core/core.h"
#include "controller/core/view.h"
#include "controller/plan/plan.h"

namespace trainyard::test {

using namespace trainyard::core;

inline constexpr TimeMs kStart = 1'795'435'200'000;  // 2026-11-23T12:00:00Z
inline constexpr const char* kGeneration = "generation-1";

// What a node's agent knows and does. Its switches make it slow, deaf or broken.
struct PretendAgent {
  std::string name, epoch = "boot-1";
  Inventory inventory;
  bool connected = true;
  bool prepares = true, launches = true, cleans = true;
  Orders orders;  // newest taken
  std::map<AttemptId, HoldingReport> holdings;
  std::uint64_t sequence = 0;
  // Of its cluster's set-up: whether it comes to an end, and how.
  bool sets_up = true, takes_down = true;
  std::optional<NodeError> setup_error;
  std::optional<SetupReport> setup;
  std::vector<std::uint64_t> setup_runs;  // that were started, in order

  // Of file servers: whether it makes and removes them, and what goes wrong instead.
  bool serves = true, removes = true;
  std::string serving_error;
  std::map<std::uint64_t, FileServerReport> file_servers;
  std::set<std::uint64_t> files;  // on its disk: outlives everything but a removal

  void take(const Orders& orders);
  bool progress();  // true when something changed
  bool progress_file_servers();
  Report report();
};

class World {
 public:
  explicit World(Settings settings = default_settings());
  static Settings default_settings();

  // ---- Builders: group g, workspace w, experiment e, account a with share s exist ----
  // Agent `name` says that it can serve files; settled.
  PretendAgent& storage_node(const std::string& name);
  void nodes(int count, const std::string& flavour = "Standard_NC6", const std::string& pool = "");
  PretendAgent& add_agent(const std::string& name, const std::string& flavour = "Standard_NC6",
                          const std::string& pool = "");
  void cluster(const std::string& name, std::uint32_t target, const std::string& vm_size = "Standard_NC6");
  void cluster(const std::string& name, ClusterSpec spec);  // without vm_size: Standard_NC6
  JobId submit(const std::string& name, std::uint32_t node_count, const std::string& cluster = "nc6",
               Recovery recovery = {});
  // nodes n1.., cluster nc6 with all of them, all idle
  void ready_cluster(int count, const std::string& pool = "");
  // ready_cluster and a job on all its nodes, running
  JobId running_job(int count, Recovery recovery = {}, const std::string& pool = "");

  // ---- What happens ----
  Result<Subject> command(CommandBody body, const std::string& request_id = "", const std::string& fingerprint = "f");
  Result<Subject> resize(const std::string& cluster, std::uint32_t target,
                         DeallocationOption option = DeallocationOption::requeue);
  Result<Subject> terminate(const std::string& job) { return command(TerminateJob{job_ref(job)}); }
  Result<Subject> remove(const std::string& job) { return command(DeleteJob{job_ref(job)}); }
  Result<Subject> fence(const std::string& node, bool confirmed = true) { return command(FenceNode{node, confirmed}); }
  void step(decltype(Event::body) body);
  void report(const std::string& node);  // the agent's present full report, also when it is cut off
  void settle();                         // connected agents work and report until nothing changes any more
  void wait(DurationMs duration);        // time passes: ticks each second, reports each 5 s
  void head_exits(const std::string& job, int exit_code);  // the head's process ends; not reported yet
  void cut(const std::string& node) { agents.at(node).connected = false; }
  void heal(const std::string& node);
  void reboot(const std::string& node, const std::string& epoch);  // comes back with a new life and reports
  void restart_controller();
  void restart_controller(const std::string& generation);  // as after a restore

  // ---- What can be seen ----
  const State& state() const { return core->state(); }
  const Job& job(const std::string& name) const;
  const Job* find_job(const std::string& name) const;
  const Node& node(const std::string& name) const;
  const Cluster& cluster_row(const std::string& name) const;
  std::string execution_state(const std::string& job_name) const {
    return view(state(), job(job_name)).execution_state;
  }
  std::string reason(const std::string& job_name) const { return view(state(), job(job_name)).reason; }
  Orders orders(const std::string& node_name) const { return orders_for(state(), node(node_name).id); }
  std::size_t held(const std::string& node_name) const;
  template <class T>
  std::vector<T> said() const {  // actions of that kind since the last forget()
    std::vector<T> found;
    for (const Action& action : actions) {
      if (const T* one = std::get_if<T>(&action)) found.push_back(*one);
    }
    return found;
  }
  void forget() { actions.clear(); }
  static JobRef job_ref(const std::string& name) { return {"g", "w", "e", name}; }
  static ClusterRef cluster_ref(const std::string& name) { return {"g", "w", name}; }
  static JobSpec spec(std::uint32_t node_count);

  Settings settings;
  plan::Settings plan_settings;
  TimeMs now = kStart;
  std::map<std::string, PretendAgent> agents;
  std::vector<Action> actions;
  std::vector<TimelineLine> timeline;
  std::vector<Usage> usage;  // that was committed
  Changes last_changes;
  std::unique_ptr<Core> core;

 private:
  void finish_batch();
  void commit(const Changes& changes);
  Tables tables() const;

  State x_disk;  // its tables only
  Ticket x_ticket = 0;
};

}  // namespace trainyard::test
