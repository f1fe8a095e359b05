// What a job says of how far it is. It may write one line of JSON into the file that $TRAINYARD_PROGRESS_FILE names (on
// the head's node, that of rank 0), best by writing another file and renaming it:
//
//   {"step": 1200, "steps": 5000, "checkpoint": 1000}
//
// Whole numbers: the step it is at; of how many (may be left out); the step of its newest checkpoint, from which it
// would go on if it were stopped now (left out: it would begin anew). People see it; and who must give way is chosen by
// what would be lost.
#pragma once

#include <optional>
#include <string>

#include "agent/exec/toolkits.h"
#include "common/model.h"

namespace trainyard::agent {

std::string progress_file(const HoldingPaths& paths);

// Nothing: there is no such file, or it is not one line as above. The file is the job's: no link is followed, and no
// more than a line of it is read.
std::optional<Progress> read_progress(const std::string& path);

}  // namespace trainyard::agent
