// Job schedules through the API.
#include <catch2/catch.hpp>

#include "controller/core/view.h"
#include "proto/convert.h"
#include "tests/edge/harness.h"

using namespace trainyard;
using namespace trainyard::test;

namespace {

v1::CreateJobScheduleRequest schedule_request(const std::string& name, const std::string& cron) {
  const v1::CreateJobRequest job = User::job_request(name, 1);
  auto request = User::in_experiment<v1::CreateJobScheduleRequest>();
  request.set_name(name);
  *request.mutable_spec() = job.spec();
  request.set_cron(cron);
  return request;
}

grpc::Status create(User& user, const v1::CreateJobScheduleRequest& request, v1::JobSchedule& made) {
  return User::call(user.jobs, &v1::Jobs::Stub::CreateJobSchedule, request, made);
}

grpc::Status update(User& user, v1::UpdateJobScheduleRequest request, v1::JobSchedule& changed) {
  *request.mutable_schedule() = User::job_name("nightly");
  return User::call(user.jobs, &v1::Jobs::Stub::UpdateJobSchedule, request, changed);
}

}  // namespace

TEST_CASE("a schedule is made once, changed, suspended, listed and deleted") {
  Controller controller;
  User user(controller.channel());
  REQUIRE(user.make_home());
  v1::Cluster cluster;
  REQUIRE(user.make_cluster(1, cluster).ok());
  auto request = schedule_request("nightly", "0 3 * * *");
  request.set_request_id("id-1");
  request.set_utc_offset("+02:00");
  auto& secret = *request.mutable_spec()->add_secrets();
  secret.set_name("TOKEN");
  secret.set_value("s3cret");
  v1::JobSchedule first, second;
  REQUIRE(create(user, request, first).ok());
  REQUIRE(create(user, request, second).ok());
  CHECK(first.number() == second.number());
  CHECK(first.spec().secrets(0).value().empty());
  CHECK(first.id().ends_with("/experiments/e/jobSchedules/nightly"));
  CHECK(first.keep() == 10);
  CHECK(first.overlap() == v1::SCHEDULE_OVERLAP_SKIP);
  REQUIRE(first.next_times_size() == 3);
  CHECK(first.next_times(0).seconds() % 86'400 == 3'600);  // 3:00 there is 1:00
  CHECK(first.next_times(2).seconds() - first.next_times(1).seconds() == 86'400);
  request.set_keep(11);
  CHECK(create(user, request, second).error_code() == grpc::StatusCode::ABORTED);

  v1::UpdateJobScheduleRequest change;
  change.set_cron("@hourly");
  change.set_overlap(v1::SCHEDULE_OVERLAP_ALLOW);
  change.set_keep(0);
  REQUIRE(update(user, change, second).ok());
  CHECK(second.cron() == "@hourly");
  CHECK(second.utc_offset() == "+02:00");
  CHECK(second.overlap() == v1::SCHEDULE_OVERLAP_ALLOW);
  CHECK(second.keep() == 0);
  v1::UpdateJobScheduleRequest suspend;
  suspend.set_suspend(true);
  suspend.set_suspend_why("new data");
  REQUIRE(update(user, suspend, second).ok());
  CHECK(second.suspended().why() == "new data");
  CHECK(second.overlap() == v1::SCHEDULE_OVERLAP_ALLOW);
  CHECK(second.next_times().empty());
  change.Clear();
  change.set_cron("61 * * * *");
  const auto refused = update(user, change, second);
  CHECK(refused.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK(refused.error_message() == "cron: minute: 61 is not from 0 to 59");

  auto list = User::in_experiment<v1::ListJobSchedulesRequest>();
  v1::ListJobSchedulesResponse schedules;
  REQUIRE(User::call(user.jobs, &v1::Jobs::Stub::ListJobSchedules, list, schedules).ok());
  REQUIRE(schedules.job_schedules_size() == 1);
  CHECK(schedules.job_schedules(0).name() == "nightly");
  v1::DeleteJobScheduleRequest remove;
  *remove.mutable_schedule() = User::job_name("nightly");
  v1::DeleteJobScheduleResponse removed;
  REQUIRE(User::call(user.jobs, &v1::Jobs::Stub::DeleteJobSchedule, remove, removed).ok());
  const auto gone = User::call(user.jobs, &v1::Jobs::Stub::GetJobSchedule, User::job_name("nightly"), second);
  CHECK(gone.error_code() == grpc::StatusCode::NOT_FOUND);
}

TEST_CASE("a schedule's fields are checked, and an error names them") {
  Controller controller;
  User user(controller.channel());
  REQUIRE(user.make_home());
  v1::Cluster cluster;
  REQUIRE(user.make_cluster(1, cluster).ok());
  const auto error_of = [&](const v1::CreateJobScheduleRequest& request) {
    v1::JobSchedule made;
    return create(user, request, made).error_message();
  };
  auto request = schedule_request("s", "@daily");
  request.set_overlap(static_cast<v1::ScheduleOverlap>(17));
  CHECK(error_of(request) == "overlap: must be skip or allow");
  request = schedule_request("s", "");
  CHECK(error_of(request).starts_with("cron: has 0 fields"));
  request = schedule_request("s", "@daily");
  request.set_utc_offset("Europe/Berlin");
  CHECK(error_of(request).starts_with("utcOffset: must be like \"+02:00\""));
  request = schedule_request("s", "@daily");
  request.set_suspended(true);
  request.set_suspend_why("two\nlines");
  CHECK(error_of(request) == "suspendWhy: must be one line without control characters");
  request = schedule_request("s", "@daily");
  request.mutable_spec()->add_dependencies()->set_job("other");
  CHECK(error_of(request) == "dependencies: jobs of a schedule come at their times and wait for no others");
  request = schedule_request("s/t", "@daily");
  CHECK(error_of(request).starts_with("name: "));
}

TEST_CASE("a schedule is shown with the operator's class of its jobs") {
  core::ScheduleView view;
  view.row.body = std::make_shared<const core::JobTemplate>();
  v1::JobSchedule message;
  to_proto(view, message);
  CHECK(message.spec().priority_class().empty());
  view.priority_class = "urgent";
  to_proto(view, message);
  CHECK(message.spec().priority_class() == "urgent");
}
