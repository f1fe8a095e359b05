#include "agent/edge/call_stream.h"

namespace trainyard::agent {

grpc::StatusCode to_grpc(Code code) {
  switch (code) {
    case Code::ok:
      return grpc::StatusCode::OK;
    case Code::invalid_argument:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case Code::not_found:
      return grpc::StatusCode::NOT_FOUND;
    case Code::already_exists:
      return grpc::StatusCode::ALREADY_EXISTS;
    case Code::permission_denied:
      return grpc::StatusCode::PERMISSION_DENIED;
    case Code::unauthenticated:
      return grpc::StatusCode::UNAUTHENTICATED;
    case Code::resource_exhausted:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case Code::failed_precondition:
      return grpc::StatusCode::FAILED_PRECONDITION;
    case Code::aborted:
      return grpc::StatusCode::ABORTED;
    case Code::unavailable:
      return grpc::StatusCode::UNAVAILABLE;
    case Code::deadline_exceeded:
      return grpc::StatusCode::DEADLINE_EXCEEDED;
    case Code::unimplemented:
      return grpc::StatusCode::UNIMPLEMENTED;
    case Code::data_loss:
      return grpc::StatusCode::DATA_LOSS;
    case Code::internal:
      break;
  }
  return grpc::StatusCode::INTERNAL;
}

}  // namespace trainyard::agent
