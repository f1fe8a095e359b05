// What runs inside a helper process: `trainyard-helper VERB ...` (small and quick to start) and, the same,
// `trainyard-agent helper VERB ...`. Blocking, single-threaded, may hang on a user's file system: that is what it is
// for.
//
// ROOT is a directory of the operator or the agent, PATH is relative to it and can never leave it (also not by symbolic
// links). Options come first. A complaint goes to stderr; the exit code says of which kind (code_of_helper_exit).
//
//   mount SOURCE TARGET          bind-mounts the local directory SOURCE at TARGET (made with its parents) and lists it
//   once;
//                                fine when that is mounted there already
//   unmount TARGET...            detaches everything mounted at TARGET, lazily; fine when nothing is; prints "unmounted
//   N" mkdir [--mode OCTAL] ROOT PATH...   with parents (0777, as Batch AI's directoryMode; below "/" 0755); prints
//                                "created" or "exists" for each. --as UID:GID: by that user where it is allowed to; on
//                                a share else by root, and below "/" not at all
//   mount-volume                 stdin: JSON (mounter.cc): a server's files, or a user's command, at a target
//   unmount-volume TARGET        stdin: JSON of the places: the same away, and shared mounts without users
//   sweep-volumes all            stdin: the same: shared mounts without users
//   check-mount --limit MS TARGET  lists it; without an answer in time, what waits for it gets an error
//   list ROOT PATH               a line of JSON per entry, by name: {"name","is_directory","size","modified_ms"}
//   read [--offset N] [--follow] ROOT PATH    raw bytes to stdout. --follow: waits for the file to appear and to grow
//   (and
//                                goes on with a new file of that name) until "finish\n" comes on stdin, then stops at
//                                the end; the end of stdin without it stops at once
//   write [--mode OCTAL] ROOT PATH   stdin is framed (write_frame, kFinishFrame): becomes PATH (0777), atomically and
//   durably, at the
//                                finish frame; without one nothing is changed. Prints the size
//   delete ROOT PATH             a file, link or empty directory
//   remove DIRECTORY...          a whole tree of the agent's own (job temp); never follows links or enters mounts,
//   fails
//                                when something is mounted below; fine when absent; prints "removed N" (directories)
//                                and "files N"
//   remove-beneath ROOT PATH     the same of a directory on a share, and the one above it when that is empty then
//   remove-share [--limit MS] ROOT   all that is in ROOT, and ROOT; links are removed, never followed, and mounts below
//                                are refused. Prints "removed N", and "more" when the time was over before the end
//   rotate-stdouterr ROOT PATH ATTEMPT   moves what lies in directory PATH (but `attempts`) to PATH/attempts/ATTEMPT;
//                                repeats are harmless; fine when PATH is absent
//   keep-earlier ROOT PATH NAME FILE...   moves those of the files that are in directory PATH to PATH/earlier/NAME;
//                                repeats are harmless
//   ship-log ROOT (SPOOLFILE PATH)...   copies each growing SPOOLFILE to PATH, made at once ("?MOSTSPOOLFILE": made
//                                when there is something to bring; of it at most MOST bytes, 0: all), from PATH's
//                                present size on, within milliseconds, until "finish\n" on stdin or SIGTERM: then to
//                                its end, fsync, exit 0. Two at once do no harm (same bytes at the same places).
//                                Without "finish\n", the end of stdin ends it too. A full share is tried again each
//                                second until the finish
#pragma once

#include <string>

#include "common/result.h"

namespace trainyard::agent {

// argv[0] is ignored, argv[1] is the verb.
int helper_main(int argc, char** argv);

// The meaning of a helper's exit code: 0 ok, 2 not_found, 3 already_exists, 4 permission_denied, 5 resource_exhausted
// (no space), 6 invalid_argument, 7 failed_precondition (not a directory, not empty, busy), 9 unavailable, 10 and -1
// deadline_exceeded.
Code code_of_helper_exit(int exit_code);

// Input of `write`: each piece framed, then kFinishFrame.
std::string write_frame(const std::string& data);
inline constexpr const char* kFinishFrame = "0\n";

}  // namespace trainyard::agent
