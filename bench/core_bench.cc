// Figures of the decision core alone, without store and network: core_events_per_s (jobs going through their whole life
// on 1,000 nodes: submit, place, prepare, run, exit, clean); plan_ms, plan_one_end_ms, plan_blocked_ms (10,000 nodes,
// 100,000 queued jobs) and how the second grows with nodes and queue; memory of a queued job and of a node. Prints
// JSON.
#include <fmt/format.h>
#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "controller/core/core.h"
#include "controller/plan/plan.h"

// jemalloc's, as in the controller; builds with sanitizers have none.
extern "C" int mallctl(const char*, void*, std::size_t*, void*, std::size_t) __attribute__((weak));

namespace {

using namespace trainyard;

constexpr std::size_t kBatch = 512;

double cpu_seconds() {
  timespec used{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec) / 1e9;
}

// Nodes whose every job is prepared at once, runs and exits with 0, one report after another.
class Bench {
 public:
  explicit Bench(std::uint32_t nodes) : x_core(core::Settings{}, core::Tables{}, 1), x_nodes(nodes) {
    command(core::CreateGroup{"group", "onprem", {}});
    command(core::CreateWorkspace{{"group", "work"}, "", {}});
    command(core::CreateExperiment{{"group", "work", "exp"}});
    core::ClusterSpec spec;
    spec.vm_size = "Standard_NC6";
    spec.target_node_count = nodes;
    command(core::CreateCluster{{"group", "work", "cluster"}, spec});
  }

  void submit(std::uint32_t node_count, Priority priority = Priority::normal) {
    core::SubmitJob submit;
    submit.ref = {"group", "work", "exp", fmt::format("job{}", ++x_jobs)};
    submit.cluster = {"group", "work", "cluster"};
    submit.spec.node_count = node_count;
    submit.spec.command_line = "true";
    submit.spec.priority = priority;
    submit.spec.std_out_err_path_prefix = "/logs";
    submit.unique = fmt::format("u{}", x_jobs);
    command(std::move(submit), fmt::format("user{}", x_jobs % 20));
  }

  void submit_array(std::uint32_t tasks) {
    core::CreateJobArray create;
    create.job.ref = {"group", "work", "exp", "array"};
    create.job.cluster = {"group", "work", "cluster"};
    create.job.spec.node_count = 1;
    create.job.spec.command_line = "true";
    create.job.unique = "array";
    create.tasks = tasks;
    command(std::move(create), "user0");
  }

  // Every node joins, the cluster takes them, they say that they know: idle.
  void join() {
    for (std::uint32_t node = 0; node < x_nodes; ++node) {
      Report report;
      report.node_name = fmt::format("node{:05}", node);
      report.epoch = "boot";
      report.inventory.flavour = "STANDARD_NC6";
      report.inventory.address = fmt::format("10.{}.{}.{}", node >> 16, (node >> 8) & 255, node & 255);
      report.inventory.gpus = {{fmt::format("GPU-{}", node), "K80", 1ULL << 34, true}};
      x_reports[report.node_name] = report;
      step(core::NodeReported{std::move(report)});
    }
    plan_and_apply();
    for (const Report& report : take_answers()) step(core::NodeReported{report});
  }

  double plan_ms() const {
    const double begin = cpu_seconds();
    const core::Plan plan = plan::make_plan(x_core.state(), x_now_ms);
    return (cpu_seconds() - begin) * 1000;
  }
  void plan_and_apply() {
    if (x_core.wants_plan()) x_core.apply_plan(plan::make_plan(x_core.state(), x_now_ms), x_now_ms);
  }

  // What is the bench's own.
  void forget_reports() {
    x_core.take_outcome();
    x_reports.clear();
  }

  // The jobs on the first nodes run and end, all other nodes are silent.
  void end_jobs_on(std::uint32_t nodes) {
    const std::string last = fmt::format("node{:05}", nodes);
    for (auto answers = take_answers(); !answers.empty(); answers = take_answers()) {
      for (const Report& report : answers) {
        if (report.node_name < last) step(core::NodeReported{report});
      }
    }
  }

  // What the nodes say to the orders of this batch; empty when nothing is left to do.
  std::vector<Report> take_answers() {
    std::vector<Report> answers;
    for (const core::Action& action : x_core.take_outcome().actions) {
      const auto* send = std::get_if<core::SendOrders>(&action);
      if (send && x_core.state().nodes.contains(send->node)) {
        answer(core::orders_for(x_core.state(), send->node), x_core.state().nodes.at(send->node).name, answers);
      }
    }
    return answers;
  }

  void step(decltype(core::Event::body) body) {
    ++x_events;
    x_core.step({++x_now_ms, std::move(body)});
  }
  std::uint64_t events() const { return x_events; }
  std::size_t finished() const {
    const auto& jobs = x_core.state().jobs;
    return static_cast<std::size_t>(std::count_if(
        jobs.begin(), jobs.end(), [](const auto& entry) { return entry.second.state == core::JobState::succeeded; }));
  }

 private:
  void command(core::CommandBody body, const std::string& who = "bench") {
    step(core::Command{++x_ticket, "", "", who, std::move(body)});
  }

  void answer(const Orders& orders, const std::string& name, std::vector<Report>& answers) {
    Report& report = x_reports.at(name);
    report.store_generation = orders.store_generation;
    report.orders_revision = orders.revision;
    report.holdings.clear();
    for (const HoldingOrder& order : orders.holdings) {
      HoldingReport holding;
      holding.id = order.id;
      if (order.phase == HoldingPhase::prepare) holding.state = HoldingState::ready;
      if (order.phase == HoldingPhase::run) holding.state = HoldingState::running;
      if (order.phase == HoldingPhase::stop) {
        holding.state = HoldingState::clean;
        holding.receipt.node_name = name;
      }
      report.holdings.push_back(holding);
    }
    ++report.sequence;
    answers.push_back(report);
    const bool runs = std::any_of(orders.holdings.begin(), orders.holdings.end(), [](const HoldingOrder& order) {
      return order.phase == HoldingPhase::run && order.member == 0;
    });
    if (!runs) return;
    for (HoldingReport& holding : report.holdings) {
      holding.state = HoldingState::exited;
      holding.exit_code = 0;
    }
    ++report.sequence;
    answers.push_back(report);
  }

  core::Core x_core;
  std::uint32_t x_nodes;
  TimeMs x_now_ms = 1;
  core::Ticket x_ticket = 0;
  std::uint64_t x_jobs = 0, x_events = 0;
  std::map<std::string, Report> x_reports;
};

double events_per_second() {
  constexpr std::uint32_t kNodes = 1'000;
  constexpr std::size_t kJobs = 40'000;
  Bench bench(kNodes);
  bench.join();
  const std::uint64_t before = bench.events();
  const double begin = cpu_seconds();
  std::size_t submitted = 0;
  std::vector<Report> answers;
  while (submitted < kJobs || !answers.empty()) {
    for (std::size_t n = 0; n < kBatch && submitted < kJobs; ++n, ++submitted) bench.submit(1);
    for (std::size_t from = 0; from < answers.size();) {
      const std::size_t end = std::min(from + kBatch, answers.size());
      for (; from < end; ++from) bench.step(core::NodeReported{std::move(answers[from])});
    }
    bench.plan_and_apply();
    answers = bench.take_answers();
  }
  const double took = cpu_seconds() - begin;
  if (bench.finished() != kJobs) {
    fmt::print(stderr, "only {} of {} jobs succeeded: the figure would be wrong\n", bench.finished(), kJobs);
    std::exit(1);
  }
  return static_cast<double>(bench.events() - before) / took;
}

double median_plan_ms(const Bench& bench, const char* moment) {
  std::vector<double> runs;
  for (int run = 0; run < 9; ++run) runs.push_back(bench.plan_ms());
  std::sort(runs.begin(), runs.end());
  fmt::print(stderr, "plan, {}: {:.2f} ms (median of 9)\n", moment, runs[4]);
  return runs[4];
}

// 10,000 nodes, 100,000 queued jobs of 20 owners.
struct PlanTimes {
  double slowest_ms = 0;  // of: all nodes idle (every placement is to be made), and all taken (nothing fits)
  double one_end_ms = 0;  // a few nodes came free
  double blocked_ms = 0;  // they did not help the first waiting job: the queue is looked through for who fills in
};
PlanTimes plan_times() {
  Bench bench(10'000);
  for (std::uint32_t job = 0; job < 100'000; ++job) bench.submit(job % 10 == 0 ? 4 : 1);
  bench.join();
  PlanTimes times;
  times.slowest_ms = median_plan_ms(bench, "10,000 nodes idle");
  bench.plan_and_apply();
  times.slowest_ms = std::max(times.slowest_ms, median_plan_ms(bench, "all nodes taken"));
  bench.end_jobs_on(4);
  times.one_end_ms = median_plan_ms(bench, "4 nodes came free");
  for (int job = 0; job < 20; ++job) bench.submit(5'000, Priority::high);
  times.blocked_ms = median_plan_ms(bench, "4 nodes came free, 20 large jobs wait before all others");
  return times;
}

// All nodes are taken, then four come free.
double one_end_ms(std::uint32_t nodes, std::uint32_t jobs, std::uint32_t tasks) {
  Bench bench(nodes);
  for (std::uint32_t job = 0; job < jobs; ++job) bench.submit(job % 10 == 0 ? 4 : 1);
  if (tasks > 0) bench.submit_array(tasks);
  bench.join();
  for (std::uint32_t filled = 0; filled < nodes; filled += 64) bench.plan_and_apply();  // an array queues few at a time
  bench.end_jobs_on(4);
  return median_plan_ms(bench, fmt::format("4 of {} nodes came free, {} jobs", nodes, jobs + tasks).c_str());
}

// What is allocated, rounded as the allocator rounds it.
std::size_t heap_bytes() {
  if (::mallctl == nullptr) return ::mallinfo2().uordblks + ::mallinfo2().hblkhd;
  ::mallctl("thread.tcache.flush", nullptr, nullptr, nullptr, 0);
  std::uint64_t epoch = 1;  // brings the figures up to date
  ::mallctl("epoch", nullptr, nullptr, &epoch, sizeof epoch);
  std::size_t bytes = 0, size = sizeof bytes;
  ::mallctl("stats.allocated", &bytes, &size, nullptr, 0);
  return bytes;
}

// The heap's growth for each, all indexes included.
struct Memory {
  double job_bytes = 0, node_bytes = 0;
};
Memory memory() {
  constexpr std::uint32_t kJobs = 50'000, kNodes = 5'000;
  Memory memory;
  {
    Bench bench(10);
    const std::size_t before = heap_bytes();
    for (std::uint32_t job = 0; job < kJobs; ++job) bench.submit(1);
    memory.job_bytes = static_cast<double>(heap_bytes() - before) / kJobs;
  }
  Bench bench(kNodes);
  for (std::uint32_t job = 0; job < kNodes; ++job) bench.submit(1);
  const std::size_t before = heap_bytes();
  bench.join();
  bench.plan_and_apply();
  bench.forget_reports();
  memory.node_bytes = static_cast<double>(heap_bytes() - before) / kNodes;
  return memory;
}

}  // namespace

int main() {
  const double events = events_per_second();
  const PlanTimes plan = plan_times();
  const Memory used = memory();
  std::string by_nodes, by_queue;
  for (const std::uint32_t nodes : {1'000, 2'000, 5'000, 10'000}) {
    by_nodes += fmt::format("{}\"{}\": {:.2f}", by_nodes.empty() ? "" : ", ", nodes, one_end_ms(nodes, 100'000, 0));
  }
  constexpr std::uint32_t kOnNodes = 8'000;  // of such jobs fill 10,000 nodes
  for (const std::uint32_t queued : {10'000, 100'000}) {
    by_queue += fmt::format("\"{}\": {:.2f}, ", queued, one_end_ms(10'000, queued + kOnNodes, 0));
  }
  by_queue += fmt::format("\"1000000\": {:.2f}", one_end_ms(10'000, 0, 1'000'000));
  fmt::print(
      "{{\"core_events_per_s\": {:.0f}, \"plan_ms\": {:.2f}, \"plan_one_end_ms\": {:.2f}, \"plan_blocked_ms\": "
      "{:.2f}, \"job_bytes\": {:.0f}, \"node_bytes\": {:.0f}, \"plan_one_end_by_nodes_ms\": {{{}}}, "
      "\"plan_one_end_by_queue_ms\": {{{}}}}}\n",
      events, plan.slowest_ms, plan.one_end_ms, plan.blocked_ms, used.job_bytes, used.node_bytes, by_nodes, by_queue);
}
