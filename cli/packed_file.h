// A whole file as text, unpacked when it is gzip. Blocking.
#pragma once

#include <string>

#include "common/result.h"

namespace trainyard::cli {

// An error names the file: it cannot be read, is damaged, or has more than `most_bytes` unpacked.
Result<std::string> read_packed_file(const std::string& path, std::size_t most_bytes);

}  // namespace trainyard::cli
