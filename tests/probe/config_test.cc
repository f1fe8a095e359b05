// What the agent's configuration says of limits, and what is refused of it.
#include "agent/config.h"

#include <stdlib.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>

using namespace trainyard;
using namespace trainyard::agent;
using Catch::Matchers::Contains;

namespace {

// What reading and checking it says; empty: it is taken.
std::string read(const std::string& text, Config& config) {
  char path[] = "/tmp/trainyard-config-XXXXXX";
  const int fd = ::mkstemp(path);
  REQUIRE(fd >= 0);
  ::close(fd);
  std::ofstream(path) << text;
  config.node_name = "n1";
  config.flavour = "STANDARD_NC6";
  Status done = read_config(path, config);
  if (done) done = check_config(config);
  ::unlink(path);
  return done ? "" : done.error().message;
}

}  // namespace

TEST_CASE("limits are read as they are meant; without them parts have their own and nothing is bounded outright") {
  Config config;
  REQUIRE(read("{}", config).empty());
  CHECK(config.part_limits);
  CHECK((config.cpu_limit_percent == 0 && config.disk_limits.empty()));
  REQUIRE(read(R"({"part_limits": false, "cpu_limit_percent": 400, "disk_limits": [
    {"device": "/dev/a", "read_mb_per_s": 1, "write_mb_per_s": 2, "reads_per_s": 3, "writes_per_s": 4},
    {"device": "/dev/b", "writes_per_s": 5}]})",
               config)
              .empty());
  CHECK_FALSE(config.part_limits);
  CHECK(config.cpu_limit_percent == 400);
  CHECK(config.disk_limits == std::vector<DiskLimit>{{"/dev/a", 1 << 20, 2 << 20, 3, 4}, {"/dev/b", 0, 0, 0, 5}});
  CHECK(needs_restart(Config(), config) == std::vector<std::string>{"node_name", "flavour", "part_limits"});
}

TEST_CASE("limits that mean nothing are refused by name") {
  for (const auto& [text, said] : std::vector<std::pair<std::string, std::string>>{
           {R"({"part_limits": 1})", "part_limits"},
           {R"({"cpu_limit_percent": -1})", "cpu_limit_percent must be 0 (no limit) to 1000000"},
           {R"({"cpu_limit_percent": "4"})", "cpu_limit_percent"},
           {R"({"disk_limits": {"device": "/dev/a"}})", "disk_limits"},
           {R"({"disk_limits": [5]})", "disk_limits"},
           {R"({"disk_limits": [{"device": "/dev/a"}]})", "/dev/a needs read_mb_per_s"},
           {R"({"disk_limits": [{"reads_per_s": 5}]})", "needs the device of a whole disk"},
           {R"({"disk_limits": [{"device": "sda", "reads_per_s": 5}]})", "needs the device of a whole disk"},
           {R"({"disk_limits": [{"device": "/dev/a", "reads_per_s": 0}]})", "reads_per_s must be a number above 0"},
           {R"({"disk_limits": [{"device": "/dev/a", "reads_per_s": -5}]})", "reads_per_s must be a number above 0"},
           {R"({"disk_limits": [{"device": "/dev/a", "read_mb": 5}]})", "unknown key read_mb"}}) {
    INFO(text);
    Config config;
    CHECK_THAT(read(text, config), Contains(said));
  }
}
