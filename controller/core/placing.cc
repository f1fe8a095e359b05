// Placing an attempt: its holdings, and what its nodes are told.
#include <set>

#include "common/check.h"
#include "common/topology.h"
#include "controller/core/engine.h"
#include "controller/core/volumes.h"

namespace trainyard::core {

namespace {

// Below the range from which systems take ports by themselves.
constexpr std::uint64_t kFirstPort = 20'000, kPortBlocks = 46;

std::uint32_t port_of_block(std::uint64_t block) {
  return static_cast<std::uint32_t>(kFirstPort + kTaskPorts * (block % kPortBlocks));
}

std::uint64_t first_block_of(const Job& job) {
  constexpr std::uint64_t kStep = 17;
  return job.id.value + kStep * job.attempt;
}

// Ports that nobody else has who holds a part of these nodes, living or being stopped. Neighbouring jobs and attempts
// begin to look at other places, so that what an attempt left listening, or somebody else listens at, does not meet the
// next. With more neighbours than blocks (of a wide gang of parts) ports may meet: the agents find that out and say so.
std::uint32_t choose_ports(const State& state, const Job& job, const std::vector<NodeId>& nodes) {
  std::set<std::uint32_t> taken;
  for (NodeId node : nodes) {
    for (const auto& [key, holding] : holdings_on(state, node)) {
      auto other = state.jobs.find(holding.id.job);
      if (other != state.jobs.end() && other->first != job.id) taken.insert(other->second.first_port);
    }
  }
  const std::uint64_t start = first_block_of(job);
  for (std::uint64_t tried = 0; tried < kPortBlocks; ++tried) {
    if (const std::uint32_t port = port_of_block(start + tried); !taken.contains(port)) return port;
  }
  return port_of_block(start);
}

// What its placement made of what the job leaves open: " of 8", " of 1 leaf (rack=r1/leaf=l2)", ", for at most 45m".
std::string how(const State& state, const Job& job) {
  std::string text;
  if (job.last_nodes.size() < job.spec->node_count) text += " of " + std::to_string(job.spec->node_count);
  if (const std::string& level = job.spec->topology.level; !level.empty()) {
    std::set<std::string> domains;
    for (const std::string& name : job.last_nodes) {
      const std::string& place = state.nodes.at(state.node_by_name.at(name)).inventory.topology;
      for (const std::string_view domain : domains_of(place)) {
        if (level_of(domain) == level) domains.emplace(domain);
      }
    }
    text += " of " + std::to_string(domains.size()) + " " + level + (domains.size() == 1 ? "" : "s");
    if (domains.size() == 1) text += " (" + *domains.begin() + ")";
  }
  if (job.limit_ms != 0) text += ", for at most " + format_duration(job.limit_ms);
  return text;
}

}  // namespace

std::shared_ptr<const Launch> launch_of(const State& state, const Job& job) {
  auto launch = std::make_shared<Launch>();
  const Experiment& experiment = state.experiments.at(job.experiment);
  const Workspace& workspace = state.workspaces.at(experiment.workspace);
  launch->job_name = job.name;
  launch->experiment = experiment.name;
  launch->workspace = workspace.name;
  launch->group = state.groups.at(workspace.group).name;
  launch->segment = job.segment;
  launch->spec = *job.spec;
  launch->spec.node_count = static_cast<std::uint32_t>(job.last_nodes.size());
  launch->spec.secrets.clear();
  launch->spec.credentials.clear();
  launch->mapping = job.mapping;
  launch->volumes = with_addresses(state, job.volumes);
  // 0: of a row that an earlier version wrote.
  launch->first_port = job.first_port != 0 ? job.first_port : port_of_block(first_block_of(job));
  launch->run_as = job.run_as;
  for (const std::string& name : job.last_nodes) {
    launch->members.push_back({name, state.nodes.at(state.node_by_name.at(name)).inventory.address});
  }
  return launch;
}

void place(Engine& e, const Placement& placement) {
  Job& job = e.edit(placement.job);
  TY_CHECK(job.state == JobState::queued && placement.nodes.size() <= job.spec->node_count &&
           placement.nodes.size() >= least_nodes(*job.spec));
  ++job.attempt;
  job.limit_ms = placement.limit_ms;
  job.started_ms = e.now;
  job.ended_ms = job.head_exited_ms = 0;
  job.verdict = Verdict::none;
  job.cause = {};
  job.exit_code.reset();
  job.errors.clear();
  job.receipts.clear();
  job.last_nodes.clear();
  job.first_port = choose_ports(e.state, job, placement.nodes);
  const std::string what = job.name + " (attempt " + std::to_string(job.attempt) + ")";
  std::uint32_t member = 0;
  for (NodeId id : placement.nodes) {
    const Node& node = e.state.nodes.at(id);
    const std::uint32_t part = job.spec->gpus_per_node;
    TY_CHECK(node.cluster == job.cluster &&
             (placeable(e.state, node) || (part > 0 && shared_units(e.state, node) >= part)));
    Holding holding{{job.id, job.attempt}, id, job.name, node.epoch, member++};
    holding.shared = part > 0;
    holding.gpu_uuids = holding.shared ? choose_gpus(e.state, node, part) : gpus_to_give(node.inventory);
    holding.payer = payer_of(e.state, job);
    holding.lease_ms = job.spec->recovery.lease_ms;
    holding.since_ms = e.now;
    holding.job_path = path_of(e.state, job);
    holding.cluster_path = job.cluster_path;
    job.last_nodes.push_back(node.name);
    e.add_holding(std::move(holding));
    set_node_state(e, id, NodeState::running, "given to job " + what);
    e.bump(id);
  }
  e.state.launches[job.id] = launch_of(e.state, job);
  move(e, job, JobEvent::place,
       "attempt " + std::to_string(job.attempt) + " on " + std::to_string(member) + " node(s)" + how(e.state, job));
}

}  // namespace trainyard::core
