// A job file (Batch AI's job.json) and the command line's options to a CreateJobRequest. Pure: text in, request or
// Error out. Every field that Trainyard does not carry out yet is refused by its path, never ignored.
#pragma once

#include <string>

#include "common/result.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard::cli {

struct JobFileOptions {
  std::string file_name = "job.json";  // for messages
  std::string cluster;                 // wins over properties.cluster.id
  std::string storage_account_name;    // replaces <AZURE_BATCHAI_STORAGE_ACCOUNT>
};

// The request's spec; group, workspace, experiment, name and request id are the caller's to fill in.
Result<v1::JobSpec> read_job_file(const std::string& text, const JobFileOptions& options);

}  // namespace trainyard::cli
