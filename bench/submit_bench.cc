// Client side of the figures over gRPC; bench/run starts the controller and calls this. Prints JSON.
//   rate    durable submits per second with so many in flight
//   lose    submits jobs and kills the controller (-9) at the last acknowledgement; prints the acknowledged names
//   list    names of an experiment's jobs
//   queue   submits jobs and waits for all
//   swarm   holds many agents' streams until its standard input closes
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "bench/submitter.h"
#include "bench/swarm.h"

namespace {

using namespace trainyard;
using namespace trainyard::bench;

struct Flags {
  Target target;
  std::uint32_t in_flight = 1, agents = 1000, every_ms = 5000;
  std::uint64_t jobs = 0, time_ms = 0;
  int kill_pid = 0;
};

int fail(const Error& error) {
  fmt::print(stderr, "submit_bench: {}\n", error.message);
  return 1;
}

void print_names(const std::vector<std::string>& names) {
  fmt::print("[{}]\n", names.empty() ? "" : fmt::format("\"{}\"", fmt::join(names, "\",\"")));
}

Result<Submitted> load_of(const Flags& flags) {
  if (Status ready = prepare(flags.target); !ready) return ready.error();
  std::atomic<bool> stop = false;
  const Load load{flags.in_flight, flags.jobs, std::chrono::milliseconds(flags.time_ms)};
  return submit(flags.target, load, stop, [&](std::uint64_t total) {
    if (flags.kill_pid == 0 || total < flags.jobs || stop.exchange(true)) return;
    ::kill(flags.kill_pid, SIGKILL);
  });
}

int swarm(const Flags& flags) {
  const Status done = run_swarm(
      flags.target.controller, flags.agents, std::chrono::milliseconds(flags.every_ms),
      [] {
        fmt::print("connected\n");
        std::fflush(stdout);
      },
      [] {
        while (std::getchar() != EOF) {
        }
      });
  return done ? 0 : fail(done.error());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Client side of Trainyard's benches");
  Flags flags;
  app.require_subcommand(1);
  app.add_option("--controller", flags.target.controller);
  app.add_option("--experiment", flags.target.experiment);
  auto* rate = app.add_subcommand("rate");
  auto* lose = app.add_subcommand("lose");
  auto* list = app.add_subcommand("list");
  auto* queue = app.add_subcommand("queue");
  auto* agents = app.add_subcommand("swarm");
  for (auto* command : {rate, lose, queue}) {
    command->add_option("--in-flight", flags.in_flight);
    command->add_option("--jobs", flags.jobs);
    command->add_option("--time-ms", flags.time_ms);
  }
  lose->add_option("--kill-pid", flags.kill_pid)->required();
  agents->add_option("--agents", flags.agents);
  agents->add_option("--every-ms", flags.every_ms);
  CLI11_PARSE(app, argc, argv);

  if (*agents) return swarm(flags);
  if (*list) {
    const auto jobs = list_jobs(flags.target);
    if (!jobs) return fail(jobs.error());
    std::vector<std::string> names;
    for (const v1::Job& job : jobs->jobs()) names.push_back(job.name());
    print_names(names);
    return 0;
  }
  const auto submitted = load_of(flags);
  if (!submitted) return fail(submitted.error());
  if (*lose) {
    print_names(submitted->names);
  } else {
    fmt::print("{{\"acknowledged\": {}, \"seconds\": {:.3f}, \"per_s\": {:.1f}}}\n", submitted->acknowledged,
               submitted->seconds, static_cast<double>(submitted->acknowledged) / submitted->seconds);
  }
  return 0;
}
