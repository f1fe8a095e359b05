// `trainyard-exec connect HOST PORT`: a TCP connection from this node, its bytes on standard input and output. For port
// forwarding: it runs like any command, so it ends with its call, and with the job.
#pragma once

#include <string>

namespace trainyard::agent {

// Blocks until both directions have ended, or the other side is gone. Exit code: 0, or 1 with the reason on stderr.
int relay_connection(const std::string& host, const std::string& port);

}  // namespace trainyard::agent
