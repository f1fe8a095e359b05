// The flags that say what an array's tasks differ by: --grid lr=0.1,0.01, --random lr=0.0001:0.1:log, a CSV file. Pure.
#pragma once

#include <string>
#include <vector>

#include "common/result.h"
#include "trainyard/v1/jobs.pb.h"

namespace trainyard::cli {

// "NAME=VALUE,VALUE,...": a value with a comma in it stands in double quotes, as in a CSV file.
Status add_grid(const std::string& word, v1::ParameterSweep& sweep);
// "NAME=MIN:MAX", ":log" and ":int" after it.
Status add_range(const std::string& word, v1::ParameterSweep& sweep);
// A CSV file (RFC 4180): its first line has the names. `file` is for messages.
Status read_list(const std::string& text, const std::string& file, v1::ParameterSweep& sweep);

}  // namespace trainyard::cli
