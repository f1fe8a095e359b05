#include "tests/core/scene.h"

#include <map>
#include <sstream>
#include <tuple>

#include "common/check.h"
#include "controller/core/core.h"

namespace trainyard::test {
namespace {

using namespace trainyard::core;

// "4" or "4x8"
std::pair<std::uint32_t, std::uint32_t> counts(std::istringstream& words) {
  std::string word;
  words >> word;
  const auto cross = word.find('x');
  const auto number = [](const std::string& text) { return static_cast<std::uint32_t>(std::stoul(text)); };
  return {number(word), cross == std::string::npos ? 0 : number(word.substr(cross + 1))};
}

// What becomes of a node.
using Change = void (*)(Node&);
const std::map<std::string, Change> kChanges{
    {"cut", [](Node& node) { node.live.reachable = false; }},
    {"drained",
     [](Node& node) {
       node.drain = Drain{"disks", "carol", kSceneNow};
     }},
    {"faulty", [](Node& node) { node.inventory.gpus.at(0).fault = "XID 79"; }},
    {"engine", [](Node& node) { node.inventory.container_runtime = "podman 4.3.1"; }},
    {"leaving", [](Node& node) { node.state = NodeState::leaving; }},
    {"preparing", [](Node& node) { node.state = NodeState::preparing; }}};

struct Builder {
  State state;
  std::uint64_t next_id = 1'000;

  void add_nodes(int count, int gpus) {
    for (int i = 0; i < count; ++i) {
      Node node;
      node.id = {100 + static_cast<std::uint64_t>(i)};
      node.name = "n" + std::to_string(i + 1);
      node.inventory.flavour = "Standard_NC6";
      for (int gpu = 0; gpu < gpus; ++gpu) {
        node.inventory.gpus.push_back({node.name + "-gpu" + std::to_string(gpu), "K80", 12});
      }
      node.cluster = ClusterId{4};
      node.state = NodeState::idle;
      node.state_changed_ms = kSceneNow;
      node.live.seen = true;
      state.nodes[node.id] = node;
    }
    state.clusters.at({4}).spec.target_node_count = static_cast<std::uint32_t>(count);
  }

  void put_nodes(std::istringstream& words) {
    std::string place;
    int count = 0;
    words >> place >> count;
    for (auto& [id, node] : state.nodes) {
      if (!node.inventory.topology.empty() || count == 0) continue;
      node.inventory.topology = place;
      --count;
    }
  }

  // Of one by name, or of so many of the last ones.
  void change_nodes(std::istringstream& words, Change change) {
    std::string which;
    words >> which;
    for (auto& [id, node] : state.nodes) {
      if (node.name == which) return change(node);
    }
    auto node = state.nodes.rbegin();
    for (auto count = std::stoul(which); count > 0; ++node, --count) change(node->second);
  }

  void spare_nodes(int count) {
    for (auto node = state.nodes.rbegin(); count > 0; ++node, --count) {
      node->second.cluster.reset();
      node->second.state = NodeState::unassigned;
    }
  }

  WorkspaceId workspace_named(const std::string& name) const {
    for (const auto& [id, workspace] : state.workspaces) {
      if (workspace.name == name) return id;
    }
    TY_CHECK(false);
  }

  void add_spent(std::istringstream& words) {
    Spent spent;
    std::string owner, in, workspace;
    std::uint64_t minutes = 0;
    words >> owner >> in >> workspace >> minutes;
    spent.payer = {workspace_named(workspace), owner == "-" ? "" : owner};
    spent.gpu_ms = minutes * kMinute;
    spent.at_ms = kSceneNow;
    state.spent[spent.payer] = spent;
  }

  void set_quota(std::istringstream& words) {
    std::string name, what;
    words >> name;
    Quota& quota = state.workspaces.at(workspace_named(name)).quota;
    for (std::uint32_t value = 0; words >> what >> value;) {
      (what == "limit" ? quota.limit : what == "guaranteed" ? quota.guaranteed : quota.weight) = value;
    }
  }

  void add_reservation(std::istringstream& words) {
    Reservation reservation;
    std::string word;
    int count = 0;
    DurationMs from = 0, until = 0;
    words >> count >> word >> from >> word >> until;
    if (words >> word && words >> word) reservation.workspace = workspace_named(word);
    reservation.id = {next_id++};
    reservation.name = "r" + std::to_string(reservation.id.value);
    reservation.from_ms = kSceneNow + from * kMinute, reservation.until_ms = kSceneNow + until * kMinute;
    reservation.created_ms = kSceneNow;
    for (auto node = state.nodes.begin(); count > 0; ++node, --count) reservation.nodes.push_back(node->first);
    state.reservations[reservation.id] = reservation;
  }

  std::uint32_t held_on(NodeId node) const {
    std::uint32_t held = 0;
    for (const auto& [key, holding] : state.holdings) held += key.first == node ? units_of(state, holding) : 0;
    return held;
  }

  void hold(Job& job, std::uint32_t wanted_nodes) {
    job.attempt = 1;
    const std::uint32_t part = job.spec->gpus_per_node;
    for (auto& [id, node] : state.nodes) {
      if (job.last_nodes.size() == wanted_nodes) return;
      const std::uint32_t held = held_on(id), wanted = part == 0 ? units_of(node) : part;
      if (held + wanted > units_of(node)) continue;
      node.state = NodeState::running;
      Holding holding;
      holding.id = {job.id, 1};
      holding.node = id;
      holding.member = static_cast<std::uint32_t>(job.last_nodes.size());
      holding.shared = part > 0;
      holding.since_ms = job.started_ms;
      holding.payer = payer_of(state, job);
      for (std::uint32_t gpu = held; gpu < held + wanted && gpu < node.inventory.gpus.size(); ++gpu) {
        holding.gpu_uuids.push_back(node.inventory.gpus[gpu].uuid);
      }
      state.holdings[key_of(holding)] = holding;
      job.last_nodes.push_back(node.name);
    }
    TY_CHECK(job.last_nodes.size() == wanted_nodes);
  }

  void add_job(const std::string& kind, std::istringstream& words) {
    Job job;
    JobSpec spec;
    words >> job.name;
    std::tie(spec.node_count, spec.gpus_per_node) = counts(words);
    job.id = {next_id++};
    job.experiment = {3};
    job.cluster = {4};
    job.created_ms = kSceneNow - kMinute;
    std::uint32_t got = spec.node_count;
    for (std::string word; words >> word;) {
      DurationMs minutes = 0;
      if (word == "high") {
        spec.priority = Priority::high;
      } else if (word == "low") {
        spec.priority = Priority::low;
      } else if (word == "by") {
        words >> job.owner;
      } else if (word == "in") {
        words >> word;
        job.experiment = {workspace_named(word).value + 1};
      } else if (word == "one" || word == "near") {
        words >> spec.topology.level;
        spec.topology.required = word == "one";
      } else if (word == "blocks") {
        words >> spec.topology.block_size >> spec.topology.level;
        spec.topology.required = true;
      } else if (word == "within") {
        words >> spec.topology.within.emplace_back();
      } else if (word == "image") {
        job.mapping.container_image = "team/a:1";
      } else if (word == "min") {
        words >> spec.min_node_count;
      } else if (word == "got") {
        words >> got;
      } else if (word == "shortest" && words >> minutes) {
        spec.min_wall_clock_ms = minutes * kMinute;
      } else if (word == "limit" && words >> minutes) {
        spec.max_wall_clock_ms = minutes * kMinute;
      } else if (word == "since" && words >> minutes) {
        job.started_ms = kSceneNow - minutes * kMinute;
      } else if (word == "took" && words >> minutes) {
        job.started_ms = kSceneNow - (1'000 + minutes) * kMinute;
        job.ended_ms = kSceneNow - 1'000 * kMinute;
      } else {
        spec.command_line = word;
      }
    }
    job.spec = std::make_shared<const JobSpec>(spec);
    if (kind == "runs") hold(job, got);
    if (kind == "done") job.last_nodes.resize(got);
    job.state = kind == "runs" ? JobState::running : kind == "done" ? JobState::succeeded : JobState::queued;
    state.jobs[job.id] = job;
  }
};

}  // namespace

State scene(const std::string& text) {
  Builder b;
  b.state.groups[{1}] = {{1}, "g", "here"};
  for (const auto& [id, name] : {std::pair{2, "w"}, std::pair{10, "w2"}, std::pair{20, "w3"}}) {
    const WorkspaceId workspace{static_cast<std::uint64_t>(id)};
    const ExperimentId experiment{workspace.value + 1};
    b.state.workspaces[workspace] = {workspace, {1}, name, "here"};
    b.state.experiments[experiment] = {experiment, workspace, "e"};
  }
  b.state.usage_half_life_ms = core::Settings{}.usage_half_life_ms;
  b.state.clusters[{4}] = {{4}, {2}, "nc6"};
  b.state.clusters.at({4}).spec.vm_size = "Standard_NC6";
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string kind;
    if (!(words >> kind)) continue;
    int count = 0;
    if (kind == "nodes") {
      const auto [nodes, gpus] = counts(words);
      b.add_nodes(static_cast<int>(nodes), static_cast<int>(gpus));
    } else if (const auto found = kChanges.find(kind); found != kChanges.end()) {
      b.change_nodes(words, found->second);
    } else if (kind == "auto") {
      const auto minimum = counts(words).first, maximum = counts(words).first;
      b.state.clusters.at({4}).spec.auto_scale = AutoScale{minimum, maximum};
    } else if (kind == "target") {
      b.state.clusters.at({4}).spec.target_node_count = counts(words).first;
    } else if (kind == "spare" && words >> count) {
      b.spare_nodes(count);
    } else if (kind == "at") {
      b.put_nodes(words);
    } else if (kind == "had") {
      b.add_spent(words);
    } else if (kind == "quota") {
      b.set_quota(words);
    } else if (kind == "reserved") {
      b.add_reservation(words);
    } else {
      TY_CHECK(kind == "runs" || kind == "queued" || kind == "done");
      b.add_job(kind, words);
    }
  }
  rebuild_indexes(b.state);
  return std::move(b.state);
}

const Job& job_of(const State& state, const std::string& name) {
  for (const auto& [id, job] : state.jobs) {
    if (job.name == name) return job;
  }
  TY_CHECK(false);
}

std::string starts(const State& state, const plan::Settings& settings) {
  std::string names;
  for (const Placement& placement : plan::make_plan(state, kSceneNow, settings).placements) {
    names += (names.empty() ? "" : " ") + state.jobs.at(placement.job).name;
  }
  return names;
}

std::string places(const std::string& text, const plan::Settings& settings) {
  const State state = scene(text);
  std::string all;
  for (const Placement& placement : plan::make_plan(state, kSceneNow, settings).placements) {
    all += (all.empty() ? "" : " ") + state.jobs.at(placement.job).name;
    if (placement.limit_ms != 0) all += "(" + std::to_string(placement.limit_ms / kMinute) + "m)";
    for (std::size_t i = 0; i < placement.nodes.size(); ++i) {
      all += (i == 0 ? ":" : ",") + state.nodes.at(placement.nodes[i]).name;
    }
  }
  return all;
}

std::string takes(const std::string& text) {
  const State state = scene(text);
  const plan::Plan plan = plan::make_plan(state, kSceneNow);
  std::string all;
  const auto add = [&](const char* sign, NodeId node) {
    all += (all.empty() ? "" : " ") + (sign + state.nodes.at(node).name);
  };
  for (const Assignment& one : plan.assignments) add("+", one.node);
  for (const Withdrawal& one : plan.withdrawals) add("-", one.node);
  return all;
}

std::string starts(const std::string& text, const plan::Settings& settings) {
  return starts(scene(text), settings);
}

}  // namespace trainyard::test
