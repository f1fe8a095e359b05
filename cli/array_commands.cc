// trainyard job array: many jobs of one definition, and sweeps over parameters.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "batchai/json_fields.h"
#include "cli/job_request.h"
#include "cli/progress.h"
#include "cli/show.h"
#include "cli/sweep_flags.h"
#include "trainyard/v1/jobs.grpc.pb.h"

namespace trainyard::cli {
namespace {

using Stub = v1::Jobs::Stub;

struct Options : JobFlags {
  std::uint32_t tasks = 0, parallel = 0;
  std::int32_t lines = 0;
  std::uint64_t seed = 0;
  std::vector<std::string> grid, ranges;
  std::string list_file, why;
};

// What the flags say of the parameters, or what is wrong with them.
Status add_sweep(const Options& options, v1::ParameterSweep& sweep) {
  for (const std::string& word : options.grid) {
    if (const Status ok = add_grid(word, sweep); !ok) return ok;
  }
  for (const std::string& word : options.ranges) {
    if (const Status ok = add_range(word, sweep); !ok) return ok;
  }
  if (!options.ranges.empty()) sweep.set_seed(options.seed);
  if (options.list_file.empty()) return {};
  const auto text = read_text_file(options.list_file, batchai::kLargestFileBytes);
  if (!text) return text.error();
  return read_list(*text, options.list_file, sweep);
}

int create(Program& program, const Options& options) {
  v1::ParameterSweep sweep;
  if (const Status ok = add_sweep(options, sweep); !ok) return program.fail(ok.error());
  auto request = job_request<v1::CreateJobArrayRequest>(program, options);
  if (!request) return program.exit_code();
  request->set_tasks(options.tasks);
  request->set_parallel(options.parallel);
  *request->mutable_parameters() = std::move(sweep);
  if (!small_enough(program, options, request->ByteSizeLong())) return program.exit_code();
  const auto array = program.ask(&Stub::CreateJobArray, *request);
  if (!array) return program.exit_code();
  for (const std::string& warning : array->warnings()) fmt::print(stderr, "trainyard: warning: {}\n", warning);
  return program.print(show_one(*array));
}

int show(Program& program, const Options& options) {
  const auto array = program.ask(&Stub::GetJobArray, name_of(options.place));
  return array ? program.print(show_one(*array)) : program.exit_code();
}

template <class Request>
Request in_experiment(const Place& place) {
  Request request;
  request.set_resource_group(place.group);
  request.set_workspace(place.workspace);
  request.set_experiment(place.experiment);
  return request;
}

int list(Program& program, const Options& options) {
  const auto arrays = program.ask(&Stub::ListJobArrays, in_experiment<v1::ListJobArraysRequest>(options.place));
  return arrays ? program.print(show_all(arrays->job_arrays())) : program.exit_code();
}

int tasks(Program& program, const Options& options) {
  auto request = in_experiment<v1::ListJobsRequest>(options.place);
  request.set_array(options.place.name);
  auto jobs = program.ask(&Stub::ListJobs, request);
  if (!jobs) return program.exit_code();
  // The controller lists names in their order: sweep_10 before sweep_2.
  std::sort(jobs->mutable_jobs()->begin(), jobs->mutable_jobs()->end(),
            [](const v1::Job& a, const v1::Job& b) { return a.task_index() < b.task_index(); });
  return program.print(show_all(jobs->jobs()));
}

int why(Program& program, const Options& options) {
  const auto explanation = program.ask(&Stub::ExplainJobArray, name_of(options.place));
  return explanation ? program.print(show_why(*explanation)) : program.exit_code();
}

int timeline(Program& program, const Options& options) {
  v1::GetJobArrayTimelineRequest request;
  *request.mutable_array() = name_of(options.place);
  request.set_limit(options.lines);
  const auto lines = program.ask(&Stub::GetJobArrayTimeline, request);
  if (!lines) return program.exit_code();
  if (lines->tasks_left_out() > 0) {
    fmt::print(stderr, "trainyard: without the lines of {} older tasks: see `trainyard job timeline`\n",
               lines->tasks_left_out());
  }
  return program.print(show_timeline(*lines));
}

bool has_ended(const v1::JobArray& array) {
  return array.execution_state() != "running" && array.execution_state() != "terminating";
}

std::string progress_of(const v1::JobArray& array) {
  return array.execution_state() + (array.reason().empty() ? "" : ": " + array.reason());
}

// Asks until the array has ended; false after an error, which was said.
bool wait_end(Program& program, const Options& options, v1::JobArray& array) {
  auto client = program.client();
  if (!client) {
    program.fail(client.error());
    return false;
  }
  return program.wait_until("job array " + options.place.name + " to end", [&](std::string& detail) -> Result<bool> {
    auto now = (*client)->call(&Stub::GetJobArray, name_of(options.place));
    if (!now) return now.error();
    detail = progress_of(*now);
    array = std::move(*now);
    return has_ended(array);
  });
}

int wait(Program& program, const Options& options) {
  v1::JobArray array;
  if (!wait_end(program, options, array)) return program.exit_code();
  if (array.execution_state() == "succeeded") return kDone;
  hide_progress();
  fmt::print(stderr, "trainyard: job array {}: {}\n", array.name(), progress_of(array));
  return kRequestFailed;
}

int terminate(Program& program, const Options& options) {
  if (!program.confirmed()) return program.exit_code();
  v1::TerminateJobArrayRequest request;
  request.set_request_id(new_request_id());
  *request.mutable_array() = name_of(options.place);
  auto array = program.ask(&Stub::TerminateJobArray, request);
  if (!array) return program.exit_code();
  if (program.waits() && !has_ended(*array) && !wait_end(program, options, *array)) return program.exit_code();
  return program.print(show_one(*array));
}

int remove(Program& program, const Options& options) {
  if (!program.confirmed()) return program.exit_code();
  v1::DeleteJobArrayRequest request;
  request.set_request_id(new_request_id());
  *request.mutable_array() = name_of(options.place);
  if (!program.ask(&Stub::DeleteJobArray, request)) return program.exit_code();
  if (!program.waits()) return kDone;
  return wait_gone<Stub, v1::JobName, v1::JobArray>(program, "job array " + options.place.name, &Stub::GetJobArray,
                                                    name_of(options.place), progress_of);
}

int update(Program& program, const Options& options, v1::UpdateJobArrayRequest request) {
  request.set_request_id(new_request_id());
  *request.mutable_array() = name_of(options.place);
  const auto array = program.ask(&Stub::UpdateJobArray, request);
  return array ? program.print(show_one(*array)) : program.exit_code();
}

int hold(Program& program, const Options& options, bool held) {
  v1::UpdateJobArrayRequest request;
  request.set_hold(held);
  request.set_hold_why(options.why);
  return update(program, options, std::move(request));
}

int change_parallel(Program& program, const Options& options) {
  v1::UpdateJobArrayRequest request;
  request.set_parallel(options.parallel);
  return update(program, options, std::move(request));
}

void add_place(CLI::App& command, const std::shared_ptr<Options>& options) {
  add_experiment_flags(command, options->place);
  command.add_option("-n,--name,-a,--array", options->place.name, "Name of the job array")->required();
}

constexpr const char* kAtOnce = "Tasks that go on at once, at most; 0: no limit";

void add_create(CLI::App& arrays, Program& program, const std::shared_ptr<Options>& options) {
  const std::string begin =
      "trainyard job array create -g mygroup -w batchaidev -e cifar -n sweep -c nc6cluster -f job.json ";
  CLI::App& command =
      program.command(arrays, "create", "Submit many jobs of one definition; answered when they are safely stored",
                      begin + "--tasks 1000 --parallel 8\n  " + begin + "--grid lr=0.1,0.01 --grid bs=32,64\n  " +
                          begin + "--random lr=0.0001:0.1:log --random layers=2:8:int --tasks 50 --seed 7\n  " + begin +
                          "--list params.csv\n\n"
                          "Tasks are jobs NAME_0, NAME_1, ... Each has its parameters as environment variables, with\n"
                          "$TRAINYARD_TASK_INDEX and $TRAINYARD_TASK_COUNT.",
                      [=, &program] { return create(program, *options); });
  add_place(command, options);
  add_job_flags(command, options);
  command.add_option("--tasks", options->tasks, "How many; --grid and --list say it themselves");
  command.add_option("--parallel", options->parallel, kAtOnce);
  command.add_option("--grid", options->grid,
                     "NAME=VALUE,VALUE,...: every combination with the other --grid; the last one changes fastest");
  command.add_option("--random", options->ranges,
                     "NAME=MIN:MAX, with :log (evenly by its logarithm) and :int; one is drawn for each task");
  command.add_option("--seed", options->seed, "Of --random [0]: the same seed gives the same values, always");
  command.add_option("--list", options->list_file, "CSV file: a line with the names, then a line for each task");
}

}  // namespace

void add_job_array_commands(CLI::App& job, Program& program) {
  CLI::App& arrays = program.group(job, "array", "Many jobs of one definition, and sweeps over parameters");
  auto options = std::make_shared<Options>();
  const std::string of = " -g mygroup -w batchaidev -e cifar -n sweep";
  const auto add = [&](const char* name, const char* what, const std::string& flags, auto run) -> CLI::App& {
    CLI::App& command = program.command(arrays, name, what, std::string("trainyard job array ") + name + of + flags,
                                        [=, &program] { return run(program, *options); });
    add_place(command, options);
    return command;
  };
  add_create(arrays, program, options);
  add("show", "Show a job array: how far it is, and what its tasks are", "", show);
  CLI::App& listing = program.command(arrays, "list", "List an experiment's job arrays",
                                      "trainyard job array list -g mygroup -w batchaidev -e cifar -o table",
                                      [=, &program] { return list(program, *options); });
  add_experiment_flags(listing, options->place);
  add("tasks", "List a job array's tasks that are jobs by now", " --query \"[?executionState=='failed'].name\"", tasks);
  add("why", "Why its next task is no job yet, and why the first of its queued tasks waits", " -o table", why);
  CLI::App& telling =
      add("timeline", "What happened to a job array and its tasks, oldest first", " --limit 50 -o table", timeline);
  telling.add_option("--limit", options->lines, "The newest so many lines, of as many tasks at most, 1 to 1,000 [200]")
      ->check(CLI::Range(1, 1'000));
  add("wait", "Wait for a job array's end; exit with 0 if all its tasks succeeded", "", wait);
  CLI::App& updating = add("update", "Change how many of its tasks go on at once", " --parallel 16", change_parallel);
  updating.add_option("--parallel", options->parallel, kAtOnce)->required();
  CLI::App& holding = add("hold", "Make no more tasks until it is released; those that are jobs go on", "",
                          [](Program& p, const Options& o) { return hold(p, o, true); });
  holding.add_option("--why", options->why, "Shown to whoever asks why it waits");
  add("release", "Let a held job array go on", "", [](Program& p, const Options& o) { return hold(p, o, false); });
  program.add_confirmation(
      add("terminate", "Make no more tasks, and stop those that have not ended", " -y", terminate));
  program.add_confirmation(
      add("delete", "Stop a job array if needed and remove it with its jobs; their files stay", " -y", remove));
}

}  // namespace trainyard::cli
