// Job arrays through the API.
#include <catch2/catch.hpp>

#include "tests/edge/harness.h"

using namespace trainyard;
using namespace trainyard::test;

namespace {

v1::CreateJobArrayRequest array_request(const std::string& name, std::uint32_t tasks) {
  const v1::CreateJobRequest job = User::job_request(name, 1);
  auto request = User::in_experiment<v1::CreateJobArrayRequest>();
  request.set_name(name);
  *request.mutable_spec() = job.spec();
  request.set_tasks(tasks);
  return request;
}

// A controller with a user's group, workspace and experiment, and a cluster of one node.
struct World {
  Controller controller;
  User user{controller.channel()};

  World() {
    REQUIRE(user.make_home());
    v1::Cluster cluster;
    REQUIRE(user.make_cluster(1, cluster).ok());
  }
};

grpc::Status create(User& user, const v1::CreateJobArrayRequest& request, v1::JobArray& made) {
  return User::call(user.jobs, &v1::Jobs::Stub::CreateJobArray, request, made);
}

v1::ListJobsResponse tasks_of(User& user, const std::string& array, const std::string& token = "") {
  auto list = User::in_experiment<v1::ListJobsRequest>();
  list.set_array(array);
  list.set_max_results(2);
  list.set_page_token(token);
  v1::ListJobsResponse jobs;
  CHECK(User::call(user.jobs, &v1::Jobs::Stub::ListJobs, list, jobs).ok());
  return jobs;
}

}  // namespace

TEST_CASE("an array is made once, changed, listed, and its tasks are jobs in pages") {
  World world;
  User& user = world.user;
  auto request = array_request("sweep", 10);
  request.set_request_id("id-1");
  request.set_parallel(2);
  auto& secret = *request.mutable_spec()->add_secrets();
  secret.set_name("TOKEN");
  secret.set_value("s3cret");
  v1::JobArray first, second;
  REQUIRE(create(user, request, first).ok());
  REQUIRE(create(user, request, second).ok());
  CHECK(first.number() == second.number());
  CHECK(first.spec().secrets(0).value().empty());
  request.set_tasks(11);
  CHECK(create(user, request, second).error_code() == grpc::StatusCode::ABORTED);

  v1::Job job;
  REQUIRE(user.submit(User::job_request("sweep_x", 1), job).ok());  // in the list's range, and no task
  v1::UpdateJobArrayRequest update;
  *update.mutable_array() = User::job_name("sweep");
  update.set_parallel(3);
  v1::JobArray changed;
  REQUIRE(User::call(user.jobs, &v1::Jobs::Stub::UpdateJobArray, update, changed).ok());
  CHECK(changed.task_counts().queued() == 3);
  CHECK(changed.task_counts().waiting() == 7);
  const auto page = tasks_of(user, "sweep");
  REQUIRE(page.jobs_size() == 2);
  CHECK(page.jobs(1).array_name() == "sweep");
  CHECK(page.jobs(1).task_index() == 1);
  const auto rest = tasks_of(user, "SWEEP", page.next_page_token());
  REQUIRE(rest.jobs_size() == 1);
  CHECK(rest.jobs(0).name() == "sweep_2");
  CHECK(rest.next_page_token().empty());

  auto list = User::in_experiment<v1::ListJobArraysRequest>();
  v1::ListJobArraysResponse arrays;
  REQUIRE(User::call(user.jobs, &v1::Jobs::Stub::ListJobArrays, list, arrays).ok());
  REQUIRE(arrays.job_arrays_size() == 1);
  v1::TerminateJobArrayRequest terminate;
  *terminate.mutable_array() = User::job_name("sweep");
  REQUIRE(User::call(user.jobs, &v1::Jobs::Stub::TerminateJobArray, terminate, changed).ok());
  CHECK(changed.execution_state() == "terminated");
  v1::DeleteJobArrayRequest remove;
  *remove.mutable_array() = User::job_name("sweep");
  v1::DeleteJobArrayResponse removed;
  REQUIRE(User::call(user.jobs, &v1::Jobs::Stub::DeleteJobArray, remove, removed).ok());
  const auto gone = User::call(user.jobs, &v1::Jobs::Stub::GetJobArray, User::job_name("sweep"), changed);
  CHECK(gone.error_code() == grpc::StatusCode::NOT_FOUND);
}

TEST_CASE("why an array's next tasks do not run, and what happened to it and its tasks") {
  World world;
  User& user = world.user;
  auto request = array_request("sweep", 5);
  request.set_parallel(3);
  v1::JobArray made;
  REQUIRE(create(user, request, made).ok());
  v1::JobArrayExplanation why;
  REQUIRE(User::call(user.jobs, &v1::Jobs::Stub::ExplainJobArray, User::job_name("sweep"), why).ok());
  CHECK(why.reason() == made.reason());
  CHECK(why.next_task() == 3);
  REQUIRE(why.obstacles_size() == 1);
  CHECK(why.obstacles(0).code() == "parallel");
  CHECK(why.task().name() == "sweep_0");
  CHECK(why.task().position() == 1);
  CHECK(why.task().needs() == 1);

  v1::GetJobArrayTimelineRequest ask;
  *ask.mutable_array() = User::job_name("sweep");
  v1::JobArrayTimeline timeline;
  REQUIRE(User::call(user.jobs, &v1::Jobs::Stub::GetJobArrayTimeline, ask, timeline).ok());
  REQUIRE(timeline.lines_size() == 4);  // created, and three tasks queued
  CHECK(timeline.lines(0).task().empty());
  CHECK(timeline.lines(0).line().what() == "created");
  CHECK(timeline.lines(3).task() == "sweep_2");
  CHECK(timeline.tasks_left_out() == 0);
  ask.set_limit(2);
  REQUIRE(User::call(user.jobs, &v1::Jobs::Stub::GetJobArrayTimeline, ask, timeline).ok());
  REQUIRE(timeline.lines_size() == 2);  // the newest
  CHECK(timeline.lines(0).task() == "sweep_1");
  CHECK(timeline.tasks_left_out() == 1);
  ask.set_limit(1'001);
  CHECK(User::call(user.jobs, &v1::Jobs::Stub::GetJobArrayTimeline, ask, timeline).error_message() ==
        "limit: must be 1 to 1000, got 1001");

  v1::TerminateJobArrayRequest terminate;
  *terminate.mutable_array() = User::job_name("sweep");
  REQUIRE(User::call(user.jobs, &v1::Jobs::Stub::TerminateJobArray, terminate, made).ok());
  const auto none = User::call(user.jobs, &v1::Jobs::Stub::ExplainJobArray, User::job_name("sweep"), why);
  CHECK(none.error_code() == grpc::StatusCode::FAILED_PRECONDITION);
  CHECK(none.error_message().starts_with("no task of job array sweep waits: it is terminated"));
}

TEST_CASE("a job waits for an array by its name") {
  World world;
  User& user = world.user;
  v1::JobArray made;
  REQUIRE(create(user, array_request("sweep", 5), made).ok());
  auto request = User::job_request("report", 1);
  request.mutable_spec()->add_dependencies()->set_job("sweep");
  v1::Job job;
  REQUIRE(user.submit(request, job).ok());
  REQUIRE(job.spec().dependencies_size() == 1);
  CHECK(job.spec().dependencies(0).array());
  CHECK(job.spec().dependencies(0).job() == "e/sweep");
  CHECK(job.reason() == "waits for job array e/sweep (running, 5 of 5 tasks left) to succeed");
}

TEST_CASE("100,000 rows of a list are one request") {
  World world;
  User& user = world.user;
  auto request = array_request("sweep", 0);
  auto& rows = *request.mutable_parameters()->mutable_list();
  rows.add_names("lr");
  for (int i = 0; i < 100'000; ++i) rows.add_rows()->add_values(std::to_string(i));
  v1::JobArray made;
  REQUIRE(create(user, request, made).ok());
  CHECK(made.tasks() == 100'000);
  CHECK(made.parameters().list().rows_size() == 100);
  CHECK(made.task_counts().waiting() + made.task_counts().queued() == 100'000);
  CHECK(made.task_counts().queued() == 64);
  rows.mutable_rows(7)->add_values("one more");
  const auto refused = create(user, request, made);
  CHECK(refused.error_message().find("parameters.list.rows[7]: has 2 values") != std::string::npos);
}
