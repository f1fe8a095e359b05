// One command on a node, from this terminal or from pipes: standard input goes there, output comes back. On a terminal
// it is passed through raw, with its size. Blocking; a thread of its own reads standard input meanwhile.
#pragma once

#include <functional>
#include <memory>

#include "cli/client.h"
#include "trainyard/v1/exec.grpc.pb.h"

namespace trainyard::cli {

using ExecStream = grpc::ClientReaderWriter<v1::ExecRequest, v1::ExecReply>;
// Opens a call of the kind that is wanted (ExecInJob or ExecOnNode).
using OpenExec = std::function<std::unique_ptr<ExecStream>(grpc::ClientContext& context)>;

// Runs start.command() and returns its exit code. Sets start's terminal where standard input and output are one.
Result<int> run_command(Client& client, const OpenExec& open, v1::ExecStart start);

}  // namespace trainyard::cli
