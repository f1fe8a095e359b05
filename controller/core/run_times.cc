// How long jobs usually take, learnt from those that succeeded: for backfill, where users give no time limit. Derived
// from the jobs' rows like an index, so it needs no table of its own.
#include <algorithm>
#include <charconv>

#include "controller/core/engine.h"

namespace trainyard::core {

namespace {

constexpr std::size_t kRemembered = 8;
// Numbers of nodes of which a program's times are kept: elastic jobs may get any. The one that was learnt longest ago
// makes room.
constexpr std::size_t kSizes = 16;

// Jobs that do the same: one script of a workspace. Its arguments are not part of it: sweeps change them.
std::string program_of(const State& state, const Job& job) {
  const JobSpec& spec = *job.spec;
  const bool in_file = !spec.python_script_file_path.empty() || !spec.config_file_path.empty();
  if (!in_file && spec.command_line.empty()) return "";
  auto experiment = state.experiments.find(job.experiment);
  if (experiment == state.experiments.end()) return "";
  std::string program;  // asked for by every job of a plan: one allocation
  program.reserve(64 + spec.python_script_file_path.size() + spec.config_file_path.size() + spec.command_line.size());
  const auto add = [&](std::uint64_t number) {
    char digits[20];
    program.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr) += ' ';
  };
  add(experiment->second.workspace.value);
  add(static_cast<std::uint64_t>(spec.toolkit));
  return in_file ? program.append(spec.python_script_file_path).append(spec.config_file_path)
                 : program.append(spec.command_line);
}

}  // namespace

std::optional<DurationMs> usual_run_time(const State& state, const Job& job, std::uint32_t nodes) {
  if (state.run_times.empty()) return std::nullopt;
  const std::string program = program_of(state, job);
  const auto known = program.empty() ? state.run_times.end() : state.run_times.find(program);
  if (known == state.run_times.end()) return std::nullopt;
  // A job that asks for more nodes may have more to do; an elastic one has the same on all that it may get. More nodes
  // are no slower then: the next fewer known ones say enough. And fewer are no faster: what it took on more counts,
  // too. So what is expected never falls when it gets fewer, which backfill relies on.
  auto size = known->second.upper_bound(nodes);
  if (size == known->second.begin() || (--size)->first < std::min(nodes, least_nodes(*job.spec))) return std::nullopt;
  // The longest of the newest few, and a tenth: who is expected to end too early delays those with a promise.
  DurationMs longest = 0;
  for (const std::uint32_t most = std::max(nodes, job.spec->node_count);
       size != known->second.end() && size->first <= most; ++size) {
    for (const DurationMs took_ms : size->second.took_ms) longest = std::max(longest, took_ms);
  }
  return longest + longest / 10;
}

void learn_run_time(State& state, const Job& job) {
  const std::string program = program_of(state, job);
  if (program.empty() || job.started_ms == 0 || job.ended_ms <= job.started_ms) return;
  auto& sizes = state.run_times[program];
  std::uint64_t learnt = 0;
  for (const auto& [nodes, times] : sizes) learnt = std::max(learnt, times.learnt);
  RunTimes& times = sizes[nodes_got(job)];
  times.learnt = learnt + 1;
  if (times.took_ms.size() == kRemembered) times.took_ms.erase(times.took_ms.begin());
  times.took_ms.push_back(job.ended_ms - job.started_ms);
  if (sizes.size() <= kSizes) return;
  sizes.erase(std::min_element(sizes.begin(), sizes.end(),
                               [](const auto& a, const auto& b) { return a.second.learnt < b.second.learnt; }));
}

}  // namespace trainyard::core
