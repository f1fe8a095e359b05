// Clusters and changes as users type them.
#include "tests/what_if/stories.h"

using namespace trainyard;
using namespace trainyard::simulate;
using namespace trainyard::simulate::test;

namespace {

std::string what_if(const std::string& text) {
  Scenario base = scenario_of("easy", 4);
  base.cluster = equal_nodes(4, 8);
  const auto scenario = changed(base, text);
  if (!scenario) return scenario.error().message;
  return scenario->label + " | " + std::to_string(scenario->cluster.count()) + " x " +
         std::to_string(scenario->cluster.most_gpus());
}

std::string cluster(const std::string& json) {
  const auto shape = parse_cluster(json, "c.json");
  return shape ? std::to_string(shape->gpus()) : shape.error().message;
}

}  // namespace

TEST_CASE("what if: the cluster, the policy or the overheads were others") {
  CHECK(what_if("nodes=32") == "easy nodes=32 | 32 x 8");
  CHECK(what_if("gpus-per-node=4,nodes=20") == "easy gpus-per-node=4 nodes=20 | 20 x 4");
  CHECK(what_if("policy=fifo") == "fifo | 4 x 8");
  CHECK(what_if("policy=conservative,reservations=64") == "conservative reservations=64 | 4 x 8");
  CHECK(changed(scenario_of("easy", 4), "load=150")->load_percent == 150);
}

TEST_CASE("what cannot be changed is answered with what can") {
  CHECK_THAT(what_if("node=3"), Catch::StartsWith("\"node\" cannot be changed; what can: policy=NAME, nodes=N, "));
  CHECK_THAT(what_if("nodes"), Catch::StartsWith("\"nodes\" must look like nodes=32"));
  CHECK(what_if("nodes=0") == "nodes=0: \"0\" must be a whole number from 1 to 1000000");
  CHECK(what_if("nodes=1e3") == "nodes=1e3: \"1e3\" must be a whole number from 1 to 1000000");
  CHECK_THAT(what_if("policy=sjf"),
             Catch::StartsWith("there is no policy \"sjf\"; there are conservative, easy, fifo"));
}

TEST_CASE("a cluster's file: unequal nodes; an error names the place") {
  CHECK(cluster(R"({"nodes": [{"count": 4, "gpus": 8}, {"count": 2, "gpus": 0}]})") == "32");
  CHECK_THAT(cluster("[]"), Catch::StartsWith("c.json: is no JSON object with a list \"nodes\"; it must look like"));
  CHECK_THAT(cluster(R"({"nodes": []})"), Catch::StartsWith("c.json: nodes: is empty"));
  CHECK_THAT(cluster(R"({"nodes": [{"count": 4, "gpus": 8}, {"count": "2"}]})"),
             Catch::StartsWith("c.json: nodes[1].count: must be a whole number"));
  CHECK_THAT(cluster(R"({"nodes": [{"count": 0, "gpus": 8}]})"),
             Catch::StartsWith("c.json: nodes[0].count: must be 1 to 1000000"));
}
