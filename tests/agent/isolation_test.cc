// Whom and what a job's processes see on a node, as far as it can be said without making it.
#include "agent/loop/isolation.h"

#include <stdlib.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

using namespace trainyard;
using namespace trainyard::agent;

TEST_CASE("a job does not see the devices of GPUs that are not its own") {
  char name[] = "/tmp/trainyard-gpus-XXXXXX";
  REQUIRE(::mkdtemp(name) != nullptr);
  const std::string driver = name;
  int minor = 0;
  for (const char* bus : {"0000:3b:00.0", "0000:5e:00.0", "0000:86:00.0"}) {
    std::filesystem::create_directory(driver + "/" + bus);
    std::ofstream(driver + "/" + bus + "/information")
        << "Model: \t\t Tesla\nIRQ:   \t\t 12\nGPU UUID: \t GPU-" << minor << "\nDevice Minor: \t " << minor << "\n";
    ++minor;
  }
  using Devices = std::vector<std::string>;
  CHECK(devices_of_others(driver, {"GPU-1"}) == Devices{"/dev/nvidia0", "/dev/nvidia2"});
  CHECK(devices_of_others(driver, {"GPU-0", "GPU-1", "GPU-2"}).empty());
  CHECK(devices_of_others(driver, {}) == Devices{"/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia2"});
  CHECK(devices_of_others(driver, {"MIG-7"}).empty());
  CHECK(devices_of_others(driver + "/none", {"GPU-1"}).empty());
  std::filesystem::remove_all(driver);
}

TEST_CASE("paths that a job's user may have changed are marked, and only those") {
  CHECK(guarded("/w/jobs/x/ranks", "/w/jobs/x/ranks/1/rank.0") == "/w/jobs/x/ranks//1/rank.0");
  CHECK(guarded("/w/jobs/x/ranks", "/w/spool/logs/a") == "/w/spool/logs/a");
}
