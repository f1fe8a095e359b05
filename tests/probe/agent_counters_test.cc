// The real agent with a stand-in for the driver's library: its samples on the stream, and a driver that hangs.
#define CATCH_CONFIG_MAIN
#include <stdlib.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "tests/agent/scripted_controller.h"
#include "tests/agent/test_node.h"

using namespace trainyard;
using namespace trainyard::agent;
using namespace trainyard::agent::test;

namespace {

struct Gpus {
  std::string directory, file;
  Gpus() {
    char pattern[] = "/tmp/trainyard-nvml-XXXXXX";
    REQUIRE(::mkdtemp(pattern) != nullptr);
    directory = pattern;
    file = directory + "/gpus";
    ::setenv("LD_LIBRARY_PATH", NVML_NEW, 1);
    ::setenv("TRAINYARD_NVML_FILE", file.c_str(), 1);
    set(50);
  }
  ~Gpus() {
    ::unsetenv("LD_LIBRARY_PATH");
    ::unsetenv("TRAINYARD_NVML_FILE");
    fs::remove_all(directory);
  }
  void set(int utilization) {
    std::ofstream(file + ".new") << "GPU-a Tesla-T4 15360 1024 " << utilization << " 45500 61\n"
                                 << "GPU-b Tesla-T4 15360 2048 0 9100 33\n";
    fs::rename(file + ".new", file);
  }
};

auto utilization(int percent) {
  return [percent](const v1::CounterSample& sample) {
    return sample.gpus_size() == 2 && sample.gpus(0).utilization_percent() == percent;
  };
}

}  // namespace

TEST_CASE("an agent sends what its machine and its GPUs are doing, and goes on without GPUs when the driver hangs") {
  Gpus gpus;
  ScriptedController controller;
  TestNode node(controller, {"--counters-every-ms", "1000"});
  const Report report = controller.report_where("its GPUs", [](const Report& each) {
    return each.inventory.gpus.size() == 4;  // the stand-in's two and two pretend ones
  });
  CHECK(report.inventory.gpus[0].uuid == "GPU-a");
  const auto sample = controller.counters_where("the GPU at work", utilization(50));
  CHECK_FALSE(sample.has_time());
  CHECK((sample.cpu_percent() >= 0 && sample.cpu_percent() <= 100));
  CHECK(sample.memory_total_bytes() > sample.memory_used_bytes());
  CHECK(sample.memory_used_bytes() > 0);
  CHECK(sample.gpus(0).memory_used_bytes() == 1024ULL << 20);
  CHECK(sample.gpus(0).power_watts() == 45.5);
  CHECK(sample.gpus(1).uuid() == "GPU-b");
  CHECK(sample.gpus(1).temperature_celsius() == 33);
  gpus.set(100);
  controller.counters_where("more work", utilization(100));

  std::ofstream(gpus.file + ".hang").close();
  controller.counters_where("a sample without GPUs", [](const v1::CounterSample& each) { return each.gpus().empty(); });
  controller.order({});  // and reports go on, too
  controller.report_where("new orders", [](const Report& each) { return each.orders_revision == 1; });
  fs::remove(gpus.file + ".hang");
  controller.counters_where("GPUs again", utilization(100));
}

TEST_CASE("samples that cannot be sent are lost, and the next stream has new ones") {
  Gpus gpus;
  ScriptedController controller;
  TestNode node(controller, {"--counters-every-ms", "1000"});
  controller.counters_where("one", utilization(50));
  controller.drop_stream();
  gpus.set(60);
  controller.counters_where("one of now", utilization(60));
  CHECK(node.log().find("first message") == std::string::npos);
}

TEST_CASE("an interval that the controller would not keep is refused by its name") {
  Gpus gpus;
  const auto said = [](const std::string& flag) {
    const std::string line = std::string(AGENT_PROGRAM) + " --node-name n --flavour F --counters-every-ms " + flag;
    std::FILE* pipe = ::popen((line + " 2>&1").c_str(), "r");
    char text[4096] = "";
    const std::size_t size = std::fread(text, 1, sizeof text - 1, pipe);
    ::pclose(pipe);
    return std::string(text, size);
  };
  for (const char* wrong : {"999", "300001", "0", "-1"}) {
    CHECK_THAT(said(wrong), Catch::Contains("counters_every_ms must be from 1000 to 300000"));
  }
}
