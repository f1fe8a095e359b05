// GPU time by cause: how rows are summed up, with numbers worked out by hand; and over gRPC, from a job to a report.
#include <catch2/catch.hpp>

#include "controller/edge/usage_report.h"
#include "proto/convert.h"
#include "tests/edge/harness.h"
#include "trainyard/v1/usages.grpc.pb.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Matchers::Contains;

namespace {

constexpr DurationMs kHour = 3'600'000, kDay = 24 * kHour;
constexpr TimeMs kMidnight = 1'795'478'400'000;  // 2026-11-24T00:00:00Z

std::int64_t sum_of(const v1::GpuTime& time) {
  return time.preparing_ms() + time.running_ms() + time.idle_ms() + time.lost_ms() + time.requeued_ms() +
         time.stopping_ms();
}

std::string text_of(const v1::GpuTime& time) {
  std::string text;
  const auto add = [&text](const char* cause, std::int64_t ms) {
    if (ms != 0) text += (text.empty() ? "" : ", ") + std::string(cause) + " " + std::to_string(ms);
  };
  add("preparing", time.preparing_ms());
  add("running", time.running_ms());
  add("idle", time.idle_ms());
  add("lost", time.lost_ms());
  add("requeued", time.requeued_ms());
  add("stopping", time.stopping_ms());
  return text;
}

using Lines = std::vector<std::string>;

Lines lines_of(const UsageReport& report) {
  v1::ReportUsageResponse response;
  REQUIRE(report.fill(response).ok());
  Lines lines;
  std::int64_t sum = 0;
  for (const v1::UsageRow& row : response.rows()) {
    sum += sum_of(row.time());
    const std::string day = row.has_day() ? iso8601(from_proto(row.day())).substr(0, 10) + " " : "";
    lines.push_back(day + row.name() + ": " + text_of(row.time()));
  }
  CHECK(sum_of(response.total()) == sum);
  return lines;
}

// Two GPUs of n1 for an hour: ten minutes preparing, forty running, ten stopping. Begins half an hour before midnight.
core::Usage hour_of(const std::string& job, const std::string& owner) {
  const TimeMs from_ms = kMidnight - kHour / 2;
  return {{{7}, 1},
          {1},
          job,
          owner,
          "G/w/c",
          "n1",
          2,
          {"GPU-a", "GPU-b"},
          from_ms,
          from_ms + 600'000,
          from_ms + 3'000'000,
          from_ms + kHour,
          core::Work::kept};
}

UsageReport report_of(const v1::ReportUsageRequest& request, const std::vector<core::Usage>& rows) {
  auto query = usage_query(request, kMidnight + kDay);
  REQUIRE(query.ok());
  UsageReport report(*query);
  for (const core::Usage& row : rows) report.add(row);
  return report;
}

CounterSample sample_at(TimeMs time_ms, double a_percent, double b_percent) {
  CounterSample sample;
  sample.time_ms = time_ms;
  sample.gpus = {{"GPU-a", a_percent, {}, {}, {}}, {"GPU-b", b_percent, {}, {}, {}}, {"GPU-other", 0.0, {}, {}, {}}};
  return sample;
}

}  // namespace

TEST_CASE("usage: rows are summed up by what is asked for, most first, and a day ends at midnight UTC") {
  std::vector<core::Usage> rows = {hour_of("G/w/e/a", "ann"), hour_of("G/w/e/b", "bob"), hour_of("g/W/e/A", "ann")};
  rows[1].work = core::Work::lost;
  v1::ReportUsageRequest request;
  CHECK(lines_of(report_of(request, rows)) ==
        Lines{"G/w: preparing 3600000, running 9600000, lost 4800000, stopping 3600000"});
  request.set_group_by(v1::USAGE_GROUP_BY_JOB);
  CHECK(lines_of(report_of(request, rows)) == Lines{"G/w/e/a: preparing 2400000, running 9600000, stopping 2400000",
                                                    "G/w/e/b: preparing 1200000, lost 4800000, stopping 1200000"});
  request.set_group_by(v1::USAGE_GROUP_BY_USER);
  request.set_by_day(true);
  CHECK(lines_of(report_of(request, rows)) ==
        Lines{"2026-11-23 ann: preparing 2400000, running 4800000", "2026-11-23 bob: preparing 1200000, lost 2400000",
              "2026-11-24 ann: running 4800000, stopping 2400000", "2026-11-24 bob: lost 2400000, stopping 1200000"});
  request.set_by_day(false);
  request.set_group_by(v1::USAGE_GROUP_BY_NODE);
  set_time(kMidnight, *request.mutable_from());
  set_time(kMidnight + 60'000, *request.mutable_to());
  CHECK(lines_of(report_of(request, rows)) == Lines{"n1: running 240000, lost 120000"});
  set_time(kMidnight + kHour / 2, *request.mutable_from());
  set_time(kMidnight + kHour, *request.mutable_to());
  CHECK(lines_of(report_of(request, rows)).empty());
}

TEST_CASE("usage: only of a group, a workspace, a cluster, a user; names in any case") {
  std::vector<core::Usage> rows = {hour_of("G/w/e/a", "ann"), hour_of("G/w2/e/a", "bob"), hour_of("G2/w/e/a", "bob")};
  rows[2].cluster_path = "G/w/other";
  v1::ReportUsageRequest request;
  request.set_group_by(v1::USAGE_GROUP_BY_JOB);
  const auto jobs = [&] {
    std::string names;
    for (const std::string& line : lines_of(report_of(request, rows))) names += line.substr(0, line.find(':')) + " ";
    return names;
  };
  CHECK(jobs() == "G/w/e/a G/w2/e/a G2/w/e/a ");
  request.set_resource_group("g");
  CHECK(jobs() == "G/w/e/a G/w2/e/a ");
  request.set_workspace("W");
  CHECK(jobs() == "G/w/e/a ");
  request.set_cluster("c");
  CHECK(jobs() == "G/w/e/a G/w2/e/a ");  // whichever workspace the jobs are of
  request.set_user("BOB");
  CHECK(jobs() == "G/w2/e/a ");
}

TEST_CASE("usage: a GPU below 5 percent is idle, where and while there are samples of it") {
  v1::ReportUsageRequest request;
  request.set_by_day(true);
  UsageReport report = report_of(request, {hour_of("G/w/e/a", "ann")});
  REQUIRE(report.ran().size() == 1);
  const TimeMs began_ms = kMidnight - 20 * 60'000;  // 40 minutes of two GPUs
  CHECK(report.ran().at("n1").at(0).from_ms == began_ms);
  report.take_samples("n1",
                      {sample_at(began_ms + 60'000, 0, 5),         // of it only a minute is of this job
                       sample_at(began_ms + 120'000, 4.9, 90),     // a minute
                       sample_at(began_ms + 30 * 60'000, 0, 100),  // after a gap: five minutes, all after midnight
                       sample_at(began_ms + 41 * 60'000, 0, 0)});  // four of its five minutes are before the end
  CHECK(lines_of(report) == Lines{"2026-11-23 G/w: preparing 1200000, running 2280000, idle 120000",
                                  "2026-11-24 G/w: running 1620000, idle 780000, stopping 1200000"});
  v1::ReportUsageResponse response;
  report.fill_sampled(response);
  CHECK(response.sampled_ms() == 2 * (60'000 + 60'000 + 300'000 + 240'000));
  report.take_samples("unknown", {sample_at(began_ms + 60'000, 0, 0)});
  CHECK(lines_of(report).size() == 2);
}

TEST_CASE("usage: only work that was kept is looked at for idle GPUs, and more rows than an answer has are refused") {
  core::Usage lost = hour_of("G/w/e/a", "ann"), without = lost;
  lost.work = core::Work::lost;
  without.gpu_uuids.clear();
  CHECK(report_of({}, {lost, without}).ran().empty());
  std::vector<core::Usage> many(UsageReport::kMostRows, hour_of("G/w/e/a", "ann"));
  for (std::size_t i = 0; i < many.size(); ++i) many[i].job_path = "G/w/e/" + std::to_string(i);
  v1::ReportUsageRequest request;
  request.set_group_by(v1::USAGE_GROUP_BY_JOB);
  CHECK(lines_of(report_of(request, many)).size() == UsageReport::kMostRows);
  many.push_back(hour_of("G/w/e/one-more", "ann"));
  v1::ReportUsageResponse response;
  const Status filled = report_of(request, many).fill(response);
  REQUIRE(!filled.ok());
  CHECK(filled.error().code == Code::resource_exhausted);
  CHECK_THAT(filled.error().message, Contains("more than the 10000 rows"));
}

TEST_CASE("usage: what is wrong with a request is named") {
  v1::ReportUsageRequest request;
  const auto message = [&] {
    const auto query = usage_query(request, kMidnight);
    return query.ok() ? "" : query.error().message;
  };
  CHECK(usage_query(request, kMidnight)->from_ms == kMidnight - 30 * kDay);
  CHECK(usage_query(request, kMidnight)->to_ms == kMidnight);
  request.set_workspace("w");
  CHECK_THAT(message(), Contains("workspace: needs resource_group"));
  request.set_resource_group("g");
  CHECK(message() == "");
  request.set_cluster("c");
  CHECK(message() == "");
  request.clear_workspace();
  CHECK_THAT(message(), Contains("cluster: needs workspace"));
  request.Clear();
  request.mutable_from()->set_seconds(-1);
  CHECK_THAT(message(), Contains("from: is no time"));
  set_time(kMidnight, *request.mutable_from());
  CHECK_THAT(message(), Contains("from: 2026-11-24T00:00:00") && Contains("must be before `to` and before now"));
  request.clear_from();
  request.mutable_to()->set_nanos(-1);
  CHECK_THAT(message(), Contains("to: is no time"));
  request.clear_to();
  request.set_group_by(static_cast<v1::UsageGroupBy>(99));
  CHECK_THAT(message(), Contains("group_by: must be job, user, workspace, node or cluster"));
}

TEST_CASE("usage: a job counts from its placement until it is gone, and then for ever the same") {
  Controller controller;
  User user(controller.channel());
  const auto usages = v1::Usages::NewStub(controller.channel());
  FakeAgent one(controller.channel(), "one", "10.0.0.1"), two(controller.channel(), "two", "10.0.0.2");
  REQUIRE(user.make_home());
  v1::Cluster cluster;
  REQUIRE(user.make_cluster(2, cluster).ok());
  v1::Job made;
  REQUIRE(user.submit(User::job_request("j", 2), made).ok());
  REQUIRE(eventually([&] { return user.job("j").execution_state() == "running"; }));
  const auto report = [&](v1::UsageGroupBy by) {
    v1::ReportUsageRequest request;
    request.set_group_by(by);
    v1::ReportUsageResponse response;
    REQUIRE(User::call(usages, &v1::Usages::Stub::ReportUsage, request, response).ok());
    return response;
  };
  // Running holdings count up to now.
  const std::int64_t first = sum_of(report(v1::USAGE_GROUP_BY_JOB).total());
  REQUIRE(eventually([&] { return sum_of(report(v1::USAGE_GROUP_BY_JOB).total()) > first; }));
  v1::CounterSample idle;
  v1::GpuCounters& gpu = *idle.add_gpus();
  gpu.set_uuid("GPU-one");
  gpu.set_utilization_percent(1);
  // Until one comes that is younger than the head's start.
  REQUIRE(eventually([&] {
    one.count(idle);
    return report(v1::USAGE_GROUP_BY_NODE).total().idle_ms() > 0;
  }));
  one.let_heads_exit(0);
  two.let_heads_exit(0);
  REQUIRE(eventually([&] { return user.job("j").execution_state() == "succeeded"; }));

  const v1::ReportUsageResponse by_job = report(v1::USAGE_GROUP_BY_JOB);
  REQUIRE(by_job.rows_size() == 1);
  CHECK(by_job.rows(0).name() == "g/w/e/j");
  CHECK(by_job.total().running_ms() + by_job.total().idle_ms() > 0);
  CHECK((by_job.sampled_ms() >= by_job.total().idle_ms() && by_job.total().idle_ms() > 0));
  v1::DeleteJobRequest remove;
  *remove.mutable_job() = User::job_name("j");
  v1::DeleteJobResponse removed;
  REQUIRE(User::call(user.jobs, &v1::Jobs::Stub::DeleteJob, remove, removed).ok());
  const v1::ReportUsageResponse by_node = report(v1::USAGE_GROUP_BY_NODE);
  CHECK(by_node.rows_size() == 2);
  CHECK(text_of(by_node.total()) == text_of(by_job.total()));
  CHECK_THAT(report(v1::USAGE_GROUP_BY_USER).rows(0).name(), Contains("lab"));
  CHECK(report(v1::USAGE_GROUP_BY_CLUSTER).rows(0).name() == "g/w/c");
  CHECK(report(v1::USAGE_GROUP_BY_WORKSPACE).rows(0).name() == "g/w");
}
