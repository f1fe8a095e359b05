#include <fmt/format.h>

#include <string>
#include <vector>

#include "batchai/job_file.h"
#include "cli/commands.h"
#include "cli/counter_commands.h"
#include "cli/job_request.h"
#include "cli/progress.h"
#include "cli/show.h"
#include "trainyard/v1/jobs.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Jobs::Stub;

struct Options : JobFlags {
  std::string new_name, why;
  double interval_s = 15;
};

bool has_ended(const v1::Job& job) {
  return job.execution_state() == "succeeded" || job.execution_state() == "failed";
}

// Whether it is an end, and all a user needs to see why it is where it is.
std::string progress_of(const v1::Job& job) {
  std::string line = job.execution_state();
  if (!job.phase().empty() && job.phase() != job.execution_state()) line += " (" + job.phase() + ")";
  if (job.attempt() > 1) line += fmt::format(", attempt {}", job.attempt());
  if (!job.reason().empty()) line += ": " + job.reason();
  return line;
}

int create(Program& program, const Options& options) {
  const auto request = job_request<v1::CreateJobRequest>(program, options);
  if (!request) return program.exit_code();
  const auto job = program.ask(&Stub::CreateJob, *request);
  if (!job) return program.exit_code();
  for (const std::string& warning : job->warnings()) fmt::print(stderr, "trainyard: warning: {}\n", warning);
  return program.print(show_one(*job));
}

int show(Program& program, const Options& options) {
  const auto job = program.ask(&Stub::GetJob, name_of(options.place));
  return job ? program.print(show_one(*job)) : program.exit_code();
}

int list(Program& program, const Options& options) {
  v1::ListJobsRequest request;
  request.set_resource_group(options.place.group);
  request.set_workspace(options.place.workspace);
  request.set_experiment(options.place.experiment);
  const auto jobs = program.ask(&Stub::ListJobs, request);
  return jobs ? program.print(show_all(jobs->jobs())) : program.exit_code();
}

int remove(Program& program, const Options& options) {
  if (!program.confirmed()) return program.exit_code();
  v1::DeleteJobRequest request;
  request.set_request_id(new_request_id());
  *request.mutable_job() = name_of(options.place);
  if (!program.ask(&Stub::DeleteJob, request)) return program.exit_code();
  if (!program.waits()) return kDone;
  return wait_gone<Stub, v1::JobName, v1::Job>(program, "job " + options.place.name, &Stub::GetJob,
                                               name_of(options.place), progress_of);
}

int terminate(Program& program, const Options& options) {
  if (!program.confirmed()) return program.exit_code();
  v1::TerminateJobRequest request;
  request.set_request_id(new_request_id());
  *request.mutable_job() = name_of(options.place);
  auto job = program.ask(&Stub::TerminateJob, request);
  if (!job) return program.exit_code();
  if (program.waits() && !has_ended(*job)) {
    auto client = program.client();
    if (!client) return program.fail(client.error());
    const bool ended =
        program.wait_until("job " + options.place.name + " to end", [&](std::string& detail) -> Result<bool> {
          auto now = (*client)->call(&Stub::GetJob, name_of(options.place));
          if (!now) return now.error();
          detail = progress_of(*now);
          job = std::move(*now);
          return has_ended(*job);
        });
    if (!ended) return program.exit_code();
  }
  return program.print(show_one(*job));
}

int rerun(Program& program, const Options& options) {
  v1::RerunJobRequest request;
  request.set_request_id(new_request_id());
  *request.mutable_job() = name_of(options.place);
  request.set_new_name(options.new_name);
  const auto job = program.ask(&Stub::RerunJob, request);
  if (!job) return program.exit_code();
  fmt::print(stderr, "job {} repeats {}\n", job->name(), job->rerun_of());
  return program.print(show_one(*job));
}

// hold, release, update: one request with the job's name, answered with the job.
template <class Request, class Call>
int change(Program& program, const Options& options, Call call, Request request) {
  request.set_request_id(new_request_id());
  *request.mutable_job() = name_of(options.place);
  const auto job = program.ask(call, request);
  return job ? program.print(show_one(*job)) : program.exit_code();
}

int hold(Program& program, const Options& options) {
  v1::HoldJobRequest request;
  request.set_why(options.why);
  return change(program, options, &Stub::HoldJob, std::move(request));
}

int update(Program& program, const Options& options) {
  v1::PrioritizeJobRequest request;
  const auto known = batchai::priority_of(options.priority);
  request.set_scheduling_priority(known.value_or(v1::PRIORITY_UNSPECIFIED));
  if (!known) request.set_priority_class(options.priority);
  return change(program, options, &Stub::PrioritizeJob, std::move(request));
}

// What `job wait` exits with: as the job did; without an exit code -1, which a shell sees as 255, as in Batch AI.
int exit_code_of(const v1::Job& job) {
  if (job.execution_state() == "succeeded") return kDone;
  const auto& info = job.execution_info();
  const int code = info.has_exit_code() ? info.exit_code() & 0xff : 0;
  return code == 0 ? static_cast<int>(kUnknownJobExit) : code;
}

int ended(const v1::Job& job) {
  hide_progress();
  for (const auto& error : job.execution_info().errors()) {
    fmt::print(stderr, "{}: {}\n", error.code(), error.message());
    for (const auto& detail : error.details()) fmt::print(stderr, "  {}: {}\n", detail.name(), detail.value());
  }
  return exit_code_of(job);
}

// Follows changes; a silent or broken stream is opened anew, which gives the job as it is now.
int wait(Program& program, const Options& options) {
  constexpr std::chrono::seconds kStreamLimit{60};
  auto client = program.client();
  if (!client) return program.fail(client.error());
  Patience patience(**client);
  ProgressLine progress("waiting for job " + options.place.name);
  std::string said;
  for (;;) {
    const auto begun = Patience::Clock::now();
    Stub stub((*client)->channel());
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kStreamLimit);
    const auto reader = stub.WatchJob(&context, name_of(options.place));
    v1::Job job;
    bool any = false;
    while (reader->Read(&job)) {
      any = true;
      patience.progress();
      const std::string line = progress_of(job);
      if (line != said) progress.remark(options.place.name + ": " + line);
      progress.say(options.place.name + ": " + line);
      said = line;
      if (has_ended(job)) return ended(job);
    }
    const grpc::Status status = reader->Finish();
    if (status.ok()) {
      const grpc::Status early(grpc::StatusCode::UNAVAILABLE, "the watch ended before the job");
      if (!patience.again(early, begun)) return program.fail((*client)->error_of(early));
    } else if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      if (!any && !patience.again(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the controller is silent"))) {
        return program.fail((*client)->error_of(status));
      }
      (*client)->reconnect();
    } else if (!patience.again(status, begun)) {
      return program.fail((*client)->error_of(status));
    }
  }
}

int timeline(Program& program, const Options& options) {
  const auto lines = program.ask(&Stub::GetJobTimeline, name_of(options.place));
  return lines ? program.print(show_all(lines->lines())) : program.exit_code();
}

int why(Program& program, const Options& options) {
  const auto explanation = program.ask(&Stub::ExplainJob, name_of(options.place));
  return explanation ? program.print(show_why(*explanation)) : program.exit_code();
}

void add_place(CLI::App& command, const std::shared_ptr<Options>& options) {
  add_experiment_flags(command, options->place);
  command.add_option("-n,--name,-j,--job", options->place.name, "Name of the job")->required();
}

void add_create(CLI::App& jobs, Program& program, const std::shared_ptr<Options>& options) {
  CLI::App& command =
      program.command(jobs, "create", "Submit a job; answered when it is safely stored",
                      "trainyard job create -g mygroup -w batchaidev -e cifar -n cifar_1 -c nc6cluster -f job.json "
                      "--storage-account-name mystorageaccount",
                      [=, &program] { return create(program, *options); });
  add_place(command, options);
  add_job_flags(command, options);
}

void add_queue_commands(CLI::App& jobs, Program& program, const std::shared_ptr<Options>& options) {
  CLI::App& holding = program.command(jobs, "hold", "Keep a queued job from starting until it is released",
                                      "trainyard job hold -g mygroup -w batchaidev -e cifar -n cifar_1 --why "
                                      "\"waits for the new data\"",
                                      [=, &program] { return hold(program, *options); });
  add_place(holding, options);
  holding.add_option("--why", options->why, "Shown to whoever asks why it waits");
  add_place(
      program.command(jobs, "release", "Let a held job start",
                      "trainyard job release -g mygroup -w batchaidev -e cifar -n cifar_1",
                      [=, &program] { return change(program, *options, &Stub::ReleaseJob, v1::ReleaseJobRequest()); }),
      options);
  CLI::App& updating =
      program.command(jobs, "update", "Change a job's place in the queue",
                      "trainyard job update -g mygroup -w batchaidev -e cifar -n cifar_1 --priority high",
                      [=, &program] { return update(program, *options); });
  add_place(updating, options);
  updating
      .add_option("--priority,--scheduling-priority", options->priority,
                  "low, normal, high or a class of the operator's")
      ->required();
}

}  // namespace

void add_job_commands(CLI::App& app, Program& program) {
  CLI::App& jobs = program.group(app, "job", "Jobs: submit, look at, wait for and end them");
  auto options = std::make_shared<Options>();
  add_create(jobs, program, options);
  add_place(program.command(jobs, "show", "Show a job, with the reason why it waits or ended",
                            "trainyard job show -g mygroup -w batchaidev -e cifar -n cifar_1 --query executionState",
                            [=, &program] { return show(program, *options); }),
            options);
  CLI::App& listing = program.command(jobs, "list", "List an experiment's jobs",
                                      "trainyard job list -g mygroup -w batchaidev -e cifar -o table",
                                      [=, &program] { return list(program, *options); });
  add_experiment_flags(listing, options->place);
  CLI::App& deleting = program.command(jobs, "delete", "End a job if needed and remove it; its files stay",
                                       "trainyard job delete -g mygroup -w batchaidev -e cifar -n cifar_1 -y",
                                       [=, &program] { return remove(program, *options); });
  add_place(deleting, options);
  program.add_confirmation(deleting);
  CLI::App& terminating = program.command(jobs, "terminate", "Stop a job; it ends as failed",
                                          "trainyard job terminate -g mygroup -w batchaidev -e cifar -n cifar_1 -y",
                                          [=, &program] { return terminate(program, *options); });
  add_place(terminating, options);
  program.add_confirmation(terminating);
  CLI::App& again =
      program.command(jobs, "rerun", "Run a job that has ended again, as a new job; its files stay",
                      "trainyard job rerun -g mygroup -w batchaidev -e cifar -n cifar_1\n"
                      "  trainyard job rerun -g mygroup -w batchaidev -e cifar -n cifar_1 --new-name again",
                      [=, &program] { return rerun(program, *options); });
  add_place(again, options);
  again.add_option("--new-name", options->new_name, "Name of the new job (default: the name with a number, cifar_1-2)");
  add_queue_commands(jobs, program, options);
  CLI::App& waiting = program.command(jobs, "wait", "Wait for a job's end and exit as it did",
                                      "trainyard job wait -g mygroup -w batchaidev -e cifar -n cifar_1",
                                      [=, &program] { return wait(program, *options); });
  add_place(waiting, options);
  waiting.add_option("--interval", options->interval_s, "Accepted, and not needed: changes are seen as they happen")
      ->check(CLI::NonNegativeNumber);
  add_place(program.command(jobs, "why", "Why a queued job waits, what would let it start now, and when it starts",
                            "trainyard job why -g mygroup -w batchaidev -e cifar -n cifar_1 -o table",
                            [=, &program] { return why(program, *options); }),
            options);
  add_place(program.command(jobs, "timeline", "What happened to a job, oldest first",
                            "trainyard job timeline -g mygroup -w batchaidev -e cifar -n cifar_1 -o table",
                            [=, &program] { return timeline(program, *options); }),
            options);
  add_job_array_commands(jobs, program);
  add_job_schedule_commands(jobs, program);
  add_job_counters_command(jobs, program);
  add_job_file_commands(jobs, program);
  add_job_node_commands(jobs, program);
}

}  // namespace trainyard::cli
