// The first process of a container, and how the node's processes get work done inside it.
//
// `trainyard-container init SOCKET` is the program of every container, whatever its image: it listens at SOCKET (in a
// directory that is bound at the same path), starts what it is asked to and reaps orphans. It runs as the job's user
// and can do nothing that the job could not do. SIGTERM ends it once nothing else runs in the container.
// `trainyard-container enter SOCKET -- PROGRAM ARGUMENT...` runs on the node, under the shim of one of the job's
// processes: it hands its own standard streams, environment and working directory to init, and lives as long as the
// program inside. The program writes to the shim's pipes (or the terminal) itself: nothing is relayed, so a flood, a
// dead engine or a restarted agent changes nothing. Exit code: the program's, 128+n for signal n, 127 when it cannot be
// started, 137 when the container ended first. When `enter` is killed, init kills the session that it started for it.
//
// On the wire: 3 descriptors with the first byte, then a line with the length and that many bytes of JSON; back comes a
// line "exit N" or "error TEXT".
#pragma once

#include <string>
#include <vector>

namespace trainyard::agent {

// Both return what their process is to exit with.
int run_init(const std::string& socket);
int enter_container(const std::string& socket, const std::vector<std::string>& argv);

// An address holds 107 bytes, a path may be longer: the directory, opened, and the name in it.
// A connected descriptor, or -1 with errno.
int connect_to_init(const std::string& socket);

}  // namespace trainyard::agent
