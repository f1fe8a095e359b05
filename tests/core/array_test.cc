// Job arrays: one record until its tasks come near, then jobs like others. Sweeps: exactly these values.
#include <algorithm>
#include <catch2/catch.hpp>

#include "controller/core/sweep.h"
#include "controller/core/view.h"
#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Contains;

namespace {

CreateJobArray many(const std::string& name, std::uint32_t tasks, std::uint32_t parallel = 0) {
  return {{World::job_ref(name), World::cluster_ref("nc6"), World::spec(1), {}, "unique-" + name}, tasks, parallel};
}

const JobArray& array(const World& w, const std::string& name) {
  return w.state().arrays.at(w.state().array_by_path.at("g/w/e/" + name));
}

ArrayView shown(const World& w, const std::string& name) {
  return view(w.state(), array(w, name));
}

// "lr=0.1 bs=32"
std::string text_of(const std::vector<NamedValue>& values) {
  std::string text;
  for (const NamedValue& value : values) text += (text.empty() ? "" : " ") + value.name + "=" + value.value;
  return text;
}

std::vector<std::string> in_state(const World& w, JobState state) {
  std::vector<std::string> names;
  for (const auto& [id, job] : w.state().jobs) {
    if (job.state == state) names.push_back(job.name);
  }
  return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("100,000 tasks are one record, of which as many are jobs as may start soon") {
  World w;
  w.ready_cluster(2);
  REQUIRE(w.command(many("sweep", 100'000)).ok());
  // Two were placed at once, and 64 wait.
  CHECK(w.state().jobs.size() == 66);
  CHECK(w.state().arrays.size() == 1);
  CHECK(w.last_changes.jobs.size() == 66);
  CHECK(w.last_changes.arrays.size() == 1);
  w.settle();
  CHECK(in_state(w, JobState::running) == Names{"sweep_0", "sweep_1"});
  CHECK(shown(w, "sweep").reason == "0 of 100000 tasks have ended, 2 running, 64 queued, 99934 to come");
  w.head_exits("sweep_0", 0);
  w.settle();
  CHECK(w.state().jobs.size() == 67);
  CHECK(w.job("sweep_66").state == JobState::queued);
  CHECK(w.find_job("sweep_67") == nullptr);
  REQUIRE(w.command(DeleteJobArray{World::job_ref("sweep")}).ok());
  w.settle();
  CHECK(w.state().jobs.empty());
  CHECK(w.state().arrays.empty());
}

TEST_CASE("as many tasks as the limit allows have not ended; one that ends makes room for the next") {
  World w;
  w.ready_cluster(4);
  REQUIRE(w.command(many("a", 5, 2)).ok());
  w.settle();
  CHECK(in_state(w, JobState::running) == Names{"a_0", "a_1"});
  CHECK(w.state().jobs.size() == 2);
  w.head_exits("a_1", 0);
  w.settle();
  CHECK(in_state(w, JobState::running) == Names{"a_0", "a_2"});
  for (const char* task : {"a_0", "a_2", "a_3", "a_4"}) {
    w.head_exits(task, 0);
    w.settle();
  }
  CHECK(array(w, "a").state == ArrayState::succeeded);
  CHECK(array(w, "a").succeeded == 5);
  CHECK(std::count_if(w.timeline.begin(), w.timeline.end(), [](const TimelineLine& line) {
          return line.subject.ends_with(" g/w/e/a") && line.what == "succeeded";
        }) == 1);
}

TEST_CASE("a task is an ordinary job: its name, variables, owner and segment") {
  World w;
  w.ready_cluster(1);
  CreateJobArray create = many("a", 2);
  create.job.spec.environment = {{"A", "1"}};
  create.sweep.grid = {{"lr", {"0.1", "0.01"}}};
  REQUIRE(w.command(create).ok());
  const Job& task = w.job("a_1");
  CHECK(text_of(task.spec->environment) == "A=1 lr=0.01 TRAINYARD_TASK_INDEX=1 TRAINYARD_TASK_COUNT=2");
  CHECK(task.owner == "user:ann");
  CHECK(task.segment == "trainyard/g/workspaces/w/experiments/e/jobs/a_1/unique-a");
  CHECK(task.task == 1);
  CHECK(view(w.state(), task).array == "a");
  CHECK(w.job("a_0").spec->command_line == "true");
  w.settle();
  w.head_exits("a_0", 1);
  w.settle();
  // Repeated, it is nobody's task: the array has counted its end.
  REQUIRE(w.command(RerunJob{World::job_ref("a_0"), "", "u"}).ok());
  CHECK(!w.job("a_0-2").array);
  CHECK(array(w, "a").failed == 1);
}

TEST_CASE("a controller that restarts in the middle goes on with the next task, and makes none twice") {
  World w;
  w.ready_cluster(2);
  REQUIRE(w.command(many("a", 6, 3)).ok());
  w.settle();
  w.head_exits("a_0", 0);
  w.restart_controller();
  w.settle();
  CHECK(w.state().jobs.size() == 4);
  for (const char* task : {"a_1", "a_2", "a_3", "a_4", "a_5"}) {
    w.head_exits(task, 0);
    w.settle();
    w.restart_controller();
    w.settle();
  }
  CHECK(array(w, "a").state == ArrayState::succeeded);
  CHECK(w.state().jobs.size() == 6);
}

TEST_CASE("a task that fails does not keep the others; the array has failed when all have ended") {
  World w;
  w.ready_cluster(1);
  REQUIRE(w.command(many("a", 3, 1)).ok());
  w.settle();
  w.head_exits("a_0", 3);
  w.settle();
  CHECK(w.job("a_1").state == JobState::running);
  CHECK(array(w, "a").state == ArrayState::running);
  w.head_exits("a_1", 0);
  w.settle();
  CHECK(shown(w, "a").reason == "2 of 3 tasks have ended, 1 running");  // and none to come
  w.head_exits("a_2", 0);
  w.settle();
  CHECK(shown(w, "a").execution_state == "failed");
  CHECK(shown(w, "a").reason == "1 of 3 tasks has failed");
}

TEST_CASE("a terminated array makes no more tasks, and has ended when the last one is gone") {
  World w;
  w.ready_cluster(2);
  REQUIRE(w.command(many("a", 10, 3)).ok());
  w.settle();
  w.agents.at("n1").cleans = false;
  REQUIRE(w.command(TerminateJobArray{World::job_ref("a")}).ok());
  w.settle();
  CHECK(shown(w, "a").execution_state == "terminating");
  CHECK(w.job("a_2").cause.code == "Terminated");
  CHECK(w.job("a_2").cause.message == "job array a: terminated by user:ann");
  CHECK(w.command(UpdateJobArray{World::job_ref("a"), 5}).error().code == Code::failed_precondition);
  w.restart_controller();
  w.agents.at("n1").cleans = true;
  w.settle();
  CHECK(shown(w, "a").execution_state == "terminated");
  CHECK(array(w, "a").failed == 3);
  CHECK(w.state().jobs.size() == 3);
  REQUIRE(w.command(TerminateJobArray{World::job_ref("a")}).ok());  // again: no change
}

TEST_CASE("a deleted task is not made again, and was counted") {
  World w;
  w.ready_cluster(1);
  REQUIRE(w.command(many("a", 3, 2)).ok());
  w.settle();
  REQUIRE(w.remove("a_0").ok());
  REQUIRE(w.remove("a_1").ok());
  w.settle();
  CHECK(w.find_job("a_0") == nullptr);
  CHECK(in_state(w, JobState::running) == Names{"a_2"});
  CHECK(array(w, "a").removed == 2);
  CHECK(
      w.command(SubmitJob{World::job_ref("a_0"), World::cluster_ref("nc6"), World::spec(1), {}, "u"}).error().message ==
      "job a_0 is the name of a task of job array a; choose another name");
  REQUIRE(w.command(SubmitJob{World::job_ref("a_3"), World::cluster_ref("nc6"), World::spec(1), {}, "u"}).ok());
  w.restart_controller();
  w.settle();
  w.head_exits("a_2", 0);
  w.settle();
  CHECK(shown(w, "a").reason == "2 of 3 tasks have failed");
}

TEST_CASE("the limit can be changed: more come at once, and after a lower one fewer when some have ended") {
  World w;
  w.ready_cluster(4);
  REQUIRE(w.command(many("a", 9, 1)).ok());
  REQUIRE(w.command(UpdateJobArray{World::job_ref("a"), 4}).ok());
  w.settle();
  CHECK(in_state(w, JobState::running).size() == 4);
  REQUIRE(w.command(UpdateJobArray{World::job_ref("a"), 2}).ok());
  w.wait(1'000);
  CHECK(in_state(w, JobState::running).size() == 4);
  for (const char* task : {"a_0", "a_1"}) w.head_exits(task, 0);
  w.settle();
  CHECK(in_state(w, JobState::running) == Names{"a_2", "a_3"});
  w.restart_controller();
  w.head_exits("a_2", 0);
  w.settle();
  CHECK(in_state(w, JobState::running) == Names{"a_3", "a_4"});
  REQUIRE(w.command(UpdateJobArray{World::job_ref("a"), 0}).ok());
  w.settle();
  CHECK(w.state().jobs.size() == 9);
}

TEST_CASE("a held array is one record; released it goes on, and is held again in the middle") {
  World w;
  w.ready_cluster(1);
  CreateJobArray create = many("a", 3, 1);
  create.job.hold = "new data";
  REQUIRE(w.command(create).ok());
  w.restart_controller();
  CHECK(w.state().jobs.empty());
  CHECK_THAT(shown(w, "a").reason, Contains("held by user:ann since ") && Contains(": new data, until "));
  REQUIRE(w.command(UpdateJobArray{World::job_ref("a"), std::nullopt, false}).ok());
  w.settle();
  REQUIRE(w.command(UpdateJobArray{World::job_ref("a"), std::nullopt, true, "a look at the first"}).ok());
  w.head_exits("a_0", 0);
  w.settle();
  CHECK(w.state().jobs.size() == 1);
  REQUIRE(w.command(UpdateJobArray{World::job_ref("a"), std::nullopt, false}).ok());
  w.settle();
  CHECK(in_state(w, JobState::running) == Names{"a_1"});
}

TEST_CASE("an array waits for other jobs as a whole") {
  World w;
  w.ready_cluster(1);
  w.submit("prepare", 1);
  CreateJobArray create = many("a", 2);
  create.job.dependencies = {{"", "prepare", After::ok}};
  REQUIRE(w.command(create).ok());
  w.settle();
  w.restart_controller();
  CHECK(shown(w, "a").reason == "waits for e/prepare (running) to succeed");
  CHECK(w.find_job("a_0") == nullptr);
  SECTION("met") {
    w.head_exits("prepare", 0);
    w.settle();
    CHECK(w.job("a_0").state == JobState::running);
    CHECK(w.state().waiting_arrays.empty());
  }
  SECTION("never met") {
    w.head_exits("prepare", 1);
    w.settle();
    CHECK(shown(w, "a").execution_state == "failed");
    CHECK(shown(w, "a").reason == "it waited for e/prepare (afterOk), which has failed: it can never start");
    CHECK(w.state().jobs.size() == 1);
  }
  SECTION("deleted while it waits") {
    REQUIRE(w.command(DeleteJobArray{World::job_ref("a")}).ok());
    CHECK(w.state().arrays.empty());
    CHECK(w.state().waiting_arrays.empty());
  }
}

TEST_CASE("a job and an array wait for an array as a whole") {
  World w;
  w.ready_cluster(2);
  REQUIRE(w.command(many("a", 3, 1)).ok());
  const auto after = [&](const std::string& name, After condition) {
    SubmitJob submit{World::job_ref(name), World::cluster_ref("nc6"), World::spec(1), {}, name};
    submit.dependencies = {{"", "a", condition}};
    return w.command(submit);
  };
  REQUIRE(after("ok", After::ok).ok());
  REQUIRE(after("any", After::any).ok());
  REQUIRE(after("alarm", After::not_ok).ok());
  CreateJobArray next = many("next", 2);
  next.job.dependencies = {{"", "a", After::ok}};
  REQUIRE(w.command(next).ok());
  w.settle();
  w.head_exits("a_0", 0);
  w.settle();
  w.restart_controller();
  w.settle();
  CHECK(w.reason("ok") == "waits for job array e/a (running, 2 of 3 tasks left) to succeed");
  CHECK(shown(w, "next").reason == "waits for job array e/a (running, 2 of 3 tasks left) to succeed");
  const std::string never = "it waited for job array e/a (";
  SECTION("all tasks succeeded") {
    w.head_exits("a_1", 0);
    w.settle();
    CHECK(w.execution_state("any") == "queued");  // not before the last
    w.head_exits("a_2", 0);
    w.settle();
    CHECK(w.job("alarm").cause.message == never + "afterNotOk), which has succeeded: it can never start");
    CHECK(in_state(w, JobState::running) == Names{"ok", "any"});
    CHECK(w.find_job("next_1") != nullptr);
    CHECK_THAT(after("late", After::not_ok).error().message,
               Contains("properties.dependencies[0]: job array a has succeeded: afterNotOk can never be met"));
    CHECK(after("later", After::ok).ok());
  }
  SECTION("a task failed") {
    w.head_exits("a_1", 1);
    w.settle();
    CHECK(w.execution_state("ok") == "queued");  // the array goes on
    w.head_exits("a_2", 0);
    w.settle();
    CHECK(w.job("ok").cause.message == never + "afterOk), which has failed: it can never start");
    CHECK(in_state(w, JobState::running) == Names{"any", "alarm"});
  }
  SECTION("it is terminated") {
    REQUIRE(w.command(TerminateJobArray{World::job_ref("a")}).ok());
    w.settle();
    CHECK(w.job("ok").cause.code == "DependencyNeverMet");
    CHECK(in_state(w, JobState::running) == Names{"any", "alarm"});
  }
  SECTION("it is deleted") {
    REQUIRE(w.command(DeleteJobArray{World::job_ref("a")}).ok());
    w.settle();
    CHECK(w.job("ok").cause.code == "DependencyNeverMet");
    CHECK(in_state(w, JobState::running) == Names{"any", "alarm"});
  }
  CHECK(w.state().dependents.empty());
  CHECK(w.state().waiting_arrays.empty());
}

TEST_CASE("a name is a job's before it is an array's, unless an array is asked for") {
  World w;
  w.ready_cluster(2);
  w.submit("x", 1);
  REQUIRE(w.command(many("x", 2, 1)).ok());
  const auto waits_for = [&](const std::string& name, DependsOn asked) {
    SubmitJob submit{World::job_ref(name), World::cluster_ref("nc6"), World::spec(1), {}, name};
    submit.dependencies = {std::move(asked)};
    const auto made = w.command(submit);
    return made.ok() ? w.reason(name) : made.error().message;
  };
  w.settle();
  CHECK(waits_for("b", {"", "x"}) == "waits for e/x (running) to succeed");
  CHECK(waits_for("c", {"", "x", After::ok, true}) ==
        "waits for job array e/x (running, 2 of 2 tasks left) to succeed");
  CHECK_THAT(waits_for("c", {"", "x"}), Contains("job array e/x"));  // the same again: the name is the same
  CHECK_THAT(waits_for("b", {"", "x", After::ok, true}), Contains("with another definition"));
  CHECK_THAT(waits_for("d", {"", "b", After::ok, true}), Contains("job array b is not in experiment e"));
  CHECK_THAT(waits_for("d", {"", "nobody"}), Contains("job nobody is not in experiment e"));
}

TEST_CASE("an array says why its next task is no job yet, and which of its tasks is next in the queue") {
  World w;
  w.ready_cluster(1);
  w.submit("prepare", 1);
  CreateJobArray create = many("a", 100, 2);
  create.job.dependencies = {{"", "prepare", After::any}};
  create.job.hold = "new data";
  REQUIRE(w.command(create).ok());
  w.settle();
  const auto codes = [&](const std::string& name) {
    std::string all;
    for (const TaskObstacle& one : why_no_task(w.state(), array(w, name))) all += one.code + " ";
    return all;
  };
  CHECK(codes("a") == "held dependency ");
  CHECK_FALSE(first_queued_task(w.state(), array(w, "a")));
  REQUIRE(w.command(UpdateJobArray{World::job_ref("a"), std::nullopt, false}).ok());
  CHECK(codes("a") == "dependency ");
  w.head_exits("prepare", 0);
  w.settle();
  CHECK(codes("a") == "parallel ");
  CHECK(why_no_task(w.state(), array(w, "a")).front().text == "2 of its tasks have not ended, and 2 may go on at once");
  CHECK(first_queued_task(w.state(), array(w, "a")) == w.job("a_1").id);
  REQUIRE(w.command(UpdateJobArray{World::job_ref("a"), 0}).ok());
  CHECK(codes("a") == "queued ");
  REQUIRE(w.command(TerminateJobArray{World::job_ref("a")}).ok());
  CHECK_FALSE(tasks_to_come(array(w, "a")));
}

TEST_CASE("an array ends with its cluster and goes with its experiment") {
  World w;
  w.ready_cluster(2);
  REQUIRE(w.command(many("a", 100, 3)).ok());
  CreateJobArray held = many("held", 100);
  held.job.hold = "";
  REQUIRE(w.command(held).ok());
  w.settle();
  SECTION("the cluster is deleted") {
    REQUIRE(w.command(DeleteCluster{World::cluster_ref("nc6")}).ok());
    w.settle();
    for (const char* name : {"a", "held"}) {
      CHECK(shown(w, name).execution_state == "failed");
      CHECK(shown(w, name).reason == "its cluster g/w/nc6 was deleted");
    }
    CHECK(w.state().jobs.size() == 3);
  }
  SECTION("the experiment is deleted") {
    w.agents.at("n1").cleans = false;
    REQUIRE(w.command(DeleteExperiment{{"g", "w", "e"}}).ok());
    w.settle();
    CHECK(w.command(many("a", 100, 3)).error().code == Code::already_exists);  // until it is gone
    w.restart_controller();
    w.agents.at("n1").cleans = true;
    w.settle();
    CHECK(w.state().experiments.empty());
    CHECK(w.state().arrays.empty());
  }
  SECTION("the workspace is deleted") {
    REQUIRE(w.command(DeleteWorkspace{{"g", "w"}}).ok());
    w.settle();
    CHECK(w.state().workspaces.empty());
    CHECK(w.state().jobs.empty());
  }
}

TEST_CASE("the same array again is the same one; other definitions and names in use are refused") {
  World w;
  w.ready_cluster(1);
  w.submit("b_7", 1);
  const auto first = w.command(many("a", 10, 2), "request");
  CHECK(w.command(many("a", 10, 2), "request").value() == first.value());
  CHECK(w.command(many("A", 10, 2)).value() == first.value());
  CHECK_THAT(w.command(many("a", 11, 2)).error().message, Contains("exists already with another definition"));
  CHECK_THAT(w.command(many("a", 10, 3)).error().message, Contains("exists already with another definition"));
  CHECK(w.command(many("b", 8)).error().message ==
        "job b_7 exists already, and a task of job array b would have its name; choose another name");
  CHECK(w.command(many("b", 7)).ok());
  CHECK(w.command(many("c", 0)).error().message == "tasks: must be at least 1");
  CHECK(w.command(many("c", 1'000'001)).error().message == "tasks: must be at most 1000000");
  CreateJobArray grid = many("c", 3);
  grid.sweep.grid = {{"x", {"1", "2"}}, {"y", {"1", "2"}}};
  CHECK(w.command(grid).error().message == "tasks: the parameters make 4 tasks, not 3; leave it away");
  grid.job.ref.job = std::string(63, 'x');
  grid.tasks = 0;
  CHECK_THAT(w.command(grid).error().message, Contains("is longer than 64 characters"));
  CHECK(w.command(TerminateJobArray{World::job_ref("c")}).error().message ==
        "job array c is not in experiment e of workspace w, group g");
}

TEST_CASE("a share that only tasks to come will mount is not deleted under them") {
  World w;
  w.ready_cluster(1);
  CreateJobArray create = many("a", 1);
  create.job.spec.file_shares = {{"a", "https://a/s", "s", "s"}};
  create.job.hold = "";
  REQUIRE(w.command(create).ok());
  CHECK_THAT(w.command(DeleteShare{"a", "s"}).error().message, Contains("is mounted by job array g/w/e/a"));
}

TEST_CASE("more nodes than tasks wait at once: the next ones come until all have some") {
  World w;
  w.ready_cluster(150);
  REQUIRE(w.command(many("a", 1'000)).ok());
  w.settle();
  CHECK(in_state(w, JobState::running).size() == 150);
  CHECK(w.state().jobs.size() == 150 + 64);
}

TEST_CASE("grid: every combination once, the last name fastest") {
  const Sweep grid{.grid = {{"lr", {"0.1", "0.01"}}, {"bs", {"32", "64", "128"}}}};
  CHECK(tasks_of(grid) == 6);
  const Names all{"lr=0.1 bs=32", "lr=0.1 bs=64", "lr=0.1 bs=128", "lr=0.01 bs=32", "lr=0.01 bs=64", "lr=0.01 bs=128"};
  for (std::uint32_t task = 0; task < 6; ++task) CHECK(text_of(parameters_of(grid, task)) == all[task]);
  // Far more than fits: it is refused by its size, which does not wrap.
  const Axis wide{"x", std::vector<std::string>(1'000)};
  CHECK(tasks_of({.grid = std::vector<Axis>(10, wide)}) == 1ULL << 32);
}

TEST_CASE("list: a row for each task") {
  const Sweep list{.names = {"model", "lr"}, .rows = {{"a", "1"}, {"b", ""}}};
  CHECK(tasks_of(list) == 2);
  CHECK(text_of(parameters_of(list, 1)) == "model=b lr=");
}

TEST_CASE("drawn values: exactly these, for ever") {
  const Sweep sweep{.drawn = {{"lr", 0.0001, 0.1, true, false},
                              {"drop", 0, 0.5, false, false},
                              {"layers", 2, 8, false, true},
                              {"units", 16, 1024, true, true}},
                    .seed = 7};
  CHECK(tasks_of(sweep) == 0);
  const Names all{"lr=0.0479753 drop=0.201791 layers=8 units=21", "lr=0.0327063 drop=0.203848 layers=2 units=122",
                  "lr=0.000447527 drop=0.464987 layers=6 units=26"};
  for (std::uint32_t task = 0; task < all.size(); ++task) CHECK(text_of(parameters_of(sweep, task)) == all[task]);
}

TEST_CASE("drawn values: within their bounds, and spread as they should") {
  const Sweep sweep{
      .drawn = {{"lr", 0.0001, 0.1, true, false}, {"n", -1, 1, false, true}, {"same", 3, 3, false, false}}};
  std::map<std::string, int> whole;
  int below = 0;
  for (std::uint32_t task = 0; task < 3'000; ++task) {
    const auto values = parameters_of(sweep, task);
    const double lr = std::stod(values[0].value);
    REQUIRE((lr >= 0.0001 && lr <= 0.1));
    below += lr < 0.001 ? 1 : 0;  // a third of the decades
    ++whole[values[1].value];
    REQUIRE(values[2].value == "3");
  }
  CHECK(std::abs(below - 1'000) < 100);
  REQUIRE(whole.size() == 3);
  for (const auto& [value, count] : whole) CHECK(std::abs(count - 1'000) < 100);
}
