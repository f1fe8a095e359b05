// trainyard-container VERB: all that the agent and the shims do with containers (runtime.h, init.h). One thread.
//   probe | pull | start | wait | remove | sweep | trim     {"settings", "request"} on standard input (request.h)
//   init SOCKET                                             the first process of a container
//   enter SOCKET -- PROGRAM ARGUMENT...                     under a shim: runs the program in the container
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "agent/containers/init.h"
#include "agent/containers/request.h"
#include "agent/exec/files.h"

namespace trainyard::agent {
namespace {

using nlohmann::json;

constexpr int kUsage = 2;

std::string read_input() {
  std::string text;
  char piece[16 * 1024];
  for (ssize_t got; (got = ::read(0, piece, sizeof piece)) != 0;) {
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) break;
    text.append(piece, static_cast<std::size_t>(got));
  }
  return text;
}

void print(const json& value) {
  const std::string line = line_of(value);
  write_fully(1, line.data(), line.size());
}

template <class T>
void print_outcome(const Outcome<T>& outcome) {
  print(outcome.value ? json{{"result", *outcome.value}} : json{{"error", outcome.error}});
}

void print_count(const Result<std::uint64_t>& count) {
  print(count ? json{{"result", *count}}
              : json{{"error", ContainerError{"ContainerRuntime", count.error().message, {}, true}}});
}

int wait_inside(const std::string& socket) {
  const bool answers = wait_for_init(socket, 30'000, [] { return true; });
  print_outcome(answers
                    ? Outcome<bool>{true, {}}
                    : Outcome<bool>{{}, {"FailedStartingContainer", "the container did not start", "other", false}});
  return 0;
}

int carry_out(const std::string& verb) {
  const json input = json::parse(read_input());
  const auto settings = input.at("settings").get<RuntimeSettings>();
  const json& request = input.at("request");
  if (verb == "probe") return print({{"result", probe_runtime(settings)}}), 0;
  if (verb == "wait") return wait_inside(request.get<std::string>());
  const auto runtime = is_engine(settings.kind) ? make_engine(settings) : make_wrapper(settings);
  const Say say = [](const std::string& text) { print({{"say", text}}); };
  if (verb == "pull") {
    print_outcome(runtime->pull(request.get<ImageRequest>(), say));
  } else if (verb == "start") {
    print_outcome(runtime->start(request.get<ContainerRequest>()));
  } else if (verb == "remove") {
    const auto removed = runtime->remove(request.at("name").get<std::string>());
    remove_v1_groups(request.at("cgroup_parent").get<std::string>());
    print_count(removed);  // who reads this does not wait for what comes after
  } else if (verb == "sweep") {
    print_count(runtime->sweep(request.get<std::vector<std::string>>()));
  } else if (verb == "trim") {
    runtime->trim_cache(say);
    print({{"result", true}});
  } else {
    return kUsage;
  }
  return 0;
}

int run(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  if (verb == "init" && argc == 3) return run_init(argv[2]);
  if (verb == "enter" && argc > 4 && std::strcmp(argv[3], "--") == 0)
    return enter_container(argv[2], {argv + 4, argv + argc});
  if (argc != 2) {
    std::fprintf(stderr, "trainyard-container is started by trainyard-agent; it has no use by hand.\n");
    return kUsage;
  }
  try {
    return carry_out(verb);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "trainyard-container %s: %s\n", verb.c_str(), error.what());
    return kUsage;
  }
}

}  // namespace
}  // namespace trainyard::agent

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  return trainyard::agent::run(argc, argv);
}
