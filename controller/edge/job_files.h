// Where a job's files lie: from its row to a directory of a volume. Pure.
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
// FAILED_PRECONDITION when the directory is on no share: then no other node could read it.
Result<FilePlace> job_directory(const core::Job& job, const std::string& output_id);

}  // namespace trainyard::controller
