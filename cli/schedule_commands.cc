// trainyard job schedule: the same job again and again, at given times.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "cli/job_request.h"
#include "cli/show_schedule.h"
#include "trainyard/v1/jobs.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Jobs::Stub;

const std::vector<std::string> kOverlaps{"skip", "allow"};

struct Options : JobFlags {
  std::string cron, utc_offset, overlap, why;
  std::uint32_t keep = 10;
  bool suspended = false;
  // Whether `update` was given them.
  CLI::Option *new_cron = nullptr, *new_offset = nullptr, *new_keep = nullptr;
};

v1::ScheduleOverlap overlap_of(const Options& options) {
  if (options.overlap.empty()) return v1::SCHEDULE_OVERLAP_UNSPECIFIED;
  return options.overlap == "allow" ? v1::SCHEDULE_OVERLAP_ALLOW : v1::SCHEDULE_OVERLAP_SKIP;
}

int create(Program& program, const Options& options) {
  auto request = job_request<v1::CreateJobScheduleRequest>(program, options);
  if (!request) return program.exit_code();
  request->set_cron(options.cron);
  request->set_utc_offset(options.utc_offset);
  request->set_overlap(overlap_of(options));
  request->set_keep(options.keep);
  request->set_suspended(options.suspended);
  request->set_suspend_why(options.why);
  const auto schedule = program.ask(&Stub::CreateJobSchedule, *request);
  if (!schedule) return program.exit_code();
  for (const std::string& warning : schedule->warnings()) fmt::print(stderr, "trainyard: warning: {}\n", warning);
  return program.print(show_schedule(*schedule));
}

int show(Program& program, const Options& options) {
  const auto schedule = program.ask(&Stub::GetJobSchedule, name_of(options.place));
  return schedule ? program.print(show_schedule(*schedule)) : program.exit_code();
}

int list(Program& program, const Options& options) {
  v1::ListJobSchedulesRequest request;
  request.set_resource_group(options.place.group);
  request.set_workspace(options.place.workspace);
  request.set_experiment(options.place.experiment);
  const auto schedules = program.ask(&Stub::ListJobSchedules, request);
  return schedules ? program.print(show_all(schedules->job_schedules())) : program.exit_code();
}

int change(Program& program, const Options& options, v1::UpdateJobScheduleRequest request) {
  request.set_request_id(new_request_id());
  *request.mutable_schedule() = name_of(options.place);
  const auto schedule = program.ask(&Stub::UpdateJobSchedule, request);
  return schedule ? program.print(show_schedule(*schedule)) : program.exit_code();
}

int update(Program& program, const Options& options) {
  v1::UpdateJobScheduleRequest request;
  if (options.new_cron->count() > 0) request.set_cron(options.cron);
  if (options.new_offset->count() > 0) request.set_utc_offset(options.utc_offset);
  if (options.new_keep->count() > 0) request.set_keep(options.keep);
  request.set_overlap(overlap_of(options));
  return change(program, options, std::move(request));
}

int suspend(Program& program, const Options& options, bool suspended) {
  v1::UpdateJobScheduleRequest request;
  request.set_suspend(suspended);
  request.set_suspend_why(options.why);
  return change(program, options, std::move(request));
}

int remove(Program& program, const Options& options) {
  if (!program.confirmed()) return program.exit_code();
  v1::DeleteJobScheduleRequest request;
  request.set_request_id(new_request_id());
  *request.mutable_schedule() = name_of(options.place);
  return program.ask(&Stub::DeleteJobSchedule, request) ? kDone : program.exit_code();
}

void add_place(CLI::App& command, const std::shared_ptr<Options>& options) {
  add_experiment_flags(command, options->place);
  command.add_option("-n,--name,-s,--schedule", options->place.name, "Name of the job schedule")->required();
}

// Of `create` and `update`; the options for what the latter must know whether it was given.
std::vector<CLI::Option*> add_times(CLI::App& command, Options& options) {
  CLI::Option* cron =
      command.add_option("--cron", options.cron,
                         "When: \"MINUTE HOUR DAY-OF-MONTH MONTH DAY-OF-WEEK\", each *, numbers, lists, ranges, steps, "
                         "JAN-DEC, SUN-SAT; or @hourly, @daily, @weekly, @monthly");
  CLI::Option* offset =
      command.add_option("--utc-offset", options.utc_offset, "Of its days and hours, the same all year: +02:00 [UTC]");
  CLI::Option* keep = command.add_option("--keep", options.keep,
                                         "Of its jobs that have ended, the newest; older ones are deleted, their files "
                                         "stay; 0: all [10]");
  command
      .add_option("--overlap", options.overlap,
                  "When a job of it has not ended by then: skip that time, or allow both [skip]")
      ->transform(CLI::IsMember(kOverlaps, CLI::ignore_case));
  return {cron, offset, keep};
}

void add_create(CLI::App& schedules, Program& program, const std::shared_ptr<Options>& options) {
  const std::string begin =
      "trainyard job schedule create -g mygroup -w batchaidev -e cifar -n nightly -c nc6cluster -f job.json ";
  CLI::App& command = program.command(
      schedules, "create", "Submit the same job again and again; answered when it is safely stored",
      begin + "--cron \"0 3 * * *\" --utc-offset +02:00\n  " + begin +
          "--cron \"*/20 * * * MON-FRI\" --overlap allow --keep 100\n  " + begin +
          "--cron @weekly --suspended --why \"until the data is there\"\n\n"
          "Jobs are NAME-YYYYMMDD-HHMM, by when they were due. Days of the month and of the week are as\n"
          "in cron: when both are given, one of them is enough.",
      [=, &program] { return create(program, *options); });
  add_place(command, options);
  add_job_flags(command, options, false);
  add_times(command, *options)[0]->required();
  command.add_flag("--suspended", options->suspended, "From the beginning, until `resume`");
  command.add_option("--why", options->why, "Of --suspended: shown to whoever asks");
}

}  // namespace

void add_job_schedule_commands(CLI::App& job, Program& program) {
  CLI::App& schedules = program.group(job, "schedule", "The same job again and again, at given times");
  auto options = std::make_shared<Options>();
  const std::string of = " -g mygroup -w batchaidev -e cifar -n nightly";
  const auto add = [&](const char* name, const char* what, const std::string& flags, auto run) -> CLI::App& {
    CLI::App& command =
        program.command(schedules, name, what, std::string("trainyard job schedule ") + name + of + flags,
                        [=, &program] { return run(program, *options); });
    add_place(command, options);
    return command;
  };
  add_create(schedules, program, options);
  add("show", "Show a job schedule: when it is due, and what became of its newest times", " -o table", show);
  CLI::App& listing = program.command(schedules, "list", "List an experiment's job schedules",
                                      "trainyard job schedule list -g mygroup -w batchaidev -e cifar -o table",
                                      [=, &program] { return list(program, *options); });
  add_experiment_flags(listing, options->place);
  CLI::App& updating = add("update", "Change when it is due, how many jobs it keeps, and whether they may overlap",
                           " --cron \"30 4 * * *\"", update);
  const auto given = add_times(updating, *options);
  options->new_cron = given[0], options->new_offset = given[1], options->new_keep = given[2];
  CLI::App& suspending = add("suspend", "Let its times pass until it is resumed; jobs that are there go on", "",
                             [](Program& p, const Options& o) { return suspend(p, o, true); });
  suspending.add_option("--why", options->why, "Shown to whoever asks why no jobs come");
  add("resume", "Let a suspended job schedule go on with its next time", "",
      [](Program& p, const Options& o) { return suspend(p, o, false); });
  program.add_confirmation(add("delete", "Submit no more jobs; those that are there stay", " -y", remove));
}

}  // namespace trainyard::cli
