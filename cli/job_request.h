// What `job create`, `job array create` and `job schedule create` have in common: their flags, and the request made of
// a job file and them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "batchai/mount_fields.h"
#include "cli/commands.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard::cli {

struct JobFlags {
  Place place;
  std::string cluster, config_file, storage_account_name, storage_account_key, location;
  batchai::MountFlags mounts;
  std::string priority;
  bool hold = false;
  std::vector<std::string> after_ok, after_any, after_not_ok;
};

// All but those of the place. `flags` must live as long as the command. `waits`: also what it waits for, and --hold.
void add_job_flags(CLI::App& command, const std::shared_ptr<JobFlags>& flags, bool waits = true);

v1::JobName name_of(const Place& place);

// The spec of the file and the flags. Says warnings and errors; nullopt after an error, with program.exit_code() set.
std::optional<v1::JobSpec> job_spec(Program& program, const JobFlags& flags);

// False, and the error was said: a request that is larger than the controller takes.
bool small_enough(Program& program, const JobFlags& flags, std::size_t bytes);

template <class Request>
std::optional<Request> job_request(Program& program, const JobFlags& flags) {
  auto spec = job_spec(program, flags);
  if (!spec) return std::nullopt;
  Request request;
  request.set_request_id(new_request_id());
  request.set_resource_group(flags.place.group);
  request.set_workspace(flags.place.workspace);
  request.set_experiment(flags.place.experiment);
  request.set_name(flags.place.name);
  *request.mutable_spec() = std::move(*spec);
  if constexpr (requires { request.hold(); }) request.set_hold(flags.hold);
  if (!small_enough(program, flags, request.ByteSizeLong())) return std::nullopt;
  return request;
}

}  // namespace trainyard::cli
