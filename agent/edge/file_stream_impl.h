// How controller_link opens a FileStream; apart from file_stream.h so that its users see no gRPC.
#pragma once

#include <grpcpp/channel.h>

#include "agent/edge/file_stream.h"

namespace trainyard::agent {

std::shared_ptr<FileStream> open_file_stream(std::shared_ptr<grpc::Channel> channel, const std::string& call_id,
                                             std::function<void(std::function<void()>)> post, FileHandlers handlers);

}  // namespace trainyard::agent
