// What went wrong first in a job whose head ended with a code other than 0: which rank, on which node, by which code or
// signal, and its last lines. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "common/model.h"

namespace trainyard::agent {

// How trainyard-tasks names its launches; nobody else's begin so.
std::string task_key(std::size_t number);
std::optional<std::size_t> task_of_key(const std::string& key);

// The first failing task, as trainyard-tasks leaves it in the last line of its stderr.
struct TaskFailure {
  std::size_t number = 0;
  std::int32_t exit_code = 0;
  std::string message;  // its last lines, or why it could not be started
};
std::string task_failure_line(const TaskFailure& failure);

// The first failing rank, as mpirun (Open MPI, or Hydra) says it at its end.
struct RankFailure {
  std::optional<std::uint32_t> rank;
  std::string address;  // Hydra says the node, not the rank
  std::optional<std::int32_t> exit_code, signal;
};
std::optional<RankFailure> mpirun_failure(const std::string& stderr_tail);

// The end of a text: at most `most` bytes, whole lines where that leaves any.
std::string last_lines(const std::string& text, std::size_t most);

// Error "JobFailed" of the attempt. `stderr_tail`: the last kFailureTail bytes of the head's stderr.
inline constexpr std::size_t kFailureTail = 16 * 1024;
inline constexpr std::size_t kLastLines = 2'000;
NodeError job_failure(const Launch& launch, std::int32_t exit_code, const std::string& stderr_tail);

}  // namespace trainyard::agent
