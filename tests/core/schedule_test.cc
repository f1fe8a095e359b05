// Job schedules: what is due is submitted, once, whatever happened to the controller in between.
#include <algorithm>
#include <catch2/catch.hpp>

#include "controller/core/view.h"
#include "tests/core/world.h"

using namespace trainyard;
using namespace trainyard::test;
using Catch::Contains;

namespace {

constexpr DurationMs kMinute = 60'000, kHour = 60 * kMinute;
using Names = std::vector<std::string>;

CreateJobSchedule every(const std::string& cron, const std::string& name = "s") {
  return {{World::job_ref(name), World::cluster_ref("nc6"), World::spec(1), {}, "unique-" + name}, cron, ""};
}

const JobSchedule& schedule(const World& w, const std::string& name = "s") {
  return w.state().schedules.at(w.state().schedule_by_path.at("g/w/e/" + name));
}

ScheduleView shown(const World& w, const std::string& name = "s") {
  return view(w.state(), schedule(w, name));
}

// By name, with what they do.
Names jobs(const World& w) {
  Names all;
  for (const auto& [id, job] : w.state().jobs) all.push_back(job.name + " " + view(w.state(), job).execution_state);
  std::sort(all.begin(), all.end());
  return all;
}

// "made 2, skipped 1, refused 0, missed 0"
std::string counts(const World& w, const std::string& name = "s") {
  const JobSchedule& row = schedule(w, name);
  return "made " + std::to_string(row.made) + ", skipped " + std::to_string(row.skipped) + ", refused " +
         std::to_string(row.refused) + ", missed " + std::to_string(row.missed);
}

std::string stamped(const World& w, TimeMs time_ms) {
  return stamp(schedule(w).cron, time_ms);
}

// A moment with a date that a test can write down: 2026-11-28 00:00:30.
void to_the_date(World& w) {
  w.now = 1'795'824'030'000;
  w.restart_controller();
  w.settle();
}

// As long as agents are not heard of, nothing happens to jobs; schedules go on.
void sleep(World& w, DurationMs time) {
  w.now += time;
  w.restart_controller();
  w.step(Tick{});
  w.settle();
}

void finish(World& w, const std::string& job, int exit_code = 0) {
  w.head_exits(job, exit_code);
  w.settle();
}

Names notes(const World& w, const std::string& name = "s") {
  Names all;
  for (const TimelineLine& line : w.timeline) {
    if (line.subject.starts_with("schedule:") && line.subject.ends_with(" g/w/e/" + name)) {
      all.push_back(line.who + " " + line.what + (line.why.empty() ? "" : ": " + line.why));
    }
  }
  return all;
}

}  // namespace

TEST_CASE("a job is submitted when its time has come: like one of its user, with the time in its name") {
  World w;
  w.ready_cluster(1);
  to_the_date(w);
  CreateJobSchedule create = every("*/10 * * * *", "Nightly");
  create.utc_offset = "+02:00";
  create.job.run_as = RunAs{7, 8, {9}};
  REQUIRE(w.command(create).ok());
  CHECK(w.state().jobs.empty());
  CHECK(shown(w, "nightly").reason == "the next job is due at 2026-11-28T00:10Z");
  CHECK(w.core->next_deadline() <= w.now + 10 * kMinute);
  w.wait(9 * kMinute);
  CHECK(w.state().jobs.empty());
  w.wait(kMinute);
  const Job& job = w.job("Nightly-20261128-0210");
  CHECK(job.state == JobState::running);
  CHECK(job.owner == "user:ann");
  CHECK(job.run_as == RunAs{7, 8, {9}});
  CHECK(job.spec->command_line == "true");
  CHECK(job.segment == "trainyard/g/workspaces/w/experiments/e/jobs/Nightly-20261128-0210/unique-Nightly");
  CHECK(job.created_ms - job.due_ms < 1'001);
  CHECK(view(w.state(), job).schedule == "Nightly");
  CHECK(shown(w, "nightly").states == Names{"running"});
  finish(w, job.name);
  w.wait(10 * kMinute);
  CHECK(jobs(w) == Names{"Nightly-20261128-0210 succeeded", "Nightly-20261128-0220 running"});
  const Names told = notes(w, "Nightly");
  REQUIRE(told.size() == 3);
  CHECK(told[0] == "user:ann created: */10 * * * * +02:00");
  CHECK(told[1] == "controller 20261128-0210 made: job Nightly-20261128-0210");
  const ScheduleView now = shown(w, "nightly");
  CHECK(now.live == 1);
  CHECK(now.kept == 1);
  REQUIRE(now.next.size() == 3);
  CHECK(now.next[1] - now.next[0] == 10 * kMinute);
  CHECK(now.next[2] - now.next[1] == 10 * kMinute);
  // Repeated, it is nobody's: the schedule made it once.
  REQUIRE(w.command(RerunJob{World::job_ref("Nightly-20261128-0210"), "again", "u"}).ok());
  CHECK(!w.job("again").schedule);
}

TEST_CASE("the deadline of the core is the next time, to the millisecond") {
  World w;
  w.ready_cluster(1);
  to_the_date(w);
  REQUIRE(w.command(every("* * * * *")).ok());
  const TimeMs due = schedule(w).next_ms;
  w.agents.clear();  // no deadline of a node comes first
  w.now = due - 1;
  w.step(Tick{});
  CHECK(w.core->next_deadline() == due);
  CHECK(w.state().jobs.empty());
  w.now = due;
  w.step(Tick{});
  CHECK(w.state().jobs.size() == 1);
  w.step(Tick{});
  w.step(Tick{});
  CHECK(w.state().jobs.size() == 1);
}

TEST_CASE("times that passed without a controller: the newest is made up for, once, the others are missed") {
  World w;
  w.ready_cluster(1);
  to_the_date(w);
  REQUIRE(w.command(every("0 * * * *")).ok());
  sleep(w, kHour);
  CHECK(jobs(w) == Names{"s-20261128-0100 running"});
  CHECK(counts(w) == "made 1, skipped 0, refused 0, missed 0");
  finish(w, "s-20261128-0100");
  sleep(w, 5 * kHour);
  CHECK(jobs(w) == Names{"s-20261128-0100 succeeded", "s-20261128-0600 running"});
  CHECK(counts(w) == "made 2, skipped 0, refused 0, missed 4");
  CHECK_THAT(notes(w), Catch::VectorContains(std::string("controller 4 missed: no controller ran when they were due; "
                                                         "20261128-0600 is made up for")));
  // Started again and again, nothing comes twice.
  for (int i = 0; i < 3; ++i) sleep(w, 1'000);
  CHECK(w.state().jobs.size() == 2);
  finish(w, "s-20261128-0600");
  w.remove("s-20261128-0600").value();  // nor when the job was deleted since
  sleep(w, 1'000);
  CHECK(jobs(w) == Names{"s-20261128-0100 succeeded"});
}

TEST_CASE("a crash before the commit makes no run twice and loses none: the time and the job are one change") {
  World w;
  w.ready_cluster(1);
  to_the_date(w);
  REQUIRE(w.command(every("* * * * *")).ok());
  const TimeMs due = schedule(w).next_ms;
  w.now = due;
  w.step(Tick{});
  REQUIRE(w.last_changes.schedules.size() == 1);
  CHECK(w.last_changes.schedules[0].next_ms == due + kMinute);
  REQUIRE(w.last_changes.jobs.size() == 1);
  CHECK(w.last_changes.jobs[0].due_ms == due);
  // What was not committed: a core that saw the time and is gone; the next one begins from the rows.
  w.now = due + kMinute;
  w.core->step({w.now, Tick{}});
  w.restart_controller();
  CHECK(w.state().jobs.size() == 1);
  w.agents.begin()->second.prepares = true;
  w.step(Tick{});
  CHECK(counts(w) == "made 1, skipped 1, refused 0, missed 0");
}

TEST_CASE("while a job goes on the next one is skipped, with why; told to, it runs beside it") {
  World w;
  w.ready_cluster(2);
  to_the_date(w);
  REQUIRE(w.command(every("* * * * *")).ok());
  w.wait(kMinute);
  const std::string first = "s-20261128-0001";
  CHECK(w.job(first).state == JobState::running);
  w.wait(2 * kMinute);
  CHECK(jobs(w) == Names{first + " running"});
  CHECK(counts(w) == "made 1, skipped 2, refused 0, missed 0");
  CHECK(schedule(w).recent.back().why == "job s-20261128-0001 has not ended");
  CHECK_THAT(notes(w),
             Catch::VectorContains(std::string("controller 20261128-0003 skipped: job " + first + " has not ended")));
  SECTION("one that is queued, stopped or queued again has not ended either") {
    w.agents.at("n1").cleans = w.agents.at("n2").cleans = false;
    REQUIRE(w.command(TerminateJob{World::job_ref(first)}).ok());
    w.wait(kMinute);
    CHECK(schedule(w).skipped == 3);
    w.agents.at("n1").cleans = w.agents.at("n2").cleans = true;
    w.settle();
    w.wait(kMinute);
    CHECK(schedule(w).made == 2);
  }
  SECTION("overlap allow") {
    UpdateJobSchedule update{.ref = World::job_ref("s"), .overlap = Overlap::allow};
    REQUIRE(w.command(update).ok());
    w.wait(2 * kMinute);
    CHECK(jobs(w) == Names{first + " running", "s-20261128-0004 running", "s-20261128-0005 queued"});
    update.overlap = Overlap::skip;
    REQUIRE(w.command(update).ok());
    finish(w, first);
    w.wait(kMinute);
    CHECK(w.state().jobs.size() == 3);
    CHECK(schedule(w).skipped == 3);
  }
}

TEST_CASE("suspended, its times pass without anything; resumed, it goes on with the next one") {
  World w;
  w.ready_cluster(1);
  to_the_date(w);
  CreateJobSchedule create = every("* * * * *");
  create.suspended = "not before the data is there";
  REQUIRE(w.command(create).ok());
  CHECK(shown(w).reason ==
        "suspended by user:ann since 2026-11-28T00:00Z: not before the data is there, until `trainyard job schedule "
        "resume`");
  CHECK(shown(w).next.empty());
  w.wait(3 * kMinute);
  w.restart_controller();
  w.wait(kMinute);
  CHECK(counts(w) == "made 0, skipped 0, refused 0, missed 0");
  UpdateJobSchedule update{.ref = World::job_ref("s"), .suspended = false};
  REQUIRE(w.command(update).ok());
  REQUIRE(w.command(update).ok());  // again: no change
  w.wait(kMinute);
  CHECK(jobs(w) == Names{"s-20261128-0005 running"});
  finish(w, "s-20261128-0005");
  update.suspended = true;
  update.why = "a look at it";
  REQUIRE(w.command(update).ok());
  w.wait(2 * kMinute);
  CHECK(counts(w) == "made 1, skipped 0, refused 0, missed 0");
  const Names told = notes(w);
  CHECK(told.back() == "user:ann suspended: a look at it");
  CHECK(std::count(told.begin(), told.end(), "user:ann resumed") == 1);
}

TEST_CASE("a time that came before somebody changes or suspends the schedule is not lost by it") {
  World w;
  w.ready_cluster(1);
  to_the_date(w);
  REQUIRE(w.command(every("* * * * *")).ok());
  w.now = schedule(w).next_ms + 5;  // the tick comes behind the command
  const bool suspend = GENERATE(true, false);
  UpdateJobSchedule update{.ref = World::job_ref("s")};
  if (suspend) {
    update.suspended = true;
  } else {
    update.cron = "0 0 * * *";
  }
  REQUIRE(w.command(update).ok());
  w.step(Tick{});
  CHECK(w.state().jobs.size() == 1);
  w.wait(2 * kMinute);
  CHECK(w.state().jobs.size() == 1);
}

TEST_CASE("the newest that ended are kept, also when one that is older ends last") {
  World w;
  w.ready_cluster(3);
  to_the_date(w);
  CreateJobSchedule create = every("* * * * *");
  create.keep = 2;
  create.overlap = Overlap::allow;
  REQUIRE(w.command(create).ok());
  w.wait(kMinute);
  for (int i = 0; i < 4; ++i) {
    w.wait(kMinute);
    finish(w, "s-20261128-000" + std::to_string(i + 2), i % 2);
  }
  CHECK(jobs(w) == Names{"s-20261128-0001 running", "s-20261128-0004 succeeded", "s-20261128-0005 failed"});
  CHECK(std::any_of(w.timeline.begin(), w.timeline.end(), [](const TimelineLine& line) {
    return line.subject.ends_with("s-20261128-0002") && line.what == "deleted" && line.who == "controller";
  }));
  REQUIRE(w.command(UpdateJobSchedule{.ref = World::job_ref("s"), .suspended = true}).ok());
  w.wait(1'000);
  finish(w, "s-20261128-0001");
  CHECK(jobs(w) == Names{"s-20261128-0001 succeeded", "s-20261128-0005 failed"});
  w.restart_controller();
  SECTION("fewer") {
    REQUIRE(w.command(UpdateJobSchedule{.ref = World::job_ref("s"), .keep = 1}).ok());
    CHECK(jobs(w) == Names{"s-20261128-0001 succeeded"});
  }
  SECTION("all") {
    REQUIRE(w.command(UpdateJobSchedule{.ref = World::job_ref("s"), .keep = 0, .suspended = false}).ok());
    for (int i = 6; i < 9; ++i) {
      w.wait(kMinute);
      finish(w, "s-20261128-000" + std::to_string(i));
    }
    CHECK(w.state().jobs.size() == 5);
  }
  CHECK(shown(w).states.at(1).empty());  // of one that is gone there is the time and the name
}

TEST_CASE("a submit that is refused is not its end: the row says why, and the next time works again") {
  World w;
  w.ready_cluster(1);
  to_the_date(w);
  REQUIRE(w.command(every("* * * * *")).ok());
  REQUIRE(w.command(DeleteCluster{World::cluster_ref("nc6")}).ok());
  w.settle();
  w.wait(2 * kMinute);
  CHECK(w.state().jobs.empty());
  CHECK(counts(w) == "made 0, skipped 0, refused 2, missed 0");
  CHECK(schedule(w).error == "cluster nc6 is not in workspace w of group g");
  CHECK(shown(w).reason ==
        "the last job was refused: cluster nc6 is not in workspace w of group g; the next job is due "
        "at 2026-11-28T00:03Z");
  CHECK(notes(w).back() == "controller 20261128-0002 refused: cluster nc6 is not in workspace w of group g");
  w.restart_controller();
  w.cluster("nc6", 1);  // another one of that name
  w.settle();
  w.wait(kMinute);
  CHECK(jobs(w) == Names{"s-20261128-0003 running"});
  CHECK(schedule(w).error.empty());
  CHECK(schedule(w).recent.front().why == "cluster nc6 is not in workspace w of group g");
}

TEST_CASE("of the newest times ten are remembered") {
  World w;
  w.ready_cluster(1);
  to_the_date(w);
  REQUIRE(w.command(every("* * * * *")).ok());
  w.wait(13 * kMinute);
  CHECK(schedule(w).recent.size() == 10);
  CHECK(schedule(w).recent.back().due_ms == schedule(w).next_ms - kMinute);
}

TEST_CASE("its jobs stay when it is deleted; they go with the experiment, and it does") {
  World w;
  w.ready_cluster(1);
  to_the_date(w);
  REQUIRE(w.command(every("* * * * *")).ok());
  REQUIRE(w.command(every("* * * * *", "t")).ok());
  w.wait(2 * kMinute);
  const Names before = jobs(w);
  REQUIRE(before.size() == 2);
  SECTION("the schedule") {
    REQUIRE(w.command(DeleteJobSchedule{World::job_ref("s")}).ok());
    CHECK(w.command(DeleteJobSchedule{World::job_ref("s")}).error().message ==
          "job schedule s is not in experiment e of workspace w, group g");
    CHECK(jobs(w) == before);
    CHECK(view(w.state(), w.job("s-20261128-0001")).schedule.empty());
    w.restart_controller();
    w.wait(2 * kMinute);
    CHECK(w.state().jobs.size() == 2);
    // Of the same name, it is another one: it does not count those that are there.
    CreateJobSchedule again = every("* * * * *");
    again.keep = 1;
    REQUIRE(w.command(again).ok());
    w.wait(kMinute);
    CHECK(schedule(w).made == 1);
    finish(w, "s-20261128-0001");
    finish(w, "t-20261128-0001");
    finish(w, "s-20261128-0005");
    CHECK(w.state().jobs.size() == 3);
    CHECK(shown(w).kept == 1);
  }
  SECTION("the experiment") {
    w.agents.at("n1").cleans = false;
    REQUIRE(w.command(DeleteExperiment{{"g", "w", "e"}}).ok());
    CHECK(w.state().schedules.empty());
    w.restart_controller();
    w.wait(2 * kMinute);
    CHECK(w.state().jobs.size() == 1);
    CHECK_THAT(w.command(every("* * * * *")).error().message, Contains("experiment e is being deleted"));
    w.agents.at("n1").cleans = true;
    w.settle();
    CHECK(w.state().experiments.empty());
  }
  SECTION("the workspace") {
    REQUIRE(w.command(DeleteWorkspace{{"g", "w"}}).ok());
    w.settle();
    CHECK(w.state().workspaces.empty());
    CHECK(w.state().schedules.empty());
    CHECK(w.state().jobs.empty());
  }
}

TEST_CASE("the same schedule again is the same one; what cannot be is refused with what to change") {
  World w;
  w.ready_cluster(1);
  to_the_date(w);
  const auto first = w.command(every("0 3 * * *"), "request");
  CHECK(w.command(every("0 3 * * *"), "request").value() == first.value());
  CHECK(w.command(every("0 3 * * *", "S")).value() == first.value());
  CHECK_THAT(w.command(every("0 4 * * *")).error().message, Contains("exists already with another definition"));
  CHECK(w.command(every("0 3 * *", "t")).error().message ==
        "cron: has 4 fields, and must have five: minute, hour, day of month, month, day of week");
  CHECK(w.command(every("0 3 30 2 *", "t")).error().message ==
        "cron: \"0 3 30 2 *\" never comes: no month that it names has such a day");
  CHECK(w.command(every("0 3 * * *", std::string(47, 'x'))).error().message ==
        "name: has more than 46 characters: when they are due is added for its jobs");
  CHECK(w.command(every("0 3 * * *", std::string(46, 'x'))).ok());
  CreateJobSchedule wrong = every("0 3 * * *", "t");
  wrong.utc_offset = "CET";
  CHECK_THAT(w.command(wrong).error().message, Contains("utcOffset: must be like"));
  wrong = every("0 3 * * *", "t");
  wrong.keep = 10'001;
  CHECK(w.command(wrong).error().message == "keep: must be at most 10000, or 0 for all");
  wrong = every("0 3 * * *", "t");
  wrong.job.dependencies = {{"", "other", After::ok}};
  CHECK_THAT(w.command(wrong).error().message, Contains("wait for no others"));
  wrong = every("0 3 * * *", "t");
  wrong.job.cluster = World::cluster_ref("nowhere");
  CHECK_THAT(w.command(wrong).error().message, Contains("cluster nowhere is not in workspace w"));
  CHECK(w.command(UpdateJobSchedule{.ref = World::job_ref("s"), .cron = "x"}).error().code == Code::invalid_argument);
  CHECK(w.command(UpdateJobSchedule{.ref = World::job_ref("none")}).error().code == Code::not_found);
  CHECK(schedule(w).cron.text == "0 3 * * *");
}

TEST_CASE("another expression or offset is for what comes; the same minute again gets a name of its own") {
  World w;
  w.ready_cluster(1);
  to_the_date(w);
  CreateJobSchedule create = every("0 * * * *");
  create.utc_offset = "+01:00";
  create.overlap = Overlap::allow;
  REQUIRE(w.command(create).ok());
  sleep(w, kHour);  // 01:00 is 02:00 there
  REQUIRE(w.command(UpdateJobSchedule{.ref = World::job_ref("s"), .utc_offset = ""}).ok());
  sleep(w, kHour);
  CHECK(jobs(w) == Names{"s-20261128-0200 running", "s-20261128-0200-2 queued"});
  REQUIRE(w.command(UpdateJobSchedule{.ref = World::job_ref("s"), .cron = "30 12 * * *"}).ok());
  CHECK(shown(w).next.front() - w.now == 10 * kHour + 30 * kMinute - w.now % kMinute);
  CHECK(stamped(w, shown(w).next.front()) == "20261128-1230");
  CHECK(notes(w).back() == "user:ann cron 30 12 * * * : was 0 * * * * ");
}

TEST_CASE("a share that a schedule's jobs will mount is not deleted under them") {
  World w;
  w.ready_cluster(1);
  CreateJobSchedule create = every("0 3 * * *");
  create.job.spec.file_shares = {{"a", "https://a/s", "s", "s"}};
  create.suspended = "";
  REQUIRE(w.command(create).ok());
  CHECK_THAT(w.command(DeleteShare{"a", "s"}).error().message, Contains("is mounted by job schedule g/w/e/s"));
  REQUIRE(w.command(DeleteJobSchedule{World::job_ref("s")}).ok());
  CHECK(w.command(DeleteShare{"a", "s"}).ok());
}

TEST_CASE("a schedule says of which class of the operator its jobs are") {
  World w;
  w.ready_cluster(1);
  CreateJobSchedule create = every("@daily");
  create.job.spec.priority = Priority{200};
  REQUIRE(w.command(create).ok());
  CHECK(shown(w).priority_class.empty());  // no such class
  State state = w.state();
  state.classes = {{"urgent", Priority{200}}};
  CHECK(view(state, schedule(w)).priority_class == "urgent");
}
