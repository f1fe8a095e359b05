// Sweeps as they arrive: what is taken, and what is said of each kind of bad one; arrays as they are shown.
#include <catch2/catch.hpp>
#include <functional>
#include <limits>

#include "proto/convert.h"

using namespace trainyard;

namespace {

using Change = std::function<void(v1::ParameterSweep&)>;

JobSpec spec() {
  JobSpec spec;
  spec.environment = {{"PATH_TO_DATA", "/data"}};
  spec.secrets = {{"TOKEN", ""}};
  return spec;
}

std::string error_of(const Change& change, const JobSpec& job = spec()) {
  v1::ParameterSweep sweep;
  change(sweep);
  const auto converted = from_proto(sweep, job);
  return converted ? "no error" : converted.error().message;
}

void add_axis(v1::ParameterSweep& sweep, const std::string& name, std::initializer_list<const char*> values) {
  auto& axis = *sweep.add_grid();
  axis.set_name(name);
  for (const char* value : values) axis.add_values(value);
}

std::string error_of_range(double low, double high, bool log = false, bool integer = false) {
  return error_of([&](v1::ParameterSweep& sweep) {
    auto& range = *sweep.add_random();
    range.set_name("lr");
    range.set_min(low);
    range.set_max(high);
    range.set_log(log);
    range.set_integer(integer);
  });
}

}  // namespace

TEST_CASE("a sweep: each kind arrives whole and is shown as it came") {
  v1::ParameterSweep grid, list, random;
  add_axis(grid, "lr", {"0.1", ""});
  add_axis(grid, "bs", {"32"});
  list.mutable_list()->add_names("a");
  list.mutable_list()->add_names("b");
  for (int i = 0; i < 101; ++i) {
    auto& row = *list.mutable_list()->add_rows();
    row.add_values(std::to_string(i));
    row.add_values("x");
  }
  auto& range = *random.add_random();
  range.set_name("lr");
  range.set_min(1);
  range.set_max(4);
  range.set_log(true);
  range.set_integer(true);
  random.set_seed(9);
  for (const v1::ParameterSweep& sweep : {grid, list, random}) {
    const auto taken = from_proto(sweep, spec());
    REQUIRE(taken.ok());
    v1::ParameterSweep shown, expected = sweep;
    to_proto(*taken, shown);
    if (sweep.has_list()) expected.mutable_list()->mutable_rows()->DeleteSubrange(100, 1);
    CHECK(shown.SerializeAsString() == expected.SerializeAsString());
    CHECK(core::tasks_of(*taken) == (sweep.has_list() ? 101U : sweep.grid().empty() ? 0U : 2U));
  }
  CHECK(from_proto(v1::ParameterSweep(), spec()).value() == core::Sweep{});
}

TEST_CASE("a sweep: each kind of mistake is said with its place") {
  const auto grid = [](const std::string& name) {
    return error_of([&](v1::ParameterSweep& sweep) { add_axis(sweep, name, {"1"}); });
  };
  CHECK(grid("lr") == "no error");
  CHECK_THAT(grid("9lr"), Catch::Contains("properties.parameters[0].name: \"9lr\" is not a variable's name"));
  CHECK(grid("PATH_TO_DATA") == "properties.parameters: PATH_TO_DATA is in environmentVariables or secrets too");
  CHECK(grid("TOKEN") == "properties.parameters: TOKEN is in environmentVariables or secrets too");
  CHECK(grid("TRAINYARD_TASK_INDEX") ==
        "properties.parameters: TRAINYARD_TASK_INDEX is the task's own: choose another name");
  JobSpec own = spec();
  own.environment = {{"TRAINYARD_TASK_COUNT", "3"}};
  CHECK(error_of([](auto&) {}, own) == "properties.environmentVariables: TRAINYARD_TASK_COUNT is given to every task");
  CHECK(error_of([](auto& sweep) { add_axis(sweep, "a", {"1"}), add_axis(sweep, "a", {"2"}); }) ==
        "properties.parameters[1].name: \"a\" is given twice");
  CHECK(error_of([](auto& sweep) { add_axis(sweep, "a", {}); }) ==
        "properties.parameters.grid[0].values: a has no values");
  CHECK_THAT(error_of([](auto& sweep) {
               add_axis(sweep, "a", {"1"});
               sweep.mutable_grid(0)->add_values(std::string("\0", 1));
             }),
             Catch::Contains("properties.parameters.grid[0].values[1]: "));
  CHECK(error_of([](auto& sweep) { add_axis(sweep, "a", {"1"}), sweep.add_random(); }) ==
        "properties.parameters: give one of grid, list and random");
  CHECK(error_of([](auto& sweep) { sweep.mutable_list()->add_rows(); }) ==
        "properties.parameters.list.names: is missing");
  CHECK(error_of([](auto& sweep) { sweep.mutable_list()->add_names("a"); }) ==
        "properties.parameters.list.rows: is missing");
  CHECK(error_of([](auto& sweep) { sweep.mutable_list()->add_names("a"), sweep.mutable_list()->add_rows(); }) ==
        "properties.parameters.list.rows[0]: has 0 values, and there are 1 names");
}

TEST_CASE("a sweep: bounds of drawn numbers") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK(error_of_range(0, 1) == "no error");
  CHECK(error_of_range(1, 1, true, true) == "no error");
  CHECK(error_of_range(1, 0) == "properties.parameters.random[0]: min 1 is above max 0");
  CHECK(error_of_range(0, 1, true) == "properties.parameters.random[0].min: must be above 0 with log, got 0");
  CHECK_THAT(error_of_range(0.5, 2, false, true), Catch::Contains("must be whole numbers up to 2^53"));
  CHECK_THAT(error_of_range(0, 1e16, false, true), Catch::Contains("must be whole numbers up to 2^53"));
  CHECK_THAT(error_of_range(nan, 1), Catch::Contains("must be numbers"));
  CHECK_THAT(error_of_range(-1.5e308, 1.5e308), Catch::Contains("must be numbers"));
}

TEST_CASE("a job array is shown with its counts") {
  core::ArrayBody body;
  body.cluster_path = "g/w/c";
  body.tasks = 10;
  body.owner = "ann";
  core::ArrayView view;
  view.row.name = "sweep";
  view.row.id = {17};
  view.row.body = std::make_shared<const core::ArrayBody>(body);
  view.row.next = 7, view.row.succeeded = 3, view.row.failed = 1, view.row.parallel = 3;
  view.group = "g", view.workspace = "w", view.experiment = "e";
  view.execution_state = "running";
  view.counts = {3, 1};
  v1::JobArray shown;
  to_proto(view, shown);
  CHECK(shown.id() ==
        "/subscriptions/trainyard/resourceGroups/g/providers/Microsoft.BatchAI/workspaces/w/experiments/e/jobArrays/"
        "sweep");
  CHECK(shown.task_counts().waiting() == 3);
  CHECK(shown.task_counts().queued() == 1);
  CHECK(shown.task_counts().running() == 2);
  CHECK(shown.task_counts().succeeded() == 3);
  CHECK(shown.task_counts().failed() == 1);
  CHECK(shown.parallel() == 3);
  CHECK_FALSE(shown.has_hold());
}
