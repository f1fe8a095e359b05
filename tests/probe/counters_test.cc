// What the kernel's texts say, and what two readings make of it.
#define CATCH_CONFIG_MAIN
#include "agent/probe/counters.h"

#include <catch2/catch.hpp>

using namespace trainyard;
using namespace trainyard::agent;

TEST_CASE("/proc/stat: all cores, waiting is not work") {
  struct Row {
    const char* text;
    std::optional<std::pair<std::uint64_t, std::uint64_t>> busy_of_total;
  };
  for (const Row& row : {
           Row{"cpu  100 10 50 800 40 1 2 3 0 0\ncpu0 1 2 3 4\n", {{166, 1006}}},
           Row{"cpu  100 10 50 800 40 1 2 3 90 5\n", {{166, 1006}}},  // a guest's time is in user's
           Row{"cpu  100 10 50 800\n", {{160, 960}}},                 // of an old kernel
           Row{"cpu  18446744073709551615 0 0 0 0 0 0 0\n", {{18446744073709551615ULL, 18446744073709551615ULL}}},
           Row{"cpu  1 2 3\n", {}},
           Row{"cpu0 1 2 3 4\n", {}},
           Row{"", {}},
           Row{"\n\n", {}},
       }) {
    INFO(row.text);
    const auto ticks = parse_stat(row.text);
    REQUIRE(ticks.has_value() == row.busy_of_total.has_value());
    if (ticks) CHECK(std::pair(ticks->busy, ticks->total) == *row.busy_of_total);
  }
}

TEST_CASE("/proc/meminfo: used is what is not available") {
  struct Row {
    const char* text;
    std::optional<std::pair<std::uint64_t, std::uint64_t>> used_of_total;
  };
  for (const Row& row : {
           Row{"MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:    400 kB\nBuffers: 1 kB\n",
               {{600 * 1024, 1000 * 1024}}},
           Row{"MemTotal: 1000 kB\nMemAvailable: 1200 kB\n", {{0, 1000 * 1024}}},
           Row{"MemTotal: 1000 kB\nMemFree: 10 kB\n", {}},
           Row{"", {}},
       }) {
    INFO(row.text);
    const auto memory = parse_meminfo(row.text);
    REQUIRE(memory.has_value() == row.used_of_total.has_value());
    if (memory) CHECK(std::pair(memory->used, memory->total) == *row.used_of_total);
  }
}

TEST_CASE("/proc/net/dev: every interface but loopback, also without a space after its colon") {
  const auto found = parse_net_dev(
      "Inter-|   Receive                                                |  Transmit\n"
      " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls "
      "carrier\n"
      "    lo: 999 1 0 0 0 0 0 0 999 1 0 0 0 0 0 0\n"
      "  eth0: 1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0\n"
      "ib0:3000 30 0 0 0 0 0 0 4000 40 0 0 0 0 0 0\n"
      "  cut: 1 2 3\n");
  REQUIRE(found.size() == 2);
  CHECK(found.at("eth0").received == 1000);
  CHECK(found.at("eth0").sent == 2000);
  CHECK(found.at("ib0").received == 3000);
  CHECK(found.at("ib0").sent == 4000);
  CHECK(parse_net_dev("").empty());
}

TEST_CASE("this machine can be read") {
  const MachineReading reading = read_machine(1000);
  REQUIRE(reading.cpu);
  CHECK(reading.cpu->total >= reading.cpu->busy);
  REQUIRE(reading.memory);
  CHECK(reading.memory->total > reading.memory->used);
}

TEST_CASE("a sample is what happened between two readings") {
  MachineReading before{10'000, CpuTicks{100, 1000}, MemoryBytes{1, 2}, {{"eth0", {500, 50}}, {"gone", {9, 9}}}};
  MachineReading after{12'000, CpuTicks{150, 1200}, MemoryBytes{7, 10}, {{"eth0", {2500, 70}}, {"new", {1000, 0}}}};
  CounterSample sample = sample_between(before, after);
  CHECK(sample.cpu_percent == 25);
  CHECK(sample.memory_used_bytes == 7);
  CHECK(sample.memory_total_bytes == 10);
  CHECK(sample.received_bytes_per_s == 1500);  // 2000 of eth0 and 1000 of the new one, in 2 s
  CHECK(sample.sent_bytes_per_s == 10);

  after.network["eth0"] = {40, 4};  // its driver was loaded again
  sample = sample_between(before, after);
  CHECK(sample.received_bytes_per_s == 520);
  CHECK(sample.sent_bytes_per_s == 2);

  after.cpu = before.cpu;
  after.boottime_ms = before.boottime_ms;
  sample = sample_between(before, after);
  CHECK(sample.cpu_percent == 0);
  CHECK(sample.received_bytes_per_s == 0);
  after.cpu = std::nullopt;
  after.memory = std::nullopt;
  CHECK(sample_between(before, after).memory_total_bytes == 0);
}

TEST_CASE("what the GPUs' process says is read back, and other lines are left out") {
  const std::vector<GpuCounters> gpus = {{"GPU-a", 97.0, 42ULL << 30, 312.25, 71.0}, {"GPU-b", {}, {}, {}, {}}};
  CHECK(parse_gpus(format_gpus(gpus)) == gpus);
  CHECK(format_gpus({}) == "\n");
  CHECK(parse_gpus("GPU-a 1 2 3\nGPU-b x 2 3 4\nGPU-c 1 -5 3 4\n\nGPU-d 0 0 0 0\n").size() == 1);
}

TEST_CASE("a holding's part of the processors is of all cores, and a new one counts from its beginning") {
  MachineReading before{10'000}, after{12'000};
  const AttemptId old{JobId{7}, 1}, fresh{JobId{8}, 2}, gone{JobId{6}, 1};
  after.cores = 4;
  before.holdings = {{old, {1'000'000, 10}}, {gone, {5, 5}}};
  after.holdings = {{old, {5'000'000, 20}}, {fresh, {800'000, 30}}};
  CounterSample sample = sample_between(before, after);
  // 4 of the 8 seconds of processor time that four cores have in 2 s; 0.8 of them.
  CHECK(sample.holdings == std::vector<HoldingCounters>{{7, 1, 50, 20}, {8, 2, 10, 30}});
  after.holdings[old].cpu_us = 900'000'000;
  CHECK(sample_between(before, after).holdings[0].cpu_percent == 100);
  CHECK(read_machine(1).cores >= 1);
}
