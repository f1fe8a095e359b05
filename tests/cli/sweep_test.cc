// What an array's tasks differ by, as the command line takes it; and the array as it is shown.
#include <catch2/catch.hpp>

#include "cli/show.h"
#include "cli/sweep_flags.h"
#include "tests/cli/run_program.h"

using namespace trainyard;
using namespace trainyard::cli;
using namespace trainyard::cli::test;

namespace {

std::vector<std::string> values(const v1::ParameterValues& axis) {
  return {axis.values().begin(), axis.values().end()};
}

std::string error_of(const Status& status) {
  return status ? "no error" : status.error().message;
}

v1::JobArray sweep() {
  v1::JobArray array;
  array.set_resource_group("g");
  array.set_workspace("w");
  array.set_experiment("e");
  array.set_name("sweep");
  array.mutable_spec()->set_cluster("nc6cluster");
  array.mutable_spec()->set_node_count(1);
  array.mutable_spec()->set_toolkit(v1::TOOLKIT_CUSTOM);
  array.mutable_spec()->set_command_line("train");
  array.set_tasks(4);
  array.set_parallel(2);
  array.set_execution_state("running");
  array.set_provisioning_state("succeeded");
  array.set_reason("1 of 4 tasks have ended, 2 running, 1 to come");
  auto& counts = *array.mutable_task_counts();
  counts.set_waiting(1);
  counts.set_running(2);
  counts.set_succeeded(1);
  return array;
}

}  // namespace

TEST_CASE("--grid: a name and its values") {
  v1::ParameterSweep sweep;
  REQUIRE(add_grid("lr=0.1,0.01", sweep).ok());
  REQUIRE(add_grid("text=\"a,b\",,\"say \"\"x\"\"\"", sweep).ok());
  REQUIRE(sweep.grid_size() == 2);
  CHECK(sweep.grid(0).name() == "lr");
  CHECK(values(sweep.grid(0)) == std::vector<std::string>{"0.1", "0.01"});
  CHECK(values(sweep.grid(1)) == std::vector<std::string>{"a,b", "", "say \"x\""});
  CHECK(error_of(add_grid("=1", sweep)) == "--grid =1: is not NAME=VALUE,VALUE,...");
  CHECK(error_of(add_grid("lr", sweep)) == "--grid lr: is not NAME=VALUE,VALUE,...");
  CHECK(error_of(add_grid("lr=\"1", sweep)) == "--grid lr=\"1: a quoted value does not end");
}

TEST_CASE("--random: bounds, log and int") {
  v1::ParameterSweep sweep;
  REQUIRE(add_range("lr=1e-4:0.1:log", sweep).ok());
  REQUIRE(add_range("n=-2:8:int", sweep).ok());
  CHECK(sweep.random(0).min() == 0.0001);
  CHECK(sweep.random(0).log());
  CHECK_FALSE(sweep.random(0).integer());
  CHECK(sweep.random(1).min() == -2);
  CHECK(sweep.random(1).integer());
  for (const char* wrong : {"lr", "=1:2", "lr=1", "lr=1:x", "lr=1:2:lin", "lr=1:2:"}) {
    CHECK(error_of(add_range(wrong, sweep)) == std::string("--random ") + wrong + ": is not NAME=MIN:MAX[:log][:int]");
  }
}

TEST_CASE("--list: a CSV file as spreadsheets write it") {
  v1::ParameterSweep sweep;
  REQUIRE(read_list("\xef\xbb\xbfmodel,lr\r\n\"a \"\"big\"\"\r\none\",0.1\r\n\r\nb,\r\n", "p.csv", sweep).ok());
  REQUIRE(sweep.list().names_size() == 2);
  CHECK(sweep.list().names(0) == "model");
  REQUIRE(sweep.list().rows_size() == 2);
  CHECK(sweep.list().rows(0).values(0) == "a \"big\"\r\none");
  CHECK(sweep.list().rows(1).values(1).empty());
  const auto wrong = [](const std::string& text) {
    v1::ParameterSweep none;
    return error_of(read_list(text, "p.csv", none));
  };
  CHECK(wrong("a,b\n1\n") == "--list p.csv: row 1 has 1 values, and the first line has 2 names");
  CHECK(wrong("a,b\n") == "--list p.csv: has no rows below the line with the names");
  CHECK(wrong("") == "--list p.csv: has no rows below the line with the names");
  CHECK(wrong("a\n\"1\"x\n") == "--list p.csv: row 1: a quoted value does not end where it should");
}

TEST_CASE("a job array: its table counts, its JSON has the parameters and the job's fields") {
  v1::JobArray array = sweep();
  REQUIRE(add_grid("lr=0.1,0.01", *array.mutable_parameters()).ok());
  CHECK(render_table(show_one(array).table) ==
        "Name    Cluster     State      Tasks    Parallel    Waiting    Queued    Running    Succeeded    Failed\n"
        "------  ----------  -------  -------  ----------  ---------  --------  ---------  -----------  --------\n"
        "sweep   nc6cluster  running        4           2          1         0          2            1         0\n");
  const Json shown = Kind<v1::JobArray>::json(array);
  CHECK(shown["taskCounts"] ==
        Json::parse(R"({"failed": 0, "queued": 0, "running": 2, "succeeded": 1, "waiting": 1})"));
  CHECK(shown["parameters"] == Json::parse(R"({"grid": [{"name": "lr", "values": ["0.1", "0.01"]}]})"));
  CHECK(shown["customToolkitSettings"]["commandLine"] == "train");
  CHECK(shown["hold"].is_null());
  array.clear_parameters();
  array.set_parallel(0);
  CHECK(Kind<v1::JobArray>::json(array)["parameters"].is_null());
  CHECK(Kind<v1::JobArray>::json(array)["parallel"].is_null());
  REQUIRE(read_list("lr\n1\n", "p.csv", *array.mutable_parameters()).ok());
  CHECK(Kind<v1::JobArray>::json(array)["parameters"] ==
        Json::parse(R"({"list": {"firstRows": [["1"]], "names": ["lr"]}})"));
}

TEST_CASE("why an array's tasks wait: what keeps the next one, and the first of the queue") {
  v1::JobArrayExplanation why;
  why.set_name("sweep");
  why.set_reason("1 of 4 tasks have ended");
  CHECK(show_why(why).value["nextTask"].is_null());
  CHECK(show_why(why).value["task"].is_null());
  why.set_next_task(3);
  auto& obstacle = *why.add_obstacles();
  obstacle.set_code("parallel");
  obstacle.set_text("2 of its tasks have not ended, and 2 may go on at once");
  why.mutable_task()->set_name("sweep_2");
  why.mutable_task()->set_reason("needs 1 idle node");
  const Answer shown = show_why(why);
  CHECK(shown.value["nextTask"] == 3);
  CHECK(shown.value["obstacles"][0]["code"] == "parallel");
  CHECK(shown.value["task"]["reason"] == "needs 1 idle node");
  const auto& rows = shown.table.rows;
  CHECK(rows[0] == Row{"array", "", "1 of 4 tasks have ended"});
  CHECK(rows[1] == Row{"next task", "", "sweep_3 is no job yet"});
  CHECK(rows[2][0] == "parallel");
  CHECK(rows[3] == Row{"task", "", "sweep_2"});
  CHECK(rows[4] == Row{"waits", "0", "needs 1 idle node"});
}

TEST_CASE("an array's timeline says of which task a line is") {
  v1::JobArrayTimeline timeline;
  timeline.add_lines()->mutable_line()->set_what("created");
  auto& line = *timeline.add_lines();
  line.set_task("sweep_0");
  line.mutable_line()->set_what("queued");
  const Answer shown = show_timeline(timeline);
  CHECK(shown.value[0]["task"].is_null());
  CHECK(shown.value[1]["task"] == "sweep_0");
  CHECK(shown.table.rows[1][1] == "sweep_0");
  CHECK(shown.table.rows[1][3] == "queued");
  CHECK(shown.table.columns.size() == shown.table.rows[1].size());
}

TEST_CASE("a task says of which array it is") {
  v1::Job job;
  CHECK(Kind<v1::Job>::json(job)["arrayName"].is_null());
  CHECK(Kind<v1::Job>::json(job)["taskIndex"].is_null());
  job.set_array_name("sweep");
  CHECK(Kind<v1::Job>::json(job)["arrayName"] == "sweep");
  CHECK(Kind<v1::Job>::json(job)["taskIndex"] == 0);
}

TEST_CASE("job array: help, questions and mistakes of the program") {
  if (!have_program()) return;
  const Folder folder;
  std::ofstream(folder / "job.json") << R"({"properties": {"nodeCount": 1, "stdOutErrPathPrefix": "/logs",
    "customToolkitSettings": {"commandLine": "true"}}})";
  const std::string at = " -g g -w w -e e -n sweep";
  CHECK_THAT(run("job array create --help").text,
             Catch::Contains("--random lr=0.0001:0.1:log") && Catch::Contains("--list params.csv"));
  for (const char* command : {"terminate", "delete"}) {
    const Ran ran = run(std::string("job array ") + command + at);
    CHECK(ran.code == 1);
    CHECK_THAT(ran.text, Catch::Contains("use -y"));
  }
  const auto create = [&](const std::string& flags) {
    return run("job array create --retry-for 0" + at + " -c c -f " + (folder / "job.json") + " " + flags);
  };
  CHECK_THAT(create("--grid lr").text, Catch::Contains("--grid lr: is not NAME=VALUE"));
  CHECK_THAT(create("--list /none").text, Catch::Contains("/none: cannot be read"));
  CHECK(create("--tasks 3 --grid lr=1,2 --grid bs=1").code == 4);  // it went on to the controller, which is not there
  CHECK(run("job array update" + at).code == 2);
}
