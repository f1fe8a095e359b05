// Counters of nodes: moments and spans as they are typed, and what people and programs get to see.
#include <google/protobuf/util/time_util.h>

#include <catch2/catch.hpp>

#include "cli/moment.h"
#include "cli/show_counters.h"

using namespace trainyard;
using namespace trainyard::cli;
using google::protobuf::util::TimeUtil;

namespace {

constexpr TimeMs kNow = 1'700'000'000'000;  // 2023-11-14T22:13:20Z

v1::NodeCounters two_gpus(const std::string& node) {
  v1::NodeCounters counters;
  counters.set_node(node);
  v1::CounterSample& old = *counters.add_samples();
  *old.mutable_time() = TimeUtil::MillisecondsToTimestamp(kNow - 15'000);
  v1::CounterSample& sample = *counters.add_samples();
  *sample.mutable_time() = TimeUtil::MillisecondsToTimestamp(kNow);
  sample.set_cpu_percent(41.666);
  sample.set_memory_used_bytes(12ULL << 30);
  sample.set_memory_total_bytes(64ULL << 30);
  sample.set_network_received_bytes_per_second(1536);
  sample.set_network_sent_bytes_per_second(12);
  v1::GpuCounters& first = *sample.add_gpus();
  first.set_uuid("GPU-a");
  first.set_utilization_percent(97);
  first.set_memory_used_bytes(40ULL << 30);
  first.set_power_watts(312.5);
  first.set_temperature_celsius(71);
  sample.add_gpus()->set_uuid("GPU-b");  // of a driver that tells nothing
  return counters;
}

}  // namespace

TEST_CASE("moments are ISO 8601 in UTC, or a span before now") {
  const auto moment = [](const std::string& text) {
    const auto parsed = parse_moment("--from", text, kNow);
    return parsed ? iso8601(*parsed) : parsed.error().message;
  };
  CHECK(moment("-2h") == "2023-11-14T20:13:20.000Z");
  CHECK(moment("-1d30m") == "2023-11-13T21:43:20.000Z");
  CHECK(moment("-90s") == "2023-11-14T22:11:50.000Z");
  CHECK(moment("-PT1H") == "2023-11-14T21:13:20.000Z");
  CHECK(moment("2018-06-01T12:34:56Z") == "2018-06-01T12:34:56.000Z");
  CHECK(moment("2018-06-01T12:34:56.789Z") == "2018-06-01T12:34:56.000Z");
  CHECK(moment("2018-06-01T12:34") == "2018-06-01T12:34:00.000Z");
  CHECK(moment("2018-06-01") == "2018-06-01T00:00:00.000Z");
  for (const char* wrong : {"",
                            "2h",
                            "-",
                            "-2",
                            "-2x",
                            "-h",
                            "-2h3",
                            "- 2h",
                            "yesterday",
                            "2018-06",
                            "2018-13-01",
                            "2018-06-31",
                            "2018-06-01T",
                            "2018-06-01T25:00",
                            "2018-06-01T12",
                            "2018-06-01T12:00:00+02:00",
                            "2018-06-01 12:00",
                            "2018-06-01T12:00Zx",
                            "1960-01-01",
                            "-99999999999999999999d"}) {
    INFO(wrong);
    CHECK_THAT(moment(wrong), Catch::StartsWith(std::string("--from: \"") + wrong + "\" must look like "));
  }
  CHECK(*parse_span("--step", "5m") == 300'000);
  CHECK(*parse_span("--step", "PT5M") == 300'000);
  CHECK(*parse_span("--step", "1h30m") == 5'400'000);
  for (const char* wrong : {"", "5", "m", "0m", "-5m", "P", "five"}) {
    INFO(wrong);
    CHECK_THAT(parse_span("--step", wrong).error().message, Catch::StartsWith("--step: "));
  }
}

TEST_CASE("counters of a cluster's nodes: the newest of each in the table, all of them in JSON") {
  v1::NodeCounters silent;
  silent.set_node("node2");
  const Answer answer = show_newest({two_gpus("node1"), silent});
  CHECK(render_table(answer.table) ==
        "Node    CPU %    Memory Used    Memory Total    Network In    Network Out      GPU  GPU %    GPU Memory    "
        "GPU Watts    GPU °C\n"
        "------  -------  -------------  --------------  ------------  -------------  -----  -------  ------------  "
        "-----------  --------\n"
        "node1   42       12.0 GiB       64.0 GiB        1.5 KiB/s     12 B/s             0  97       40.0 GiB      "
        "312          71\n"
        "node1                                                                            1  -        -             -  "
        "          -\n"
        "node2   -\n");
  REQUIRE(answer.value.size() == 2);
  const Json& samples = answer.value[0]["samples"];
  REQUIRE(samples.size() == 2);
  CHECK(samples[1]["time"] == "2023-11-14T22:13:20.000Z");
  CHECK(samples[1]["cpuPercent"] == 41.67);
  CHECK(samples[1]["networkReceivedBytesPerSecond"] == 1536);
  CHECK(samples[1]["gpus"][0] == Json::parse(R"({"memoryUsedBytes": 42949672960, "powerWatts": 312.5,
      "temperatureCelsius": 71, "utilizationPercent": 97, "uuid": "GPU-a"})"));
  CHECK(samples[1]["gpus"][1]["utilizationPercent"].is_null());
  CHECK(answer.value[1]["samples"].empty());
}

TEST_CASE("counters of a node: a row per sample and GPU") {
  const Answer answer = show_series(two_gpus("node1"));
  REQUIRE(answer.table.rows.size() == 3);
  CHECK(answer.table.rows[0][0] == "2023-11-14T22:13:05.000Z");
  CHECK(answer.table.rows[1][0] == answer.table.rows[2][0]);
  CHECK(answer.value["node"] == "node1");
  CHECK(answer.value["samples"].size() == 2);
  CHECK(gpu_cell(two_gpus("n").samples(1)) == "97 %");
  CHECK(cpu_cell(two_gpus("n").samples(1)) == "42 %");
}

TEST_CASE("counters of a job: each attempt on each node, without the network") {
  v1::JobCounters counters;
  auto& one = *counters.add_series();
  one.set_node("node1");
  one.set_attempt(1);
  *one.add_samples() = two_gpus("node1").samples(1);
  auto& two = *counters.add_series();
  two.set_node("node2");
  two.set_attempt(2);
  *two.add_samples() = two_gpus("node2").samples(0);
  const Answer answer = show_job_series(counters);
  CHECK(answer.table.columns == std::vector<std::string>{"Attempt", "Node", "Time", "CPU %", "Memory Used",
                                                         "Memory Total", "GPU", "GPU %", "GPU Memory", "GPU Watts",
                                                         "GPU °C"});
  REQUIRE(answer.table.rows.size() == 3);
  for (const auto& row : answer.table.rows) CHECK(row.size() == answer.table.columns.size());
  CHECK(answer.table.rows[0][1] == "node1");
  CHECK(answer.table.rows[0][7] == "97");
  CHECK(answer.table.rows[2][0] == "2");
  REQUIRE(answer.value.size() == 2);
  CHECK(answer.value[0]["samples"][0]["gpus"][0]["uuid"] == "GPU-a");
  CHECK_FALSE(answer.value[0]["samples"][0].contains("networkSentBytesPerSecond"));
}
