// Jobs on real agents, seen from the client's end of a connection; bench/run makes the cluster. Prints JSON arrays.
//   first-line   ms from the submit to the first byte of the job's output, one job after another
//   follow       ms from a line's birth (it carries its time) to its arrival at a follower
//   drain        submits one-node jobs and waits until all have succeeded: jobs per second
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <sstream>
#include <thread>

#include "bench/submitter.h"
#include "trainyard/v1/jobs.grpc.pb.h"

namespace {

using namespace trainyard;
using namespace trainyard::bench;
using Steady = std::chrono::steady_clock;

struct Flags {
  Target target{"", "g", "w", "x", "c", "a", "s"};
  std::string prefix = "job", command = "echo hello";
  std::uint32_t count = 1, nodes = 1, in_flight = 64;
  bool mpi = false;
  std::string image;  // empty: on the host
};

int fail(const std::string& message) {
  fmt::print(stderr, "job_bench: {}\n", message);
  return 1;
}

v1::JobName name_of(const Target& target, const std::string& name) {
  v1::JobName job;
  job.set_resource_group(target.group);
  job.set_workspace(target.workspace);
  job.set_experiment(target.experiment);
  job.set_name(name);
  return job;
}

class Client {
 public:
  explicit Client(Flags flags)
      : x_flags(std::move(flags)), x_stub(v1::Jobs::NewStub(connect(x_flags.target.controller))) {}

  // Submits, calls `arrived` for each chunk of stdout.txt, waits for the end. An error unless the job succeeded.
  template <class Arrived>
  Status run(const std::string& name, const std::string& command, Arrived arrived) {
    grpc::ClientContext create, read, watch;
    v1::Job job;
    auto request = job_request(x_flags.target, name, x_flags.nodes, x_flags.mpi, command);
    request.mutable_spec()->set_image(x_flags.image);
    if (auto status = x_stub->CreateJob(&create, request, &job); !status.ok()) return failed(name, status);
    v1::ReadJobFileRequest file;
    *file.mutable_job() = name_of(x_flags.target, name);
    file.set_path("stdout.txt");
    file.set_follow(true);
    auto reader = x_stub->ReadJobFile(&read, file);
    for (v1::FileChunk chunk; reader->Read(&chunk);) {
      if (!chunk.data().empty()) arrived(chunk.data());
    }
    if (auto status = reader->Finish(); !status.ok()) return failed(name, status);
    auto watcher = x_stub->WatchJob(&watch, name_of(x_flags.target, name));
    while (watcher->Read(&job)) {
    }
    if (job.execution_state() == "succeeded") return {};
    return Error{Code::internal, fmt::format("{} ended as {}: {}", name, job.execution_state(), job.reason())};
  }

 private:
  static Error failed(const std::string& name, const grpc::Status& status) {
    return Error{Code::internal, name + ": " + status.error_message()};
  }

  Flags x_flags;
  std::unique_ptr<v1::Jobs::Stub> x_stub;
};

void print(const std::vector<double>& values) {
  fmt::print("[{:.3f}]\n", fmt::join(values, ","));
}

int first_line(const Flags& flags) {
  Client client(flags);
  std::vector<double> times;
  for (std::uint32_t n = 0; n < flags.count; ++n) {
    double first = -1;
    const auto begin = Steady::now();
    const Status done = client.run(fmt::format("{}_{}", flags.prefix, n), flags.command, [&](const std::string&) {
      if (first < 0) first = std::chrono::duration<double, std::milli>(Steady::now() - begin).count();
    });
    if (!done) return fail(done.error().message);
    if (first < 0) return fail("a job's output never came");
    times.push_back(first);
  }
  print(times);
  return 0;
}

int follow(const Flags& flags) {
  Client client(flags);
  std::vector<double> delays;
  std::string part;
  const std::string command = fmt::format("for i in $(seq {}); do date +%s%N; sleep 0.05; done", flags.count);
  const Status done = client.run(flags.prefix, command, [&](const std::string& data) {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    const auto now_ns = now.tv_sec * 1'000'000'000LL + now.tv_nsec;
    part += data;
    for (std::size_t end; (end = part.find('\n')) != std::string::npos; part.erase(0, end + 1)) {
      delays.push_back(static_cast<double>(now_ns - std::stoll(part.substr(0, end))) / 1e6);
    }
  });
  if (!done) return fail(done.error().message);
  if (delays.size() != flags.count) return fail(fmt::format("{} of {} lines came", delays.size(), flags.count));
  print(delays);
  return 0;
}

int drain(const Flags& flags) {
  std::atomic<bool> stop = false;
  const auto begin = Steady::now();
  const Load load{flags.in_flight, flags.count, {}};
  const auto submitted = submit(flags.target, load, stop, [](std::uint64_t) {});
  if (!submitted) return fail(submitted.error().message);
  while (true) {
    const auto jobs = list_jobs(flags.target);
    if (!jobs) return fail(jobs.error().message);
    std::uint64_t ended = 0;
    for (const v1::Job& job : jobs->jobs()) {
      if (job.execution_state() == "failed") return fail(fmt::format("{} failed: {}", job.name(), job.reason()));
      if (job.execution_state() == "succeeded") ++ended;
    }
    if (ended >= flags.count) break;
    if (Steady::now() - begin > std::chrono::seconds(120)) {
      return fail(fmt::format("{} of {} jobs ended in 120 s", ended, flags.count));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  print({flags.count / std::chrono::duration<double>(Steady::now() - begin).count()});
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Jobs of Trainyard's benches");
  Flags flags;
  app.require_subcommand(1);
  app.add_option("--controller", flags.target.controller)->required();
  app.add_option("--experiment", flags.target.experiment);
  app.add_option("--prefix", flags.prefix, "of the jobs' names");
  app.add_option("--count", flags.count, "jobs, or lines of the followed one");
  app.add_option("--nodes", flags.nodes);
  app.add_option("--command", flags.command);
  app.add_option("--image", flags.image, "runs in a container of it");
  app.add_flag("--mpi", flags.mpi, "one rank on each node");
  auto* first = app.add_subcommand("first-line")->fallthrough();
  auto* follower = app.add_subcommand("follow")->fallthrough();
  app.add_subcommand("drain")->fallthrough();
  CLI11_PARSE(app, argc, argv);
  if (*first) return first_line(flags);
  if (*follower) return follow(flags);
  return drain(flags);
}
