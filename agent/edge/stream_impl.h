// How controller_link opens a FileStream or ExecStream; apart from their headers so that their users see no gRPC.
#pragma once

#include <grpcpp/channel.h>

#include "agent/edge/exec_stream.h"
#include "agent/edge/file_stream.h"

namespace trainyard::agent {

std::shared_ptr<FileStream> open_file_stream(std::shared_ptr<grpc::Channel> channel, const std::string& call_id,
                                             std::function<void(std::function<void()>)> post, FileHandlers handlers);
std::shared_ptr<ExecStream> open_exec_stream(std::shared_ptr<grpc::Channel> channel, const std::string& call_id,
                                             std::function<void(std::function<void()>)> post, ExecHandlers handlers);

}  // namespace trainyard::agent
