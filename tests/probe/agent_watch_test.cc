// The real agent: what it looks at again while it runs, and what SIGHUP changes.
#include <linux/magic.h>
#include <sys/vfs.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "agent/probe/shares.h"
#include "common/cpu_list.h"
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
  config.write(R"({"counters_every_ms": 1000, "disk_limits": [{"device": "/dev/null", "read_mb_per_s": 100}]})");
  node.tell(SIGHUP);
  CHECK(says(node, "configuration not reloaded, nothing is changed: disk_limits: /dev/null is no disk"));
  config.write(R"({"disk_limits": [{"device": "/dev/null", "read_mb": 100}]})");
  node.tell(SIGHUP);
  CHECK(says(node, "disk_limits: "));
  CHECK(says(node, "unknown key read_mb"));
  controller.counters_where("samples as before", [](const v1::CounterSample&) { return true; });
}

TEST_CASE("the cores that go with each GPU are in the report; the operator may have none go with any") {
  ScriptedController controller;
  const bool on = GENERATE(true, false);
  TestNode node(controller, {"--part-limits", on ? "true" : "false"});
  const auto cpus = allowed_cpus();
  const Report report =
      controller.report_where("GPUs", [](const Report& each) { return each.inventory.gpus.size() == 2; });
  const Gpu &first = report.inventory.gpus[0], &second = report.inventory.gpus[1];
  if (!on) {
    CHECK((first.cores.empty() && second.cores.empty()));
    return;
  }
  auto all = parse_cpu_list(first.cores);
  all.merge(parse_cpu_list(second.cores));
  CHECK(all == cpus);
  if (cpus.size() > 1) CHECK(first.cores != second.cores);
}

TEST_CASE("what an operator demands and the machine cannot keep ends the agent's start, with the reason") {
  const ConfigFile config(R"({"disk_limits": [{"device": "/dev/zero", "writes_per_s": 5}]})");
  ScriptedController controller;
  TestNode node(controller, {"--config", config.path});
  CHECK(says(node, "disk_limits: /dev/zero is no disk: name one as /dev/nvme0n1"));
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
