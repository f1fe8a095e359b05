#include "tests/core/scene.h"

#include <sstream>

#include "common/check.h"

namespace trainyard::test {
namespace {

using namespace trainyard::core;

struct Builder {
  State state;
  std::uint64_t next_id = 1'000;
  std::uint64_t next_node = 100;  // that no job has

  void add_nodes(int count) {
    for (int i = 0; i < count; ++i) {
      Node node;
      node.id = {100 + static_cast<std::uint64_t>(i)};
      node.name = "n" + std::to_string(i + 1);
      node.inventory.flavour = "Standard_NC6";
      node.cluster = ClusterId{4};
      node.state = NodeState::idle;
      node.live.seen = true;
      state.nodes[node.id] = node;
    }
    state.clusters.at({4}).spec.target_node_count = static_cast<std::uint32_t>(count);
  }

  void hold(Job& job) {
    job.attempt = 1;
    for (std::uint32_t member = 0; member < job.spec->node_count; ++member) {
      Node& node = state.nodes.at({next_node++});
      node.state = NodeState::running;
      Holding holding;
      holding.id = {job.id, 1};
      holding.node = node.id;
      holding.member = member;
      state.holdings[key_of(holding)] = holding;
      job.last_nodes.push_back(node.name);
    }
  }

  void add_job(const std::string& kind, std::istringstream& words) {
    Job job;
    JobSpec spec;
    words >> job.name >> spec.node_count;
    job.id = {next_id++};
    job.experiment = {3};
    job.cluster = {4};
    job.created_ms = kSceneNow - kMinute;
    for (std::string word; words >> word;) {
      DurationMs minutes = 0;
      if (word == "high") {
        spec.priority = Priority::high;
      } else if (word == "low") {
        spec.priority = Priority::low;
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
    if (kind == "runs") hold(job);
    job.state = kind == "runs" ? JobState::running : kind == "done" ? JobState::succeeded : JobState::queued;
    state.jobs[job.id] = job;
  }
};

}  // namespace

State scene(const std::string& text) {
  Builder b;
  b.state.groups[{1}] = {{1}, "g", "here"};
  b.state.workspaces[{2}] = {{2}, {1}, "w", "here"};
  b.state.experiments[{3}] = {{3}, {2}, "e"};
  b.state.clusters[{4}] = {{4}, {2}, "nc6"};
  b.state.clusters.at({4}).spec.vm_size = "Standard_NC6";
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string kind;
    if (!(words >> kind)) continue;
    int count = 0;
    if (kind == "nodes" && words >> count) {
      b.add_nodes(count);
    } else if (kind == "cut" && words >> count) {
      for (auto node = b.state.nodes.rbegin(); count > 0; ++node, --count) node->second.live.reachable = false;
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

std::string starts(const std::string& text, const plan::Settings& settings) {
  return starts(scene(text), settings);
}

}  // namespace trainyard::test
