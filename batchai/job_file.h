// A job file (Batch AI's job.json) and the command line's options to a CreateJobRequest. Pure: text in, request or
// Error out. As Batch AI's command line did it: unknown keys are ignored, here with a warning; files written for the
// API versions 2017-09-01-preview and 2018-03-01 are taken, what became of their old fields is said in warnings; the
// placeholders of the storage account are filled in. A known field that Trainyard does not carry out is refused by its
// path.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/result.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard::batchai {

struct JobFileOptions {
  std::string file_name = "job.json";  // for messages
  std::string cluster;                 // wins over properties.cluster.id
  std::string storage_account_name;    // replaces <AZURE_BATCHAI_STORAGE_ACCOUNT>
  std::string storage_account_key =
      {};  // replaces <AZURE_BATCHAI_STORAGE_KEY>, and is that account's where none stands
};

// The request's spec; group, workspace, experiment, name and request id are the caller's to fill in. `warnings` (for
// people, "<path>: <what>") is appended to.
Result<v1::JobSpec> read_job_file(const std::string& text, const JobFileOptions& options,
                                  std::vector<std::string>& warnings);

// low, normal, high in any case; nothing: it is the name of a class of the operator's.
std::optional<v1::Priority> priority_of(const std::string& name);
// Its schedulingPriority, by either name; empty: none of its own.
void set_priority(const std::string& name, v1::JobSpec& spec);

}  // namespace trainyard::batchai
