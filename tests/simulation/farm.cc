#include "tests/simulation/farm.h"

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <sstream>

namespace trainyard::simulator {
namespace {

const Trace* trace_of_this_run = nullptr;

void on_abort(int) {
  std::fprintf(stderr, "the end of its trace:\n");
  if (trace_of_this_run) trace_of_this_run->print_newest();
  std::signal(SIGABRT, SIG_DFL);
  std::abort();
}

// The child's whole life. Its result goes to the pipe as lines, its complaints to the error file.
[[noreturn]] void run_in_child(const Options& options, int pipe, std::FILE* errors) {
  dup2(fileno(errors), STDERR_FILENO);
  std::signal(SIGABRT, on_abort);
  std::signal(SIGSEGV, on_abort);
  Simulation simulation(options);
  trace_of_this_run = &simulation.world().trace;
  const RunResult result = simulation.run();
  std::string text = fmt::format("{} {} {} {}\n", result.events, result.core_events, result.jobs, result.trace_hash);
  for (const auto& [what, count] : result.coverage) text += fmt::format("{} {}\n", count, what);
  std::size_t written = 0;
  while (written < text.size()) {
    const auto wrote = write(pipe, text.data() + written, text.size() - written);
    if (wrote <= 0) _exit(2);
    written += static_cast<std::size_t>(wrote);
  }
  _exit(0);
}

struct Child {
  std::size_t run = 0;
  int pipe = -1;
  std::FILE* errors = nullptr;
};

std::string drain(int pipe) {
  std::string text;
  char buffer[4096];
  for (;;) {
    const auto got = read(pipe, buffer, sizeof buffer);
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  close(pipe);
  return text;
}

void take_result(const std::string& text, std::size_t run, FarmResult& all) {
  std::istringstream lines(text);
  std::uint64_t events = 0, core_events = 0, hash = 0;
  std::uint32_t jobs = 0;
  lines >> events >> core_events >> jobs >> hash;
  all.events += events;
  all.core_events += core_events;
  all.jobs += jobs;
  all.fewest_events = all.fewest_events == 0 ? events : std::min(all.fewest_events, events);
  all.fewest_jobs = all.fewest_jobs == 0 ? jobs : std::min(all.fewest_jobs, jobs);
  all.hashes[run] = hash;
  std::uint64_t count = 0;
  std::string what;
  while (lines >> count && std::getline(lines >> std::ws, what)) all.coverage[what] += count;
}

}  // namespace

std::string command_for(const Options& options) {
  return fmt::format("tests/simulate --seed {} --nodes {} --mode {} --min-jobs {} --events {} --trace", options.seed,
                     options.nodes, options.mode == Mode::safety ? "safety" : "liveness", options.jobs, options.events);
}

FarmResult run_all(const Seeds& seeds) {
  FarmResult all{.runs = seeds.runs.size()};
  all.hashes.resize(seeds.runs.size());
  std::map<pid_t, Child> children;
  std::size_t next = 0;
  while (next < seeds.runs.size() || !children.empty()) {
    const bool enough = seeds.until_failure && all.failures != 0;
    if (enough && children.empty()) break;
    while (!enough && next < seeds.runs.size() && children.size() < seeds.at_once) {
      int ends[2];
      std::FILE* errors = std::tmpfile();
      if (errors == nullptr || pipe(ends) != 0) std::abort();
      std::fflush(nullptr);
      const pid_t pid = fork();
      if (pid == 0) {
        close(ends[0]);
        run_in_child(seeds.runs[next], ends[1], errors);
      }
      if (pid < 0) std::abort();
      close(ends[1]);
      children[pid] = {next++, ends[0], errors};
    }
    int status = 0;
    const pid_t pid = wait(&status);
    const auto found = children.find(pid);
    if (found == children.end()) continue;
    const Child child = found->second;
    children.erase(found);
    const std::string text = drain(child.pipe);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
      take_result(text, child.run, all);
    } else {
      ++all.failures;
      std::printf("FAILED: seed %llu\n", static_cast<unsigned long long>(seeds.runs[child.run].seed));
      std::rewind(child.errors);
      char line[1024];
      while (std::fgets(line, sizeof line, child.errors)) std::printf("    %s", line);
      std::printf("    again with: %s\n", command_for(seeds.runs[child.run]).c_str());
      std::fflush(stdout);
    }
    std::fclose(child.errors);
  }
  return all;
}

}  // namespace trainyard::simulator
