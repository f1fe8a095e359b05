#include "agent/exec/failure.h"

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "agent/exec/mpirun.h"
#include "agent/exec/tasks.h"

namespace trainyard::agent {
namespace {

constexpr char kKeyPrefix[] = "task-";

std::optional<std::int32_t> number_at(const std::string& text, std::size_t at) {
  std::int32_t number = 0;
  const char* end = text.data() + text.size();
  while (at < text.size() && text[at] == ' ') ++at;
  if (at >= text.size() || std::from_chars(text.data() + at, end, number).ec != std::errc()) return std::nullopt;
  return number;
}

// The number behind the first `words` from `from` on.
std::optional<std::int32_t> number_after(const std::string& text, const std::string& words, std::size_t from = 0) {
  const std::size_t at = text.find(words, from);
  return at == std::string::npos ? std::nullopt : number_at(text, at + words.size());
}

std::optional<std::uint32_t> rank_after(const std::string& text, const std::string& words) {
  const auto number = number_after(text, words);
  if (!number || *number < 0) return std::nullopt;
  return static_cast<std::uint32_t>(*number);
}

// "[[52127,1],2]": the rank is the last number.
std::optional<std::uint32_t> rank_of_process_name(const std::string& text) {
  const std::size_t name = text.find("Process name: [[");
  const std::size_t at = name == std::string::npos ? name : text.find("],", name);
  const auto rank = at == std::string::npos ? std::nullopt : number_at(text, at + 2);
  if (!rank || *rank < 0) return std::nullopt;
  return static_cast<std::uint32_t>(*rank);
}

// mpirun draws a line above its own words.
std::string without_banner(const std::string& text) {
  const std::size_t at = std::min({text.find(std::string(60, '-')), text.find(std::string(60, '=')), text.size()});
  const std::string before = text.substr(0, at);
  return before.find_first_not_of(" \n") == std::string::npos ? text : before;
}

std::string signal_name(std::int32_t number) {
  const char* name = ::sigabbrev_np(number);
  return std::to_string(number) + (name == nullptr ? "" : std::string(" (SIG") + name + ")");
}

struct Finding {
  std::string who, node;
  std::int32_t exit_code = 0;
  std::optional<std::int32_t> signal;
  std::string last;
  std::vector<NamedValue> details;
};

NodeError error_of(const Finding& found) {
  NodeError error{.code = "JobFailed"};
  auto signal = found.signal;
  if (!signal && found.exit_code > 128 && found.exit_code <= 128 + 64) signal = found.exit_code - 128;
  error.message = found.who + (found.node.empty() ? "" : " on node " + found.node) +
                  (signal ? " was killed by signal " + signal_name(*signal)
                          : " ended with exit code " + std::to_string(found.exit_code));
  error.details = found.details;
  if (!found.node.empty()) error.details.push_back({"node", found.node});
  error.details.push_back({"exitCode", std::to_string(found.exit_code)});
  if (signal) error.details.push_back({"signal", signal_name(*signal)});
  if (!found.last.empty()) error.details.push_back({"lastLines", found.last});
  return error;
}

std::string who_is(const Task& task) {
  switch (task.role) {
    case TaskRole::master:
      return "the master (worker 0)";
    case TaskRole::worker:
      return "worker " + std::to_string(task.index);
    case TaskRole::parameter_server:
      return "parameter server " + std::to_string(task.index);
    case TaskRole::rank:
      break;
  }
  return "rank " + std::to_string(task.index);
}

std::optional<TaskFailure> read_task_failure(const std::string& stderr_tail) {
  std::size_t end = stderr_tail.find_last_not_of('\n');
  if (end == std::string::npos) return std::nullopt;
  const std::size_t newline = stderr_tail.rfind('\n', end);
  const std::size_t begin = newline == std::string::npos ? 0 : newline + 1;
  const auto line = nlohmann::json::parse(stderr_tail.substr(begin, end + 1 - begin), nullptr, false);
  if (!line.is_object()) return std::nullopt;
  const auto task = line.find("task"), code = line.find("exitCode"), message = line.find("message");
  if (task == line.end() || !task->is_number_unsigned() || code == line.end() || !code->is_number_integer() ||
      message == line.end() || !message->is_string()) {
    return std::nullopt;
  }
  return TaskFailure{task->get<std::size_t>(), code->get<std::int32_t>(), message->get<std::string>()};
}

std::optional<NodeError> failed_task(const Launch& launch, const std::string& stderr_tail) {
  const auto failure = read_task_failure(stderr_tail);
  const std::vector<Task> tasks = tasks_of(launch);
  if (!failure || failure->number >= tasks.size()) return std::nullopt;
  const Task& task = tasks[failure->number];
  return error_of({.who = who_is(task),
                   .node = launch.members[task.member].node_name,
                   .exit_code = failure->exit_code,
                   .last = failure->message,
                   .details = {{task.role == TaskRole::rank ? "rank" : "task", task.name}}});
}

std::optional<NodeError> failed_rank(const Launch& launch, std::int32_t exit_code, const std::string& stderr_tail) {
  const auto failure = mpirun_failure(stderr_tail);
  if (!failure) return std::nullopt;
  Finding found{.who = "a rank", .exit_code = failure->exit_code.value_or(exit_code), .signal = failure->signal};
  found.last = last_lines(without_banner(stderr_tail), kLastLines);
  for (const GangMember& member : launch.members) {
    if (!failure->address.empty() && member.address == failure->address) found.node = member.node_name;
  }
  if (failure->rank) {
    const RankLayout layout = rank_layout(launch);
    const std::uint32_t member = layout.even ? *failure->rank / layout.per_node : *failure->rank % layout.nodes;
    found.who = "rank " + std::to_string(*failure->rank);
    found.details.push_back({"rank", std::to_string(*failure->rank)});
    if (member < launch.members.size()) found.node = launch.members[member].node_name;
  }
  return error_of(found);
}

}  // namespace

std::string task_key(std::size_t number) {
  return kKeyPrefix + std::to_string(number);
}

std::optional<std::size_t> task_of_key(const std::string& key) {
  const std::size_t prefix = std::strlen(kKeyPrefix);
  std::size_t number = 0;
  if (key.rfind(kKeyPrefix, 0) != 0 || key.size() == prefix) return std::nullopt;
  const auto read = std::from_chars(key.data() + prefix, key.data() + key.size(), number);
  if (read.ec != std::errc() || read.ptr != key.data() + key.size()) return std::nullopt;
  return number;
}

std::string task_failure_line(const TaskFailure& failure) {
  return nlohmann::json{{"task", failure.number}, {"exitCode", failure.exit_code}, {"message", failure.message}}.dump(
      -1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::optional<RankFailure> mpirun_failure(const std::string& stderr_tail) {
  RankFailure failure;
  if (const std::size_t at = stderr_tail.find("noticed that process rank "); at != std::string::npos) {
    failure.rank = rank_after(stderr_tail, "noticed that process rank ");
    failure.signal = number_after(stderr_tail, "exited on signal ", at);
    if (failure.signal) failure.exit_code = 128 + *failure.signal;
  } else if (stderr_tail.find("MPI_ABORT was invoked on rank ") != std::string::npos) {
    failure.rank = rank_after(stderr_tail, "MPI_ABORT was invoked on rank ");
    failure.exit_code = number_after(stderr_tail, "with errorcode ");
  } else if (stderr_tail.find("The first process to do so was:") != std::string::npos) {
    failure.rank = rank_of_process_name(stderr_tail);
    failure.exit_code = number_after(stderr_tail, "Exit code:");
  } else if (const std::size_t bad = stderr_tail.find("BAD TERMINATION OF ONE"); bad != std::string::npos) {
    const std::string words = " RUNNING AT ";
    if (const std::size_t where = stderr_tail.find(words, bad); where != std::string::npos) {
      const std::size_t begin = where + words.size();
      failure.address = stderr_tail.substr(begin, stderr_tail.find_first_of(" \n", begin) - begin);
    }
    failure.exit_code = number_after(stderr_tail, "EXIT CODE:", bad);
  }
  if (!failure.rank && failure.address.empty()) return std::nullopt;
  return failure;
}

std::string last_lines(const std::string& text, std::size_t most) {
  const std::size_t end = text.find_last_not_of(" \n\r\t");
  std::string kept = end == std::string::npos ? std::string() : text.substr(0, end + 1);
  if (kept.size() <= most) return kept;
  kept.erase(0, kept.size() - most);
  if (const std::size_t newline = kept.find('\n'); newline != std::string::npos) kept.erase(0, newline + 1);
  return kept;
}

NodeError job_failure(const Launch& launch, std::int32_t exit_code, const std::string& stderr_tail) {
  if (starts_tasks(launch.spec)) {
    if (const auto task = failed_task(launch, stderr_tail)) return *task;
  } else if (const auto rank = failed_rank(launch, exit_code, stderr_tail)) {
    return *rank;
  }
  // Of several nodes it cannot be said which, but where only the first runs the command.
  const bool here = launch.members.size() == 1 || launch.spec.toolkit == Toolkit::custom;
  return error_of({.who = "the job's command",
                   .node = here && !launch.members.empty() ? launch.members[0].node_name : std::string(),
                   .exit_code = exit_code,
                   .last = last_lines(stderr_tail, kLastLines)});
}

}  // namespace trainyard::agent
