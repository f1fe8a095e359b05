// What clusters and file servers note of Batch AI's userAccountSettings: nobody needs it, since nothing here goes by
// ssh.
#pragma once

#include <string>

#include "common/result.h"

namespace trainyard::cli {

// --ssh-key takes a key or the path of one. Without it, and without a file that may have one, the user's usual key is
// noted if there is one.
Result<std::string> ssh_public_key(const std::string& given, bool config_file);
std::string current_user();
// "trainyard: warning: ..." on standard error.
void warn(const std::string& what);

}  // namespace trainyard::cli
