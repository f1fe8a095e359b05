// The real agent: what it looks at again while it runs, and what SIGHUP changes.
#include <linux/magic.h>
#include <sys/vfs.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "tests/agent/scripted_controller.h"
#include "tests/agent/test_node.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::agent::test;
using Catch::Matchers::Contains;

namespace {

struct ConfigFile {
  std::string path;
  explicit ConfigFile(const std::string& text) {
    char pattern[] = "/tmp/trainyard-config-XXXXXX";
    REQUIRE(::mkdtemp(pattern) != nullptr);
    path = std::string(pattern) + "/agent.json";
    write(text);
  }
  ~ConfigFile() { fs::remove_all(fs::path(path).parent_path()); }
  void write(const std::string& text) const { std::ofstream(path) << text; }
};

bool says(const TestNode& node, const std::string& text) {
  return eventually([&] { return node.log().find(text) != std::string::npos; });
}

}  // namespace

TEST_CASE("SIGHUP changes what can change, names what needs a restart, and a mistake changes nothing") {
  const ConfigFile config(R"({"counters_every_ms": 300000, "pool": "a", "log_limit_mb": 5})");
  ScriptedController controller;
  TestNode node(controller, {"--config", config.path});
  controller.report_where("the first pool", [](const Report& each) { return each.inventory.pool == "a"; });

  config.write(R"({"counters_every_ms": 1000, "pool": "b", "spool_dir": "/ignored: a flag says otherwise"})");
  node.tell(SIGHUP);
  controller.counters_where("a sample of the new interval", [](const v1::CounterSample&) { return true; });
  CHECK(says(node, "pool has changed in the configuration: needs a restart"));
  CHECK(node.log().find("spool_dir has changed") == std::string::npos);

  config.write(R"({"counters_every_ms": 1, "pool": "b"})");
  node.tell(SIGHUP);
  CHECK(says(node, "configuration not reloaded, nothing is changed: counters_every_ms must be from 1000 to 300000"));
  config.write(R"({"counters_every": 1000})");
  node.tell(SIGHUP);
  CHECK(says(node, "counters_every: "));
  controller.counters_where("samples as before", [](const v1::CounterSample&) { return true; });
}

TEST_CASE("what the doctor finds is in the reports, and only sent again when it is another") {
  struct statfs about {};
  REQUIRE(::statfs("/tmp", &about) == 0);
  if (about.f_type == TMPFS_MAGIC) {
    WARN("/tmp is in memory here: a run directory in it is no finding");
    return;
  }
  ScriptedController controller;
  TestNode node(controller, {"--doctor-every-ms", "1000"});
  const Report report = controller.report_where("findings", [](const Report& each) {
    const auto& findings = each.inventory.findings;
    return std::any_of(findings.begin(), findings.end(), [](const auto& one) { return one.check == "run directory"; });
  });
  for (const auto& one : report.inventory.findings) {
    INFO(one.check);
    CHECK((one.level == "warning" || one.level == "error"));
    CHECK_FALSE(one.message.empty());
  }
}
