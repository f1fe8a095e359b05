// What the time of GPUs was spent for, with numbers worked out by hand. Time passes where the tests say `now +=`.
#include "controller/core/accounting.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;

namespace {

std::string text_of(const GpuTime& time) {
  std::string text;
  const auto add = [&text](const char* cause, std::int64_t ms) {
    if (ms != 0) text += (text.empty() ? "" : ", ") + std::string(cause) + " " + std::to_string(ms);
  };
  add("preparing", time.preparing_ms);
  add("running", time.running_ms);
  add("lost", time.lost_ms);
  add("requeued", time.requeued_ms);
  add("stopping", time.stopping_ms);
  return text;
}

// "n1 x1: preparing 3000, running 10000"; each row keeps the rule that causes sum up.
std::string text_of(const Usage& row) {
  CHECK(gpu_time(row).sum() == row.units * (row.to_ms - row.from_ms));
  return row.node_name + " x" + std::to_string(row.units) + ": " + text_of(gpu_time(row));
}

std::vector<std::string> rows(const World& w) {
  std::vector<std::string> all;
  for (const Usage& row : w.usage) all.push_back(text_of(row));
  return all;
}

using Rows = std::vector<std::string>;

// A node's holding as it would be counted now.
std::string open_row(const World& w, const std::string& node) {
  for (const auto& [key, holding] : holdings_on(w.state(), w.node(node).id)) {
    const Usage row = usage_of(w.state(), holding, w.now);
    CHECK(gpu_time(row).sum() == allocated_ms(holding, w.now));
    return text_of(row);
  }
  return "nothing";
}

void set_all(World& w, bool PretendAgent::*what, bool value) {
  for (auto& [name, agent] : w.agents) agent.*what = value;
}

// Placed, 3 seconds later running.
void prepare_for_3s(World& w, int nodes) {
  w.ready_cluster(nodes);
  set_all(w, &PretendAgent::prepares, false);
  w.submit("j", static_cast<std::uint32_t>(nodes));
  w.settle();
  w.now += 3'000;
  set_all(w, &PretendAgent::prepares, true);
  w.settle();
  REQUIRE(w.job("j").state == JobState::running);
}

void gpu_cluster(World& w, int nodes, int gpus) {
  for (int i = 1; i <= nodes; ++i) {
    const std::string name = "n" + std::to_string(i);
    PretendAgent& agent = w.add_agent(name);
    agent.inventory.gpus.clear();
    for (int gpu = 0; gpu < gpus; ++gpu)
      agent.inventory.gpus.push_back({name + "-gpu" + std::to_string(gpu), "V100", 32});
    w.report(name);
  }
  w.cluster("nc6", static_cast<std::uint32_t>(nodes));
  w.settle();
}

void submit_part(World& w, const std::string& name, std::uint32_t nodes, std::uint32_t gpus) {
  JobSpec spec = World::spec(nodes);
  spec.gpus_per_node = gpus;
  REQUIRE(w.command(SubmitJob{World::job_ref(name), World::cluster_ref("nc6"), spec, {}, "unique-" + name}).ok());
}

}  // namespace

TEST_CASE("accounting: a job that succeeds prepares, runs and stops; each node counts until it is clean") {
  World w;
  prepare_for_3s(w, 2);
  CHECK(open_row(w, "n1") == "n1 x1: preparing 3000");
  w.now += 10'000;
  CHECK(open_row(w, "n2") == "n2 x1: preparing 3000, running 10000");
  w.head_exits("j", 0);
  set_all(w, &PretendAgent::cleans, false);
  w.report("n1");
  REQUIRE(w.job("j").state == JobState::stopping);
  w.now += 2'000;
  w.agents.at("n1").cleans = true;
  w.settle();
  CHECK(rows(w) == Rows{"n1 x1: preparing 3000, running 10000, stopping 2000"});
  w.now += 4'000;
  CHECK(open_row(w, "n2") == "n2 x1: preparing 3000, running 10000, stopping 6000");
  w.agents.at("n2").cleans = true;
  w.settle();
  REQUIRE(w.job("j").state == JobState::succeeded);
  CHECK(rows(w) == Rows{"n1 x1: preparing 3000, running 10000, stopping 2000",
                        "n2 x1: preparing 3000, running 10000, stopping 6000"});
  const Usage& row = w.usage.front();
  CHECK(row.id == AttemptId{w.job("j").id, 1});
  CHECK(row.node == w.node("n1").id);
  CHECK(row.owner == "user:ann");
  CHECK(row.job_path == "g/w/e/j");
  CHECK(row.cluster_path == "g/w/nc6");
  CHECK(row.gpu_uuids == std::vector<std::string>{"gpu-n1"});
  CHECK(row.from_ms == kStart);
  CHECK(row.to_ms == kStart + 15'000);
}

TEST_CASE("accounting: time in the queue has no cause") {
  World w;
  w.running_job(1);
  w.submit("k", 1);
  w.now += 50'000;
  w.head_exits("j", 0);
  w.settle();
  REQUIRE(w.job("k").state == JobState::running);
  w.now += 1'000;
  w.head_exits("k", 0);
  w.settle();
  CHECK(rows(w) == Rows{"n1 x1: running 50000", "n1 x1: running 1000"});
}

TEST_CASE("accounting: a user's failure runs until the verdict, which waits for every node") {
  World w;
  prepare_for_3s(w, 2);
  w.now += 5'000;
  w.head_exits("j", 7);
  w.report("n1");
  w.now += 1'000;
  w.report("n2");
  REQUIRE(w.job("j").state == JobState::stopping);
  w.settle();
  CHECK(rows(w) == Rows{"n1 x1: preparing 3000, running 6000", "n2 x1: preparing 3000, running 6000"});
}

TEST_CASE("accounting: what a user terminates has run; what never ran has only prepared") {
  World w;
  SECTION("running") {
    prepare_for_3s(w, 1);
    w.now += 2'000;
    REQUIRE(w.terminate("j").ok());
    w.now += 500;
    w.settle();
    CHECK(rows(w) == Rows{"n1 x1: preparing 3000, running 2000, stopping 500"});
  }
  SECTION("preparing") {
    w.ready_cluster(1);
    w.agents.at("n1").prepares = false;
    w.submit("j", 1);
    w.settle();
    w.now += 1'000;
    CHECK(open_row(w, "n1") == "n1 x1: preparing 1000");
    REQUIRE(w.terminate("j").ok());
    w.now += 500;
    CHECK(open_row(w, "n1") == "n1 x1: preparing 1000, stopping 500");
    w.settle();
    CHECK(rows(w) == Rows{"n1 x1: preparing 1000, stopping 500"});
  }
}

TEST_CASE(
    "accounting: what ran is lost when a node is lost, on all nodes of the attempt; the next attempt is its own") {
  World w;
  prepare_for_3s(w, 2);
  w.cut("n2");
  w.wait(120'000);
  REQUIRE(w.job("j").verdict == Verdict::requeue);
  CHECK(rows(w) == Rows{"n1 x1: preparing 3000, lost 120000"});
  w.now += 7'000;
  REQUIRE(w.fence("n2").ok());
  CHECK(rows(w).back() == "n2 x1: preparing 3000, lost 120000, stopping 7000");
  REQUIRE(w.job("j").state == JobState::queued);
  w.reboot("n2", "boot-2");
  w.settle();
  REQUIRE(w.job("j").state == JobState::running);
  w.now += 1'000;
  w.head_exits("j", 0);
  w.settle();
  REQUIRE(w.job("j").state == JobState::succeeded);
  REQUIRE(w.usage.size() == 4);
  CHECK(w.usage.back().id.attempt == 2);
  CHECK(rows(w).back() == "n1 x1: running 1000");
}

TEST_CASE("accounting: lost is lost also where no attempt is left, and where the user gives up meanwhile") {
  World w;
  SECTION("no requeues left") {
    Recovery recovery;
    recovery.max_requeues = 0;
    w.running_job(2, recovery);
    w.now += 8'000;
    w.reboot("n2", "boot-2");
    w.settle();
    REQUIRE(w.job("j").state == JobState::failed);
    CHECK(rows(w) == Rows{"n2 x1: lost 8000", "n1 x1: lost 8000"});
  }
  SECTION("cancelled while it stops to be queued again") {
    w.running_job(2);
    w.now += 8'000;
    w.agents.at("n1").cleans = false;
    w.reboot("n2", "boot-2");
    REQUIRE(w.job("j").state == JobState::stopping);
    REQUIRE(w.terminate("j").ok());
    w.now += 1'000;
    w.agents.at("n1").cleans = true;
    w.settle();
    REQUIRE(w.job("j").state == JobState::failed);
    CHECK(rows(w) == Rows{"n2 x1: lost 8000", "n1 x1: lost 8000, stopping 1000"});
  }
}

TEST_CASE("accounting: what is stopped to be queued again is requeued, not lost") {
  World w;
  prepare_for_3s(w, 1);
  w.now += 4'000;
  SECTION("its node is drained") {
    REQUIRE(w.command(DrainNode{"n1", "disks", true}).ok());
  }
  SECTION("its cluster shrinks") {
    REQUIRE(w.resize("nc6", 0).ok());
  }
  w.now += 600;
  w.settle();
  CHECK(w.job("j").state == JobState::queued);
  CHECK(rows(w) == Rows{"n1 x1: preparing 3000, requeued 4000, stopping 600"});
}

TEST_CASE(
    "accounting: a job that is deleted while it runs on a lost node is counted until the fence, for whom it ran") {
  World w;
  prepare_for_3s(w, 1);
  w.cut("n1");
  w.wait(40'000);
  REQUIRE(w.remove("j").ok());
  REQUIRE(w.find_job("j") == nullptr);
  REQUIRE(w.command(DeleteExperiment{{"g", "w", "e"}}).ok());
  w.restart_controller();
  w.now += 5'000;
  CHECK(open_row(w, "n1") == "n1 x1: preparing 3000, running 40000, stopping 5000");
  w.wait(31'000);
  REQUIRE(w.fence("n1").ok());
  CHECK(rows(w) == Rows{"n1 x1: preparing 3000, running 40000, stopping 36000"});
  CHECK(w.usage[0].owner == "user:ann");
  CHECK(w.usage[0].job_path == "g/w/e/j");
  CHECK(w.usage[0].cluster_path == "g/w/nc6");
}

TEST_CASE("accounting: parts count their GPUs, whole nodes all that they were given with") {
  World w;
  gpu_cluster(w, 2, 8);
  submit_part(w, "part", 1, 3);
  w.submit("whole", 1);
  w.settle();
  REQUIRE(w.job("whole").state == JobState::running);
  w.now += 1'000;
  w.head_exits("part", 0);
  w.settle();
  CHECK(rows(w) == Rows{"n1 x3: running 3000"});
  // A GPU that fails takes nothing back of what was allocated.
  w.agents.at("n2").inventory.gpus[0].fault = "XID 79";
  w.settle();
  CHECK(rows(w).back() == "n2 x8: lost 8000");
}

TEST_CASE("accounting: a node without GPUs counts as one") {
  World w;
  gpu_cluster(w, 1, 0);
  w.submit("j", 1);
  w.settle();
  w.now += 1'500;
  w.head_exits("j", 0);
  w.settle();
  CHECK(rows(w) == Rows{"n1 x1: running 1500"});
}

TEST_CASE("accounting: restarts of the controller change nothing of it") {
  World w;
  w.ready_cluster(1);
  w.agents.at("n1").prepares = false;
  w.submit("j", 1);
  w.settle();
  w.now += 1'000;
  w.restart_controller();
  w.now += 1'000;
  w.agents.at("n1").prepares = true;
  w.settle();
  w.now += 5'000;
  w.restart_controller();
  w.now += 5'000;
  w.settle();
  CHECK(open_row(w, "n1") == "n1 x1: preparing 2000, running 10000");
  w.agents.at("n1").cleans = false;
  w.head_exits("j", 0);
  w.settle();
  w.now += 2'000;
  w.restart_controller();
  w.now += 2'000;
  w.agents.at("n1").cleans = true;
  w.settle();
  CHECK(rows(w) == Rows{"n1 x1: preparing 2000, running 10000, stopping 4000"});
}

TEST_CASE("accounting: a time from and to cuts the spans, and what is cut sums up to the whole") {
  const Usage row{{{1}, 1}, {2}, "g/w/e/j", "ann", "g/w/c", "n1", 2, {}, 100, 130, 200, 210, Work::lost};
  CHECK(text_of(gpu_time(row)) == "preparing 60, lost 140, stopping 20");
  CHECK(text_of(gpu_time(row, 0, 100)) == "");
  CHECK(text_of(gpu_time(row, 0, 110)) == "preparing 20");
  CHECK(text_of(gpu_time(row, 120, 140)) == "preparing 20, lost 20");
  CHECK(text_of(gpu_time(row, 205, 1'000)) == "stopping 10");
  CHECK(text_of(gpu_time(row, 210, 1'000)) == "");
  GpuTime sum;
  for (TimeMs at = 93; at < 220; at += 7) sum += gpu_time(row, at, at + 7);
  CHECK(sum == gpu_time(row));
}
