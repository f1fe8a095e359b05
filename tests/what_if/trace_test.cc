// Traces as files: Trainyard's own form, published ones, and what an error says.
#include "simulate/trace.h"

#include <catch2/catch.hpp>

#include "simulate/import.h"

using namespace trainyard;
using namespace trainyard::simulate;

namespace {

std::string error_of(const std::string& text) {
  const auto trace = read_trace(text, "t.csv");
  return trace ? "" : trace.error().message;
}

}  // namespace

TEST_CASE("a trace is read by the names of its columns, and written so that it is read the same") {
  const auto trace = read_trace(
      "submit_s,user,workspace,nodes,gpus_per_node,duration_s,limit_s,priority\n"
      "60,ann,\"vision, old\",2,4,3600,7200,high\r\n"
      "\n"
      "0,bob,nlp,1,0,10,,\n",
      "t.csv");
  REQUIRE(trace);
  REQUIRE(trace->size() == 2);
  CHECK((*trace)[0] == TraceJob{0, "bob", "nlp", 1, 0, 10, 0, Priority::normal});  // by submission
  CHECK((*trace)[1] == TraceJob{60, "ann", "vision, old", 2, 4, 3600, 7200, Priority::high});
  CHECK(*read_trace(write_trace(*trace), "again.csv") == *trace);
}

TEST_CASE("a trace may leave columns out") {
  const auto trace = read_trace("duration_s,submit_s\n7,3\n", "t.csv");
  REQUIRE(trace);
  CHECK((*trace)[0] == TraceJob{3, "-", "-", 1, 0, 7, 0, Priority::normal});
}

TEST_CASE("errors of a trace name file, line and column") {
  CHECK_THAT(error_of(""), Catch::StartsWith("t.csv: is empty; its first line must name the columns: submit_s,"));
  CHECK_THAT(error_of("submit_s,length\n"), Catch::StartsWith("t.csv:1: there is no column \"length\"; "));
  CHECK_THAT(error_of("submit_s,user\n"), Catch::StartsWith("t.csv:1: column duration_s is missing; "));
  const std::string head = "submit_s,duration_s,nodes,priority\n0,1,1,low\n\n";
  CHECK(error_of(head + "1,2\n") == "t.csv:4: 2 fields, but the first line has 4");
  CHECK(error_of(head + "1,soon,1,\n") ==
        "t.csv:4: column duration_s: \"soon\": must be a whole number from 0 to 3162240000");
  CHECK(error_of(head + "1,,1,\n") == "t.csv:4: column duration_s: \"\": must not be empty");
  CHECK(error_of(head + "1,2,0,\n") == "t.csv:4: column nodes: \"0\": must be a whole number from 1 to 1000000");
  CHECK(error_of(head + "1,2,1,urgent\n") == "t.csv:4: column priority: \"urgent\": must be low, normal or high");
  CHECK(error_of(head + "1,2,1,\"low\n") == "t.csv:4: a field begins with \" but does not end with one");
}

TEST_CASE("a part of a trace: from, until, the first so many") {
  Trace trace(5);
  for (std::size_t i = 0; i < trace.size(); ++i) trace[i].submit_s = static_cast<std::int64_t>(10 * i);
  CHECK(select(trace, {}).size() == 5);
  const Trace part = select(trace, {.from_s = 10, .until_s = 40, .most_jobs = 2});
  REQUIRE(part.size() == 2);
  CHECK(part[0].submit_s == 10);
  CHECK(part[1].submit_s == 20);
  CHECK(select(trace, {.until_s = 20}).size() == 2);  // before 20
}

TEST_CASE("limits are assumed only where a trace has none") {
  Trace trace(3);
  trace[0].duration_s = 100;
  trace[1].duration_s = 3;
  trace[2].limit_s = 50;
  assume_limits(trace, 2);
  CHECK(trace[0].limit_s == 200);
  CHECK(trace[1].limit_s == 60);  // nobody asks for seconds
  CHECK(trace[2].limit_s == 50);
}

TEST_CASE("Philly's trace: a large job is spread evenly over as few nodes as can be") {
  const Format* format = find_format("philly");
  REQUIRE(format != nullptr);
  const auto trace = format->read(
      "timestamp,duration,num_gpus,gpu_time,cluster\n"
      "2017-10-09 07:01:55,66.0,1,66.0,11cb48\n"
      "2017-10-09 06:13:03,2951.5,20,59030,6214e9\n",
      "p.csv", 8);
  REQUIRE(trace);
  REQUIRE(trace->size() == 2);
  CHECK((*trace)[0] == TraceJob{1'507'529'583, "6214e9", "6214e9", 3, 7, 2952, 0, Priority::normal});
  CHECK((*trace)[1] == TraceJob{1'507'532'515, "11cb48", "11cb48", 1, 1, 66, 0, Priority::normal});
  const auto wrong = format->read("timestamp,duration,num_gpus,cluster\n2017-10-09,66.0,1,x\n", "p.csv", 8);
  CHECK(wrong.error().message == "p.csv:2: column timestamp: \"2017-10-09\": must look like 2017-10-09 07:01:55");
}

TEST_CASE("openb's pods: a fraction of a GPU is a whole one, pods without GPUs are left out") {
  const auto trace = find_format("openb")->read(
      "name,num_gpu,gpu_milli,qos,creation_time,deletion_time,scheduled_time\n"
      "a,1,460,LS,100,500,200\n"
      "b,0,0,LS,100,500,200\n"
      "c,8,1000,BE,90,500,\n",
      "o.csv", 8);
  REQUIRE(trace);
  REQUIRE(trace->size() == 1);
  CHECK((*trace)[0] == TraceJob{100, "LS", "LS", 1, 1, 300, 0, Priority::normal});
}
