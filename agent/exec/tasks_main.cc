// trainyard-tasks FILE: the head's process of a job whose processes Trainyard starts itself (pyTorch, tensorFlow,
// caffe2, torchrun, jax). FILE has a line per task, "HOST awaited|background NAME". Asks the local agent for each by
// its number, over the same socket as trainyard-rsh does for mpirun, and sits out restarts of agents and controller
// like it. It ends
//   with 0 when all awaited tasks have ended with 0; background ones (parameter servers) are then ended with the job;
//   with the code of the first awaited task that ends otherwise, which the last line of stderr describes.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "agent/exec/failure.h"
#include "agent/exec/launch_client.h"

namespace trainyard::agent {
namespace {

struct Wanted {
  std::string host, name;
  bool awaited = true, ended = false;
};

std::vector<Wanted> read_tasks(const std::string& path) {
  std::vector<Wanted> tasks;
  std::ifstream file(path);
  std::string how;
  for (Wanted task; file >> task.host >> how >> task.name;) {
    task.awaited = how == "awaited";
    tasks.push_back(task);
  }
  return tasks;
}

std::string requests_for(const std::vector<Wanted>& tasks) {
  std::string text;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (!tasks[i].ended) text += request_line({{"key", task_key(i)}, {"host", tasks[i].host}, {"task", i}});
  }
  return text;
}

// Prints what the agent reads when we have ended.
int fail(std::size_t number, int exit_code, const std::string& message) {
  std::fprintf(stderr, "%s\n", task_failure_line({number, exit_code, message}).c_str());
  return exit_code;
}

// Takes one answer. The exit code when that decides the job.
std::optional<int> take(std::vector<Wanted>& tasks, const nlohmann::json& answer) {
  const std::string key = answer.value("key", std::string()), state = answer.value("state", std::string()),
                    message = answer.value("message", std::string());
  if (key.empty() && state == "refused") {  // all that we ask
    std::fprintf(stderr, "trainyard-tasks: %s\n", message.c_str());
    return 255;
  }
  const auto number = task_of_key(key);
  if (!number || *number >= tasks.size() || tasks[*number].ended) return std::nullopt;
  Wanted& task = tasks[*number];
  if (state != "exited" && state != "refused") return std::nullopt;
  task.ended = true;
  const int code = state == "exited" ? answer.value("exit_code", 255) & 0xff : 255;
  // One that could not be started is missed, whatever its part.
  if ((task.awaited && code != 0) || state == "refused") return fail(*number, code, message);
  const bool all = std::none_of(tasks.begin(), tasks.end(), [](const Wanted& t) { return t.awaited && !t.ended; });
  return all ? std::optional<int>(0) : std::nullopt;
}

// The exit code, or nothing when the connection broke before the end.
std::optional<int> converse(int fd, std::vector<Wanted>& tasks, bool& heard) {
  // A failure shows in the reading.
  (void)send_all(fd, requests_for(tasks));
  std::string pending;
  while (const auto answer = read_answer_line(fd, pending)) {
    heard = true;
    if (const auto code = take(tasks, *answer)) return code;
  }
  return std::nullopt;
}

int run(int argc, char** argv) {
  const char* socket = std::getenv("TRAINYARD_SOCKET");
  if (argc != 2 || socket == nullptr || *socket == '\0') {
    std::fprintf(stderr, "usage: trainyard-tasks FILE   (started by trainyard-agent inside a job)\n");
    return 255;
  }
  std::vector<Wanted> tasks = read_tasks(argv[1]);
  if (tasks.empty()) {
    std::fprintf(stderr, "trainyard-tasks: %s lists no tasks\n", argv[1]);
    return 255;
  }
  return converse_until_over("trainyard-tasks", socket,
                             [&](int fd, bool& heard) { return converse(fd, tasks, heard); });
}

}  // namespace
}  // namespace trainyard::agent

int main(int argc, char** argv) {
  return trainyard::agent::run(argc, argv);
}
