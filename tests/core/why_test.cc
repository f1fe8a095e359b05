// Why a job waits: complete, and what it suggests works.
#include "controller/plan/why.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "tests/core/scene.h"

using namespace trainyard;
using namespace trainyard::test;
using plan::Relaxation;

namespace {

plan::Why why(const std::string& text, const std::string& name) {
  const core::State state = scene(text);
  return plan::why(state, job_of(state, name), kSceneNow);
}

const Relaxation* relaxation(const plan::Why& why, Relaxation::Kind kind) {
  const auto found = std::find_if(why.relaxations.begin(), why.relaxations.end(),
                                  [&](const Relaxation& relaxation) { return relaxation.kind == kind; });
  return found == why.relaxations.end() ? nullptr : &*found;
}

// The same state, with the job as the relaxation wants it.
core::State applied(core::State state, const std::string& name, const Relaxation& relaxation) {
  core::Job& job = state.jobs.at(job_of(state, name).id);
  JobSpec spec = *job.spec;
  if (relaxation.kind == Relaxation::Kind::fewer_nodes)
    spec.node_count = relaxation.node_count, spec.min_node_count = 0;
  if (relaxation.kind == Relaxation::Kind::fewer_gpus) spec.gpus_per_node = relaxation.gpus_per_node;
  if (relaxation.kind == Relaxation::Kind::shorter_limit) spec.max_wall_clock_ms = relaxation.limit_ms;
  if (relaxation.kind == Relaxation::Kind::higher_priority) spec.priority = relaxation.priority;
  if (relaxation.kind == Relaxation::Kind::any_topology) spec.topology = {};
  if (relaxation.kind == Relaxation::Kind::larger_quota) {
    state.workspaces.at(core::payer_of(state, job).workspace).quota.limit = relaxation.gpus;
  }
  if (relaxation.kind == Relaxation::Kind::release) job.hold.reset();
  job.spec = std::make_shared<const JobSpec>(spec);
  core::rebuild_indexes(state);
  return state;
}

bool names(const std::string& list, const std::string& name) {
  return (" " + list + " ").find(" " + name + " ") != std::string::npos;
}

}  // namespace

TEST_CASE("every node of the cluster is accounted for") {
  const plan::Why w = why("nodes 8\ncut 1\nruns a 3 since 10 limit 60\nqueued b 6\nqueued c 5", "c");
  CHECK(w.possible);
  CHECK(w.needs == 5);
  CHECK(w.position == 2);
  CHECK(w.queued == 2);
  REQUIRE(w.obstacles.size() == 3);
  CHECK(w.obstacles[0].code == "busy");
  CHECK(w.obstacles[0].nodes == 3);
  CHECK(w.obstacles[0].text == "3 are busy, the first until about 12:50");
  CHECK(w.obstacles[1].code == "unreachable");
  CHECK(w.obstacles[1].nodes == 1);
  CHECK(w.obstacles[2].text == "3 are free but promised to jobs before it");
  std::uint32_t sum = w.fits;
  for (const plan::Obstacle& obstacle : w.obstacles) sum += obstacle.nodes;
  CHECK(sum == 8);
}

TEST_CASE("nodes that are free for it are told from those that are promised, and from those without an engine") {
  // b gets 5 of 6 nodes in an hour: one of the 4 that are free is not among them.
  const plan::Why c = why("nodes 6\nruns a 2 since 0 limit 60\nqueued b 5 limit 60\nqueued c 3 limit 90", "c");
  CHECK(c.fits == 1);
  REQUIRE(c.obstacles.size() == 2);
  CHECK(c.obstacles[1].text == "3 are free but promised to jobs before it");
  const plan::Why d = why("nodes 3\nengine n2\nqueued d 2 image", "d");
  CHECK(d.fits == 1);
  REQUIRE(d.obstacles.size() == 1);
  CHECK(d.obstacles[0].text == "2 are free but cannot run containers");
}

TEST_CASE("fewer GPUs of a node are suggested where there are such, never none") {
  const std::string busy = "nodes 1x4\nruns a 1x3\n";
  const plan::Why more = why(busy + "queued b 1x3", "b");
  REQUIRE(relaxation(more, Relaxation::Kind::fewer_gpus));
  CHECK(relaxation(more, Relaxation::Kind::fewer_gpus)->gpus_per_node == 1);
  CHECK_FALSE(relaxation(why(busy + "runs c 1x1\nqueued b 1x1", "b"), Relaxation::Kind::fewer_gpus));
  const plan::Why faulty = why("nodes 2x4\nfaulty n2\ndrained n1\nqueued a 1x4", "a");
  REQUIRE(relaxation(faulty, Relaxation::Kind::fewer_gpus));
  CHECK(relaxation(faulty, Relaxation::Kind::fewer_gpus)->gpus_per_node == 3);
}

TEST_CASE("a job that can never run is told so, with the size that would do") {
  const plan::Why w = why("nodes 2\nqueued a 3", "a");
  CHECK_FALSE(w.possible);
  REQUIRE(relaxation(w, Relaxation::Kind::larger_cluster));
  CHECK(relaxation(w, Relaxation::Kind::larger_cluster)->node_count == 3);
  REQUIRE(relaxation(w, Relaxation::Kind::fewer_nodes));
  CHECK(relaxation(w, Relaxation::Kind::fewer_nodes)->node_count == 2);
  CHECK(w.worst.start_ms == plan::Future::kNever);
}

TEST_CASE("what would let it start now is the smallest change of each kind") {
  const std::string busy = "nodes 4\nruns a 2 since 10 limit 60\nqueued b 4 limit 60\n";
  const plan::Why w = why(busy + "queued c 2 limit 90", "c");
  REQUIRE(relaxation(w, Relaxation::Kind::shorter_limit));
  CHECK(relaxation(w, Relaxation::Kind::shorter_limit)->limit_ms == 50 * kMinute);
  REQUIRE(relaxation(w, Relaxation::Kind::higher_priority));
  CHECK(relaxation(w, Relaxation::Kind::higher_priority)->priority == Priority::high);
  CHECK_FALSE(relaxation(w, Relaxation::Kind::fewer_nodes));
  CHECK(w.fits == 0);
  CHECK(w.obstacles.back().text == "2 are free but promised to jobs before it");
}

TEST_CASE("the start lies between what jobs usually take and what their limits allow") {
  const plan::Why w = why("nodes 2\ndone x 2 took 10 t.sh\nruns a 2 since 0 limit 60 t.sh\nqueued b 2", "b");
  CHECK(w.best.start_ms == kSceneNow + 11 * kMinute);
  CHECK(w.worst.start_ms == kSceneNow + 60 * kMinute);
}

TEST_CASE("a job that is changed as suggested is in the next plan, in thousands of random states") {
  std::mt19937 random(11);
  const auto draw = [&](int from, int to) {
    return std::to_string(from + static_cast<int>(random() % static_cast<unsigned>(to - from + 1)));
  };
  const char* const priorities[] = {"", " low", " high"};
  std::map<Relaxation::Kind, int> tried;
  for (int round = 0; round < 3'000; ++round) {
    const int nodes = 1 + static_cast<int>(random() % 10);
    const bool shared = random() % 2 == 0;
    const auto part = [&] { return shared && random() % 3 != 0 ? "x" + draw(1, 4) : std::string(); };
    std::string text = "nodes " + std::to_string(nodes) + "x4\ndone x 2 took 20 t.sh\n";
    const bool placed = random() % 2 == 0;
    if (placed) text += "at leaf=l1 " + draw(1, 4) + "\nat leaf=l2 " + draw(1, 4) + "\n";
    const char* const wishes[] = {" one leaf", " near leaf", " within leaf=l1", ""};
    int left = nodes;
    for (int i = 0; i < 4 && left > 0; ++i) {
      const int held = 1 + static_cast<int>(random() % static_cast<unsigned>(left));
      if (random() % 4 == 0) break;
      left -= held;
      text += "runs r" + std::to_string(i) + " " + std::to_string(held) + part() + " since " + draw(0, 30) +
              (random() % 2 ? " limit " + draw(20, 90) : std::string()) + (random() % 2 ? " t.sh" : "") + "\n";
    }
    if (left > 0 && random() % 3 == 0) text += "cut 1\n";
    const bool owners = random() % 2 == 0;
    const char* const owned[] = {"", " by alice", " by bob in w2", " in w2"};
    if (owners && random() % 2) text += "quota w2 limit " + draw(1, 16) + "\n";
    if (owners && random() % 2)
      text += "quota w guaranteed " + draw(1, 20) + " weight 2\nhad alice in w " + draw(1, 500) + "\n";
    if (random() % 4 == 0) text += "reserved " + draw(1, nodes) + " from " + draw(0, 90) + " until 100\n";
    for (int i = 0; i < 7; ++i) {
      text += "queued q" + std::to_string(i) + " " + draw(1, 11) + part() + (owners ? owned[random() % 4] : "") +
              (random() % 3 ? " limit " + draw(1, 90) : std::string()) + priorities[random() % 3] +
              (placed ? wishes[random() % 4] : "") + (random() % 4 == 0 ? " min 1" : "") +
              (random() % 4 == 0 ? " shortest " + draw(1, 30) : std::string()) + (random() % 2 ? " t.sh" : "") + "\n";
    }
    core::State state = scene(text);
    if (random() % 3 == 0) state.jobs.at(job_of(state, "q3").id).hold = core::Hold{"later", "carol", kSceneNow};
    core::rebuild_indexes(state);
    const std::string now = starts(state);
    for (int i = 0; i < 7; ++i) {
      const std::string name = "q" + std::to_string(i);
      if (names(now, name)) continue;
      for (const Relaxation& relaxation : plan::why(state, job_of(state, name), kSceneNow).relaxations) {
        if (relaxation.kind == Relaxation::Kind::larger_cluster) continue;
        ++tried[relaxation.kind];
        INFO(text << name << ": " << relaxation.text);
        CHECK(names(starts(applied(state, name, relaxation)), name));
      }
    }
  }
  CHECK(tried[Relaxation::Kind::fewer_nodes] > 100);
  CHECK(tried[Relaxation::Kind::fewer_gpus] > 100);
  CHECK(tried[Relaxation::Kind::shorter_limit] > 100);
  CHECK(tried[Relaxation::Kind::higher_priority] > 100);
  CHECK(tried[Relaxation::Kind::larger_quota] > 50);
  CHECK(tried[Relaxation::Kind::release] > 20);
  CHECK(tried[Relaxation::Kind::any_topology] > 50);
}
