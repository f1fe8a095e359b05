// Lines of the older Batch AI command line (0.2 and before), whose documentation and scripts are still around: they are
// turned into today's words before anything is parsed. Pure.
//   job list-files, job stream-file (there -n was the file's name), job list-nodes, cluster list-nodes,
//   job create -r CLUSTER -c job.json
#pragma once

#include <string>
#include <vector>

namespace trainyard::cli {

// `words`: the command line without the program's name. Anything else comes back as it is.
std::vector<std::string> in_new_spelling(std::vector<std::string> words);

}  // namespace trainyard::cli
