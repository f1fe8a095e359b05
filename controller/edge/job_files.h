// Where the files of jobs and set-up tasks lie: from a row to a directory of a volume. Pure.
#pragma once

#include <string>

#include "common/result.h"
#include "controller/core/rows.h"

namespace trainyard::controller {

struct FilePlace {
  Volume volume;
  std::string path;  // of the directory, relative to the volume
};

// The directory of "stdouterr" (also ""), or of one of the job's output directories. NOT_FOUND for an unknown id,
// FAILED_PRECONDITION when the directory is on no share: then no other node could read it. `cluster` is the job's; null
// when it is gone, and with it the word where its volumes were.
Result<FilePlace> job_directory(const core::Job& job, const core::Cluster* cluster, const std::string& output_id);

// The directory of the files of the cluster's set-up task. FAILED_PRECONDITION when there is no task, or it is on none
// of the cluster's volumes.
Result<FilePlace> setup_directory(const core::Cluster& cluster);

}  // namespace trainyard::controller
