#include "cli/job_request.h"

#include <fmt/format.h>

#include <cstdlib>

#include "batchai/job_file.h"
#include "batchai/json_fields.h"

namespace trainyard::cli {
namespace {

using batchai::kLargestFileBytes;

std::string first_set(std::initializer_list<const char*> variables) {
  for (const char* variable : variables) {
    const char* value = std::getenv(variable);
    if (value != nullptr && *value != '\0') return value;
  }
  return "";
}

void add_dependencies(const std::vector<std::string>& jobs, v1::Dependency::Condition condition, v1::JobSpec& spec) {
  for (const std::string& job : jobs) {
    auto& out = *spec.add_dependencies();
    out.set_job(job);
    out.set_condition(condition);
  }
}

// What the flags say of its place in the queue.
void add_order(const JobFlags& flags, v1::JobSpec& spec) {
  if (!flags.priority.empty()) batchai::set_priority(flags.priority, spec);
  add_dependencies(flags.after_ok, v1::Dependency::CONDITION_AFTER_OK, spec);
  add_dependencies(flags.after_any, v1::Dependency::CONDITION_AFTER_ANY, spec);
  add_dependencies(flags.after_not_ok, v1::Dependency::CONDITION_AFTER_NOT_OK, spec);
}

void add_order_flags(CLI::App& command, JobFlags& flags, bool waits) {
  command.add_option("--priority,--scheduling-priority", flags.priority,
                     "Instead of the file's schedulingPriority: low, normal, high or a class of the operator's");
  if (!waits) return;
  command.add_option("--after-ok", flags.after_ok,
                     "Start only when this job, or this job array with all its tasks, has succeeded: NAME, or "
                     "EXPERIMENT/NAME; may be given again");
  command.add_option("--after-any", flags.after_any, "Start only when this job or job array has ended, however");
  command.add_option("--after-not-ok", flags.after_not_ok,
                     "Start only when this job, or a task of this job array, has failed");
  command.add_flag("--hold", flags.hold, "Do not start it until it is released (`release`)");
}

}  // namespace

v1::JobName name_of(const Place& place) {
  v1::JobName name;
  name.set_resource_group(place.group);
  name.set_workspace(place.workspace);
  name.set_experiment(place.experiment);
  name.set_name(place.name);
  return name;
}

std::optional<v1::JobSpec> job_spec(Program& program, const JobFlags& flags) {
  const auto failed = [&](const Error& error) {
    program.fail(error);
    return std::nullopt;
  };
  auto text = read_text_file(flags.config_file, kLargestFileBytes);
  if (!text) return failed(text.error());
  batchai::JobFileOptions file{flags.config_file, flags.cluster, flags.storage_account_name, flags.storage_account_key};
  if (file.storage_account_name.empty()) {
    file.storage_account_name = first_set({"AZURE_BATCHAI_STORAGE_ACCOUNT", "TRAINYARD_STORAGE_ACCOUNT"});
  }
  if (file.storage_account_key.empty()) file.storage_account_key = first_set({"AZURE_BATCHAI_STORAGE_KEY"});
  std::vector<std::string> warnings;
  auto spec = read_job_file(*text, file, warnings);
  if (!flags.location.empty()) warnings.push_back("--location has no effect: only a workspace has one");
  for (const std::string& warning : warnings) {
    fmt::print(stderr, "trainyard: warning: {}: {}\n", flags.config_file, warning);
  }
  if (!spec) return failed(Error{spec.error().code, spec.error().message});
  if (const auto wrong =
          add_mounts(flags.mounts, {file.storage_account_name, file.storage_account_key}, batchai::mounts_of(*spec))) {
    return failed(*wrong);
  }
  add_order(flags, *spec);
  return std::move(*spec);
}

bool small_enough(Program& program, const JobFlags& flags, std::size_t bytes) {
  if (bytes <= kLargestFileBytes - 1024) return true;
  program.fail(Error{Code::invalid_argument, flags.config_file + ": more than 4 MB; keep data on a share"});
  return false;
}

void add_job_flags(CLI::App& command, const std::shared_ptr<JobFlags>& flags, bool waits) {
  command
      .add_option("-f,--config-file,--config", flags->config_file,
                  "The job: JSON with properties as in Batch AI, of any of its API versions; unknown keys are ignored "
                  "with a warning. examples/jobs has one per toolkit")
      ->required();
  command.add_option("-c,--cluster,-r,--cluster-name", flags->cluster,
                     "Cluster to run on: a name in the workspace, GROUP/WORKSPACE/NAME, or an id");
  command.add_option("--storage-account-name", flags->storage_account_name,
                     "Replaces <AZURE_BATCHAI_STORAGE_ACCOUNT> [$AZURE_BATCHAI_STORAGE_ACCOUNT]");
  command.add_option("--afs-name", flags->mounts.afs_name,
                     "Share of that account to mount on the job's nodes, under $AZ_BATCHAI_JOB_MOUNT_ROOT");
  command.add_option("--afs-mount-path", flags->mounts.afs_mount_path, "Where below it [afs]");
  command.add_option("--bfs-name", flags->mounts.bfs_name, "Container to mount: a share of the account, too");
  command.add_option("--bfs-mount-path", flags->mounts.bfs_mount_path, "Where below it [bfs]");
  command.add_option("-l,--location", flags->location, "Accepted without effect: only a workspace has one");
  command.add_option("--storage-account-key", flags->storage_account_key,
                     "Key of that account, kept encrypted and given to the nodes that mount it; without one the "
                     "operator's storage table gives access [$AZURE_BATCHAI_STORAGE_KEY]");
  command.add_option("--nfs", flags->mounts.nfs, "File server of the workspace to mount: name or id");
  command.add_option("--nfs-mount-path", flags->mounts.nfs_mount_path, "Where below $AZ_BATCHAI_JOB_MOUNT_ROOT [nfs]");
  add_order_flags(command, *flags, waits);
}

}  // namespace trainyard::cli
