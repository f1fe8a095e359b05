// How long jobs usually take, learnt from those that succeeded: for backfill, where users give no time limit. Derived
// from the jobs' rows like an index, so it needs no table of its own.
#include <algorithm>

#include "controller/core/engine.h"

namespace trainyard::core {

namespace {

constexpr std::size_t kRemembered = 8;

// Jobs that do the same: one script of a workspace, on as many nodes. Its arguments are not part of it: sweeps change
// them.
std::string program_of(const State& state, const Job& job) {
  const JobSpec& spec = *job.spec;
  std::string program = spec.python_script_file_path + spec.config_file_path;
  if (program.empty()) program = spec.command_line;
  if (program.empty()) return "";
  auto experiment = state.experiments.find(job.experiment);
  if (experiment == state.experiments.end()) return "";
  return std::to_string(experiment->second.workspace.value) + " " + std::to_string(static_cast<int>(spec.toolkit)) +
         " " + std::to_string(spec.node_count) + " " + program;
}

}  // namespace

std::optional<DurationMs> usual_run_time(const State& state, const Job& job) {
  const std::string program = program_of(state, job);
  auto known = program.empty() ? state.run_times.end() : state.run_times.find(program);
  if (known == state.run_times.end()) return std::nullopt;
  // The longest of the newest few, and a tenth: who is expected to end too early delays those with a promise.
  const DurationMs longest = *std::max_element(known->second.begin(), known->second.end());
  return longest + longest / 10;
}

void learn_run_time(State& state, const Job& job) {
  const std::string program = program_of(state, job);
  if (program.empty() || job.started_ms == 0 || job.ended_ms <= job.started_ms) return;
  std::vector<DurationMs>& times = state.run_times[program];
  if (times.size() == kRemembered) times.erase(times.begin());
  times.push_back(job.ended_ms - job.started_ms);
}

}  // namespace trainyard::core
