// A job schedule as it is shown.
#include <catch2/catch.hpp>
#include <fstream>

#include "cli/show_schedule.h"
#include "tests/cli/run_program.h"

using namespace trainyard;
using namespace trainyard::cli;
using namespace trainyard::cli::test;

namespace {

v1::JobSchedule nightly() {
  v1::JobSchedule schedule;
  schedule.set_resource_group("g");
  schedule.set_workspace("w");
  schedule.set_experiment("e");
  schedule.set_name("nightly");
  schedule.mutable_spec()->set_cluster("nc6cluster");
  schedule.mutable_spec()->set_node_count(1);
  schedule.mutable_spec()->set_toolkit(v1::TOOLKIT_CUSTOM);
  schedule.mutable_spec()->set_command_line("train");
  schedule.set_cron("0 3 * * *");
  schedule.set_utc_offset("+02:00");
  schedule.set_keep(10);
  schedule.set_reason("the next job is due at 2026-11-30T01:00Z");
  for (int day = 0; day < 3; ++day) schedule.add_next_times()->set_seconds(1'796'000'400 + day * 86'400);
  schedule.mutable_counts()->set_made(2);
  schedule.mutable_counts()->set_skipped(1);
  schedule.mutable_counts()->set_kept(1);
  const char* states[] = {"", "succeeded"};
  for (int i = 0; i < 2; ++i) {
    auto& run = *schedule.add_runs();
    run.mutable_due_time()->set_seconds(1'796'000'400 + (i - 3) * 86'400);
    run.set_outcome("made");
    run.set_job_name("nightly-2026112" + std::to_string(7 + i) + "-0300");
    run.set_execution_state(states[i]);
  }
  auto& run = *schedule.add_runs();
  run.mutable_due_time()->set_seconds(1'796'000'400 - 86'400);
  run.set_outcome("skipped");
  run.set_why("job nightly-20261128-0300 has not ended");
  return schedule;
}

}  // namespace

TEST_CASE("a job schedule is shown with what became of its times, and when the next ones are") {
  const Answer answer = show_schedule(nightly());
  std::string text;
  for (const Row& row : answer.table.rows) text += row[0] + " | " + row[1] + " | " + row[2] + "\n";
  CHECK(text ==
        "schedule |  | nightly on cluster nc6cluster\n"
        "cron |  | 0 3 * * * +02:00\n"
        "overlap |  | skip\n"
        "keep |  | 10\n"
        "state |  | the next job is due at 2026-11-30T01:00Z\n"
        "counts |  | made 2, skipped 1, refused 0, missed 0; 0 of its jobs go on, 1 that ended are there\n"
        "made | 2026-11-27T01:00Z | nightly-20261127-0300 (deleted)\n"
        "made | 2026-11-28T01:00Z | nightly-20261128-0300 (succeeded)\n"
        "skipped | 2026-11-29T01:00Z | job nightly-20261128-0300 has not ended\n"
        "next | 2026-11-30T01:00Z | \n"
        "next | 2026-12-01T01:00Z | \n"
        "next | 2026-12-02T01:00Z | \n");
  const Json& json = answer.value;
  CHECK(json["counts"] == Json::parse(R"({"kept": 1, "live": 0, "made": 2, "missed": 0, "refused": 0, "skipped": 1})"));
  CHECK(json["runs"][0]["executionState"].is_null());
  CHECK(json["runs"][2]["why"] == "job nightly-20261128-0300 has not ended");
  CHECK(json["nextTimes"].size() == 3);
  CHECK(json["customToolkitSettings"]["commandLine"] == "train");
  CHECK(json["suspended"].is_null());
  CHECK(json["lastError"].is_null());
  CHECK(json["overlap"] == "skip");
}

TEST_CASE("a list of job schedules has a line for each") {
  v1::JobSchedule schedule = nightly();
  CHECK(Kind<v1::JobSchedule>::row(schedule) == Row{"nightly", "nc6cluster", "0 3 * * * +02:00", "",
                                                    "2026-11-30T01:00Z", "2", "1", "0", "0",
                                                    "job nightly-20261128-0300 has not ended"});
  schedule.clear_next_times();
  schedule.clear_utc_offset();
  schedule.mutable_suspended()->set_who("ada");
  const Row row = Kind<v1::JobSchedule>::row(schedule);
  CHECK(row[2] == "0 3 * * * UTC");
  CHECK(row[3] == "yes");
  CHECK(row[4].empty());
  CHECK(Kind<v1::JobSchedule>::json(schedule)["suspended"]["who"] == "ada");
}

TEST_CASE("a job says of which schedule it is, and for when") {
  v1::Job job;
  CHECK(Kind<v1::Job>::json(job)["scheduleName"].is_null());
  CHECK(Kind<v1::Job>::json(job)["scheduleTime"].is_null());
  job.set_schedule_name("nightly");
  job.mutable_schedule_time()->set_seconds(1'796'000'400);
  CHECK(Kind<v1::Job>::json(job)["scheduleName"] == "nightly");
  CHECK(Kind<v1::Job>::json(job)["scheduleTime"] == "2026-11-30T01:00:00.000Z");
}

TEST_CASE("job schedule: help, questions and mistakes of the program") {
  if (!have_program()) return;
  const Folder folder;
  std::ofstream(folder / "job.json") << R"({"properties": {"nodeCount": 1, "stdOutErrPathPrefix": "/logs",
    "customToolkitSettings": {"commandLine": "true"}}})";
  const std::string at = " -g g -w w -e e -n nightly";
  CHECK_THAT(run("job schedule create --help").text,
             Catch::Contains("--cron \"0 3 * * *\" --utc-offset +02:00") && !Catch::Contains("--after-ok"));
  const Ran asked = run("job schedule delete" + at);
  CHECK(asked.code == 1);
  CHECK_THAT(asked.text, Catch::Contains("use -y"));
  const auto create = [&](const std::string& flags) {
    return run("job schedule create --retry-for 0" + at + " -c c -f " + (folder / "job.json") + " " + flags);
  };
  CHECK(create("").code == 2);
  CHECK(create("--cron @daily --overlap sometimes").code == 2);
  CHECK(create("--cron @daily --keep -1").code == 2);
  CHECK(create("--cron @daily --hold").code == 2);
  CHECK(create("--cron @daily --utc-offset -03:30 --overlap Allow --keep 0").code == 4);  // the controller is not there
}
