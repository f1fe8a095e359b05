// How long jobs usually take, learnt from those that succeeded: for backfill, where users give no time limit. Derived
// from the jobs' rows like an index, so it needs no table of its own.
#include <algorithm>
#include <charconv>

#include "controller/core/engine.h"

namespace trainyard::core {

namespace {

constexpr std::size_t kRemembered = 8;

// Jobs that do the same: one script of a workspace, on as many nodes. Its arguments are not part of it: sweeps change
// them.
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
  add(spec.node_count);
  return in_file ? program.append(spec.python_script_file_path).append(spec.config_file_path)
                 : program.append(spec.command_line);
}

}  // namespace

std::optional<DurationMs> usual_run_time(const State& state, const Job& job) {
  if (state.run_times.empty()) return std::nullopt;
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
