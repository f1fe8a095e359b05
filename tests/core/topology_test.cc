// Topology: which nodes a gang gets together, and what it is told when it cannot.
#include "common/topology.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "controller/plan/why.h"
#include "tests/core/scene.h"

using namespace trainyard;
using namespace trainyard::test;

namespace {

const std::string kTwoRacks =
    "nodes 8\nat rack=r1/leaf=l1 2\nat rack=r1/leaf=l2 3\nat rack=r2/leaf=l1 3\n";  // n1-2, n3-5, n6-8

plan::Why why(const std::string& text, const std::string& name) {
  const core::State state = scene(text);
  return plan::why(state, job_of(state, name), kSceneNow);
}

}  // namespace

TEST_CASE("a gang that insists on one domain gets the smallest that does") {
  CHECK(places(kTwoRacks + "queued a 2 one leaf") == "a:n1,n2");
  CHECK(places(kTwoRacks + "queued a 3 one leaf") == "a:n3,n4,n5");
  CHECK(places(kTwoRacks + "queued a 5 one rack") == "a:n1,n2,n3,n4,n5");
  CHECK(places(kTwoRacks + "queued a 3 one leaf\nqueued b 3 one leaf\nqueued c 2 one leaf") ==
        "a:n3,n4,n5 b:n6,n7,n8 c:n1,n2");
  // Leaves of the same name in two racks are two.
  CHECK(starts(kTwoRacks + "queued a 5 one leaf") == "");
}

TEST_CASE("blocks are each in one domain, one after the other in rank order") {
  CHECK(places(kTwoRacks + "queued a 4 blocks 2 leaf") == "a:n1,n2,n3,n4");
  CHECK(places(kTwoRacks + "queued a 6 blocks 3 leaf") == "a:n3,n4,n5,n6,n7,n8");
  CHECK(starts(kTwoRacks + "queued a 8 blocks 2 leaf") == "");
}

TEST_CASE("a preference takes as few domains as can be, and never waits") {
  CHECK(places(kTwoRacks + "queued a 3 near leaf") == "a:n3,n4,n5");
  CHECK(places(kTwoRacks + "queued a 4 near leaf") == "a:n3,n4,n5,n1");
  CHECK(places(kTwoRacks + "queued a 8 near leaf") == "a:n3,n4,n5,n6,n7,n8,n1,n2");
  CHECK(places("nodes 3\nat leaf=l1 1\nqueued a 2 near leaf") == "a:n2,n3");  // of no leaf: like one of their own
}

TEST_CASE("a job may run in some domains only") {
  CHECK(places(kTwoRacks + "queued a 2 within rack=r2") == "a:n6,n7");
  CHECK(places(kTwoRacks + "queued a 3 within leaf=l1 within rack=r2") == "a:n1,n2,n6");
  CHECK(starts(kTwoRacks + "queued a 4 within rack=r2") == "");
}

TEST_CASE("who waits for one domain is promised the time when it is free, and others fill in beside it") {
  // l2 comes free in 50 minutes, rack r2 in 20: a gets r2's leaf.
  const std::string busy =
      kTwoRacks + "runs x 2 since 0 limit 90\nruns y 3 since 10 limit 60\nruns z 2 since 10 limit 30\n";
  const core::State state = scene(busy + "queued a 3 one leaf limit 60");
  CHECK(plan::forecast(state, job_of(state, "a"), kSceneNow).start_ms == kSceneNow + 20 * kMinute);
  CHECK(places(busy + "queued a 3 one leaf limit 60\nqueued b 1 limit 20") == "b:n8");
  CHECK(places(busy + "queued a 3 one leaf limit 60\nqueued b 1 limit 21") == "");
}

TEST_CASE("a job that no domain can ever hold is passed over, and says so") {
  CHECK(starts(kTwoRacks + "queued a 4 one leaf\nqueued b 8") == "b");
  const plan::Why w = why(kTwoRacks + "queued a 4 one leaf", "a");
  CHECK_FALSE(w.possible);
  CHECK(w.fits == 8);
  const auto topology = std::find_if(w.obstacles.begin(), w.obstacles.end(),
                                     [](const plan::Obstacle& one) { return one.code == "topology"; });
  REQUIRE(topology != w.obstacles.end());
  CHECK(topology->text == "8 are free where it may run, but it gets 3 of them: it wants one leaf");
  CHECK(std::any_of(w.relaxations.begin(), w.relaxations.end(),
                    [](const plan::Relaxation& one) { return one.kind == plan::Relaxation::Kind::any_topology; }));
}

TEST_CASE("an elastic job starts with what there is, and gets no more than it wants") {
  CHECK(places("nodes 4\nruns x 1\nqueued a 4 min 2") == "a:n2,n3,n4");
  CHECK(places("nodes 4\nqueued a 3 min 1\nqueued b 2 min 1") == "a:n1,n2,n3 b:n4");
  CHECK(places("nodes 4\nruns x 3\nqueued a 4 min 2") == "");
  // Above the cluster's size it starts all the same; below its least it never does.
  CHECK(places("nodes 2\nqueued a 9 min 2") == "a:n1,n2");
  CHECK_FALSE(why("nodes 2\nqueued a 9 min 3", "a").possible);
  // A limit of GPUs leaves it fewer.
  CHECK(places("nodes 4x2\nquota w limit 4\nqueued a 4 min 1") == "a:n1,n2");
  // All that it gets lies as it wants.
  CHECK(places(kTwoRacks + "queued a 8 min 2 one leaf") == "a:n3,n4,n5");
  CHECK(places(kTwoRacks + "queued a 8 min 4 blocks 2 leaf") == "a:n1,n2,n3,n4,n6,n7");
}

TEST_CASE("an elastic job that waits is promised the fewest nodes that it starts on") {
  const std::string text = "nodes 4\nruns x 3 since 10 limit 60\nqueued a 4 min 2 limit 60\n";
  CHECK(starts(text + "queued b 1 limit 600") == "b");  // two are left for a, which does not wait for four
  CHECK(starts("nodes 4\nruns x 3 since 10 limit 60\nqueued a 4 limit 60\nqueued b 1 limit 600") == "");
}

TEST_CASE("a time limit is shortened, as little as can be, where the job starts sooner by that") {
  const std::string busy = "nodes 4\nruns a 2 since 10 limit 60\nqueued b 4 limit 60\n";
  CHECK(places(busy + "queued c 2 limit 90 shortest 20") == "c(50m):n3,n4");
  CHECK(places(busy + "queued c 2 limit 90 shortest 51") == "");
  CHECK(places(busy + "queued c 2 limit 40 shortest 20") == "c:n3,n4");  // it fits as it is
  CHECK(places("nodes 2\nreserved 2 from 30 until 60\nqueued c 1 limit 90 shortest 10") == "c(30m):n1");
}

TEST_CASE("gangs lie as they insist in thousands of random states") {
  std::mt19937 random(23);
  const auto draw = [&](int from, int to) {
    return std::to_string(from + static_cast<int>(random() % static_cast<unsigned>(to - from + 1)));
  };
  int together = 0, in_blocks = 0, shrunk = 0;
  for (int round = 0; round < 2'000; ++round) {
    std::string text = "nodes 12\n";
    for (int leaf = 1; leaf <= 4; ++leaf) {
      text += "at rack=r" + std::to_string((leaf + 1) / 2) + "/leaf=l" + std::to_string(leaf) + " " + draw(1, 3) + "\n";
    }
    text += "runs x " + draw(1, 6) + " since 5 limit " + draw(10, 60) + "\n";
    const char* const wishes[] = {" one leaf", " one rack", " near leaf", " within rack=r1", ""};
    for (int i = 0; i < 5; ++i) {
      const bool blocks = random() % 3 == 0;
      const int nodes = blocks ? 2 * (1 + static_cast<int>(random() % 3)) : 1 + static_cast<int>(random() % 6);
      text += "queued q" + std::to_string(i) + " " + std::to_string(nodes) +
              (blocks ? " blocks 2 leaf" : wishes[random() % 5]) + (random() % 3 == 0 ? " min " + draw(1, nodes) : "") +
              " limit " + draw(1, 90) + "\n";
    }
    const core::State state = scene(text);
    INFO(text);
    for (const core::Placement& placement : plan::make_plan(state, kSceneNow).placements) {
      const JobSpec& spec = *state.jobs.at(placement.job).spec;
      CHECK(placement.nodes.size() >= core::least_nodes(spec));
      CHECK(placement.nodes.size() <= spec.node_count);
      shrunk += placement.nodes.size() < spec.node_count;
      const Topology& wanted = spec.topology;
      const std::size_t block = wanted.block_size != 0 ? wanted.block_size : placement.nodes.size();
      for (std::size_t i = 0; i < placement.nodes.size(); ++i) {
        const std::string& place = state.nodes.at(placement.nodes[i]).inventory.topology;
        CHECK((wanted.within.empty() || place.starts_with("rack=r1")));
        if (!wanted.required) continue;
        const std::string& first = state.nodes.at(placement.nodes[i - i % block]).inventory.topology;
        CHECK_FALSE(place.empty());
        CHECK((wanted.level == "leaf" ? place == first : place.substr(0, 7) == first.substr(0, 7)));
        ++(wanted.block_size != 0 ? in_blocks : together);
      }
    }
  }
  CHECK(together > 500);
  CHECK(in_blocks > 500);
  CHECK(shrunk > 100);
}

TEST_CASE("a place and what a job wants of it are checked, with words") {
  CHECK_FALSE(wrong_with_place(""));
  CHECK_FALSE(wrong_with_place("rack=r1/leaf=l2"));
  CHECK(wrong_with_place("r1/l2")->find("must be LEVEL=NAME") != std::string::npos);
  CHECK(wrong_with_place("rack=r1/")->find("must be LEVEL=NAME") != std::string::npos);
  CHECK(wrong_with_place("rack=r1/rack=r2")->find("the level rack twice") != std::string::npos);
  CHECK_FALSE(wrong_with({.level = "leaf", .required = true, .block_size = 2}, 4));
  CHECK(*wrong_with({.level = "leaf", .required = true, .block_size = 3}, 4) ==
        "blockSize 3 does not divide the 4 nodes");
  CHECK(*wrong_with({.level = "leaf", .block_size = 2}, 4) == "blockSize needs required: true");
  CHECK(wrong_with({.required = true}, 4)->find("level is missing") == 0);
  CHECK(*wrong_with({.within = {"r1"}}, 4) == "within 'r1' must be LEVEL=NAME, as rack=r1");
  CHECK(text_of({.level = "leaf", .required = true, .block_size = 4, .within = {"rack=r1", "rack=r2"}}) ==
        "blocks of 4 in one leaf each, in rack=r1 or rack=r2 only");
}

TEST_CASE("autoScale takes nodes that let a job start where it insists, and none in vain") {
  // Racks r1 with leaves of 2 and 3, r2 with one of 3; all are in the inventory.
  const std::string all = kTwoRacks + "auto 0 8\nspare 8\n";
  CHECK(takes(all + "queued a 3") == "+n1 +n2 +n3");  // wherever they lie
  CHECK(takes(all + "queued a 3 one leaf") == "+n3 +n4 +n5");
  CHECK(takes(all + "queued a 2 within rack=r2") == "+n6 +n7");
  CHECK(takes(all + "queued a 4 blocks 2 leaf") == "+n1 +n2 +n3 +n4");
  CHECK(takes(all + "queued a 4 one leaf") == "");  // no leaf has so many
  CHECK(takes(all + "queued a 4 one leaf\nqueued b 1") == "+n1");
  CHECK(takes(all + "queued a 4 min 2 one leaf") == "+n3 +n4 +n5");
  CHECK(takes(all + "queued a 3 one leaf\nqueued b 3 one leaf\nqueued c 3 one leaf") == "+n3 +n4 +n5 +n6 +n7 +n8");
  // Who insists gets its nodes before those that may lie anywhere take them.
  CHECK(takes(all + "queued a 4\nqueued b 2 one leaf") == "+n1 +n2 +n3 +n4 +n5 +n6");
  CHECK(takes(all + "queued a 3 near leaf") == "+n1 +n2 +n3");  // it does not insist
  CHECK(takes(all + "engine n4\nengine n5\nqueued a 2 one leaf image") == "+n4 +n5");
}

TEST_CASE("a cluster's reason counts no nodes for a job that insists on a place") {
  const auto reason = [](const std::string& jobs) {
    core::State state = scene(kTwoRacks + "auto 0 8\nspare 8\n" + jobs);
    core::Cluster& cluster = state.clusters.begin()->second;
    cluster.auto_target = 2;
    return core::view(state, cluster).reason;
  };
  CHECK_THAT(reason("queued a 2"), Contains("(0 busy, 2 needed by 1 queued job), has 0"));
  CHECK_THAT(reason("queued a 2\nqueued b 4 one leaf"),
             Contains("2 needed by 1 queued job, and nodes that lie where 1 queued job can start on them)"));
}

TEST_CASE("autoScale goes on from the nodes that the cluster has, within its maximum") {
  // Of 8 nodes the first 4 are in the cluster: leaf l1, and two of three of l2.
  const std::string half = kTwoRacks + "auto 0 8\nspare 4\n";
  CHECK(takes(half + "queued a 3 one leaf") == "+n5");
  CHECK(takes(half + "queued a 2 one leaf") == "");  // it starts on n1 and n2 now
  CHECK(takes(half + "queued a 3 within rack=r2") == "+n6 +n7 +n8");
  CHECK(takes(half + "runs x 4\nqueued a 3 one leaf") == "+n6 +n7 +n8");
  CHECK(takes(half + "runs x 4\nqueued a 3 within rack=r1") == "");  // n5 alone would be taken in vain
  // At the maximum what nobody needs goes first.
  const std::string full = kTwoRacks + "auto 0 4\nspare 4\n";
  CHECK(takes(full + "queued a 3 within rack=r2") == "-n4 -n3 -n2");
  CHECK(takes(full + "queued b 2\nqueued a 3 within rack=r2") == "");             // b starts on two of them now
  CHECK(takes(full + "queued a 3 within rack=r2\nqueued b 2") == "-n3 -n2 -n1");  // one is left for b
  CHECK(takes(full + "runs x 2\nqueued a 3 within rack=r2") == "");               // the maximum leaves two
  // A node that leaves counts until it is gone: at once, or when its job has ended.
  const std::string small = kTwoRacks + "auto 0 3\nspare 5\n";
  CHECK(takes(small + "leaving n3\nqueued a 3 within rack=r2") == "-n2 -n1");
  CHECK(takes(small + "runs x 1\nleaving n1\nqueued a 3 within rack=r2") == "");
  CHECK(takes(small + "runs x 1\nleaving n1\nqueued a 2 within rack=r2") == "-n3 -n2");
}
